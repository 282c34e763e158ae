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
# # Retraining the generator: one code or one for each layer
#
# A StyleGAN renders an image from one code w, which all its layers share. Inversion wants more: codes that
# differ from layer to layer (W+). Must the generator be trained for this? In section 6.2 of the paper one
# StyleGAN is trained as usual (one code), another with a mapping network that gives every layer a code of its
# own (layer-wise, "retrained"). The encoder predicts a code for each layer in both cases. The paper finds that
# the layer-wise generator reconstructs better, but that images between two of its codes are worse (Table 5);
# that StyleGAN2 reconstructs better than StyleGAN and interpolates worse; and that towers and bedrooms show the
# same (Table 7).

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_images = None  # test images of each domain; None: as the profile says
domain = "face"  # of Table 5; the profile's other domains are those of Table 7
seed = 0

# %%
import pandas as pd
from idinvert import study
from idinvert.study import claims, encoding, logs, scores
from idinvert.study.sections import retraining
from idinvert.study.subjects import ready
from IPython.display import display

run = study.begin("07_retraining", profile, device, seed, num_images=num_images)
first = retraining.encode_by_all(run, domain)
found = ready([domain, *(d for d in run.settings.generators if d != domain)],
              lambda d: first if d == domain else retraining.encode_by_all(run, d))
run.settings

# %% [markdown]
# ## Table 5: one code against layer-wise codes
#
# The two StyleGANs go on from the same layer-wise one and see equally many further images (`generator_images`),
# the one with the mean of its codes for all layers, the other with a code for each. The StyleGAN2 of one code
# goes on from the layer-wise StyleGAN2 of the table, which has seen no further images. All encoders begin with
# random weights, predict an offset from the average code (Eq. 6), and are trained with the same settings on
# `thousand_images`. The first columns compare the reconstructions with their targets. Columns that begin with
# `between` compare images halfway between two codes with other real images, and `samples_kid` compares samples
# of the generator with them: an interpolation is hardly better than these.

# %%
table5 = run.table("table5", retraining.table(domain, *found[domain], seed))
metrics = [*scores.pair_metrics(), *scores.set_metrics()]
shown = [*metrics, *(f"between_{m}" for m in scores.set_metrics()), "samples_kid"]
table5[["kind", "generator_images", "thousand_images", "numbers_of_a_code", *shown]].round(3)

# %% [markdown]
# ## Targets and their reconstructions by each generator

# %%
pictures = {d: (targets.images, encoded) for d, (_, encoded, targets, _) in found.items()}
for d, (images, encoded) in pictures.items():
    rows = encoding.encoder_pictures(images, encoded, retraining.GENERATORS)
    display(run.figure(f"retraining_{d}", rows))

# %% [markdown]
# ## Halfway between each image and its partner
#
# The first row shows the image, the second its partner, the others what each generator renders halfway
# between their codes.

# %%
for d, (images, encoded) in pictures.items():
    display(run.figure(f"retraining_{d}_between", retraining.between_pictures(images, encoded)))

# %% [markdown]
# ## What the larger space buys and costs
#
# Each line leads from the generator of one code to the layer-wise one: to the left the reconstruction gets
# better, upwards images between two codes get worse. Bars are 95 % intervals over images.

# %%
run.figure("retraining_tradeoff", retraining.tradeoff_figure(table5))

# %% [markdown]
# ## Several trainings of the encoders
#
# The same encoders, trained for a shorter time with several seeds, whose logs are kept (`idinvert train NAME
# --seed 1 --kimg 3`). The figures are those at the end of each training, on 200 training images that were held
# out: mean over the seeds, and the 95 % interval over trainings.

# %%
encoders = {kind: one.name for kind, one in found[domain][1].items()}
repeated = logs.repeated(encoders)
if repeated:
    table = logs.spread_over_seeds(repeated, tuple(logs.LOGGED.values()))
    display(run.table("table5_seeds", table).round(3))

# %% [markdown]
# ## Table 7: towers and bedrooms
#
# StyleGAN and StyleGAN2, both layer-wise. Again all encoders begin with random weights, predict an offset from
# the average code, and are trained with the same settings on equally many images.

# %%
scenes = {d: parts for d, parts in found.items() if d != domain}
if scenes:
    table7 = run.table("table7", pd.concat([retraining.table(d, *parts, seed) for d, parts in scenes.items()]))
    display(table7[["domain", "kind", "generator_images", "thousand_images", *shown]].round(3))

# %% [markdown]
# ## Paper and ours
#
# Each row says which of two is better, by what the paper found: at reconstruction the layer-wise generator and
# StyleGAN2, at interpolation the generator of one code and StyleGAN. A positive value agrees. A claim is
# *reproduced* if the whole 95 % interval agrees. The intervals resample images; rows that end with *over
# trainings* compare pairs of shorter trainings of one seed. Our KID stands beside the paper's FID.

# %%
compared = retraining.comparisons("C20", domain, retraining.RETRAINED, encoders, 5)
compared += retraining.comparisons("C21", domain, retraining.SECOND, encoders, 5)
rows = retraining.image_claims(compared, *found[domain][1:]) + retraining.seed_claims(compared, repeated)
for d, (_, encoded, real, others) in scenes.items():
    compared = retraining.comparisons("C22", d, retraining.SECOND, encoded, 7)
    rows += retraining.image_claims(compared, encoded, real, others)
run.table("07_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
