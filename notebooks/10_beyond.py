# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Beyond the paper: which method for which purpose?
#
# The paper compares each method at one setting, and reconstruction and editing in separate tables. Here every
# method meets every other at several settings, in one plane: how close the inversion is to the image, and how
# well it can be edited. A method is worth taking if no other is better at both.
#
# - *Image2StyleGAN* after growing numbers of steps;
# - *in-domain inversion* after growing numbers of steps, and with several weights $\lambda_{dom}$;
# - *encoders* alone: the conventional one, the domain-guided one and its other backbones;
# - encoders that predict *noise maps* besides codes (section 6.3);
# - *pivotal tuning* {cite:p}`roich2021pivotal`, which the paper does not compare: the code of in-domain
#   inversion stays, and the weights of the generator are tuned to each image instead.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_images = None  # test images to invert and edit; None: as the profile says
domain = "face"
kept = 0.75  # share of the other attributes that an edit must keep
seed = 0

# %%
from idinvert import models, study
from idinvert.codes import sample_codes
from idinvert.study import claims, edits, encoding, figures, networks, scores
from idinvert.study.sections import front
from IPython.display import display

run = study.begin("10_beyond", profile, device, seed, num_images=num_images)
m = networks.load(run.subject(domain), run.device)
run.settings

# %% [markdown]
# ## Images and edits
#
# Every method inverts the same first test images. Each attribute is then switched in each of them, by six
# steps of growing length along the normal of its boundary. The usual step is the one of the chapter on editing: the
# smallest after which a classifier sees the attribute in 60 % of the sampled images that lacked it.

# %%
test = run.subject(domain).test(m)
targets = test.floats(stop=run.settings.num_images).to(run.device)
known = [a for a in test.labels if a in m.boundaries and a in m.attributes]
labels = test.labels[known].iloc[: len(targets)].reset_index(drop=True)
real = scores.image_set(m, test.floats(max(run.settings.num_images, len(test) - run.settings.num_real)).to(run.device))
if run.subject(domain).images is not None and run.subject(domain).labels is None:
    print("There are no exact labels: the classifier's opinion takes their place.")
samples = sample_codes(m.generator, run.settings.num_sampled, seed=seed + 1)
steps = edits.step_sizes(m, known, samples)
print(f"{len(targets)} images to invert, {len(real)} real ones to compare their edits with")

# %%
ways = front.optimised(m, run.settings) + front.encoders(m)
outcomes = [front.try_out(m, way, targets, labels, steps, run.settings.num_returned) for way in ways]

# %% [markdown]
# ## The front
#
# Reconstruction is measured by MSE and SSIM, editability in three ways:
#
# - *success*: the share of edits after which the classifier reads the attribute as switched. Longer steps
#   succeed more often and damage more, so that methods are compared at equal damage: at the step after which
#   the classifier still reads three quarters of the *other* attributes by their exact labels (a method whose
#   inversions keep fewer even without an edit has success 0);
# - *KID of edits*: distance of all edited images, after the usual step, to real images;
# - *there and back* (latent editing consistency {cite:p}`tov2021e4e`): an edited image is inverted by the same
#   method and edited back; MSE to the inversion it came from.
#
# Upwards and to the right is better in every panel. The grey line is the front: beyond it there is nothing.
# Numbers beside points are steps, or $\lambda_{dom}$ on the line of the weights. Bars are 95 % intervals over
# target images.

# %%
table = run.table("front", front.table(outcomes, targets, real, kept))
table[["method", "setting", "steps", *front.MEASURES]].round(4)

# %%
panels = [("success", f"success at {kept:.0%} kept"), ("kid", "KID x 1e3 of edits"),
          ("return_mse", "MSE, there and back")]
lower = [name for name, better in front.MEASURES.items() if better == "lower"]
run.figure("front", figures.fronts(table, ("mse", "MSE of the inversion"), panels, lower))

# %% [markdown]
# ## Which method for which purpose
#
# The sentence is computed from the table. It names the best value of each column; where intervals overlap,
# others are as good.

# %%
print(front.advice(table))

# %% [markdown]
# ## The same in pictures
#
# Each row is one way of inversion. The pairs of columns show an inversion and the same face with one
# attribute switched by the usual step.

# %%
count = 5
rows, names = front.pictures(front.picked(outcomes, targets), targets, steps, count)
heads = [word for i in range(min(count, len(targets))) for word in ("inverted", list(steps)[i % len(steps)])]
run.figure("front_pictures", figures.image_grid(rows, names, heads))

# %% [markdown]
# ## Encoders of StyleGAN2
#
# e4e was trained for another generator, a StyleGAN2, and can be compared only with the encoders of that one.

# %%
second = f"{domain}-stylegan2-layerwise"
if models.exists(second) and models.companions(second, "encoder"):
    m2 = encoding.load_generator(run, domain, second)
    steps2 = edits.step_sizes(m2, known, sample_codes(m2.generator, run.settings.num_sampled, seed=seed + 1))
    others = [front.try_out(m2, way, targets, labels, steps2, len(targets)) for way in front.encoders(m2)]
    table2 = run.table("front_stylegan2", front.table(others, targets, real, kept))
    display(table2[["method", "setting", *front.MEASURES]].round(4))
else:
    print(f"left out: the registry has no {second} with encoders")

# %% [markdown]
# ## Paper and ours: what the front adds
#
# A positive value says that the first-named way is better, or that the trend is as named.
#
# - **C2**: the paper's Image2StyleGAN is closest in pixels. It is a question of steps: the front shows how many it
#   takes, and that pivotal tuning goes further at no cost in the code.
# - **C8**: the paper compares edits of inversions that differ in reconstruction too. The front compares them at
#   *equal* MSE, with as many steps of Image2StyleGAN as reach the MSE of in-domain inversion.
# - **C19**: the trade-off over $\lambda_{dom}$, with the success of edits at equal damage beside the KID.
# - **C24**: what noise maps cost, measured on edits instead of interpolations.
# - Rows with "-" compare what the paper does not. *In-domain, quick* takes half the steps, of five times the
#   learning rate, which lead to the same loss (*What inversion costs* has the figures).

# %%
rows = front.claims_of_front(outcomes, targets, real, kept, usual=2.0)
run.table("10_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
