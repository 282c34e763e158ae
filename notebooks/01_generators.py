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
# # The data and the generators
#
# Section 4.1 of the paper trains StyleGANs on FFHQ faces and on LSUN towers and bedrooms at 256 px. The
# embedded profile uses rendered worlds instead: 64 px images of faces, towers, churches and bedrooms, each
# made from attributes that are therefore known exactly. This notebook shows the images, samples of every
# generator, how far the samples are from real images, and what the training has cost.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_images = None  # samples and test images behind each distance; None: as the profile says
psis = [1.0, 0.7, 0.4]  # truncation
seed = 0

# %%
from idinvert import models as weights
from idinvert import study
from idinvert.study import figures, logs, scores
from idinvert.study.sections import generators
from idinvert.training import zoo
from IPython.display import Markdown, display

run = study.begin("01_generators", profile, device, seed, num_images=num_images)
shown = generators.generators_of(run)
list(shown)

# %% [markdown]
# ## The images
#
# The first test images of each domain.

# %%
for domain, subject in run.subjects.items():
    display(Markdown(f"**{domain}**"))
    sheet = figures.image_grid(generators.contact_sheet(subject), inch=0.6)
    display(run.figure(f"world_{domain}", sheet))

# %% [markdown]
# ## Samples
#
# Random samples without truncation. None are left out.

# %%
for name in shown:
    display(Markdown(f"**{name}**"))
    images = generators.samples(weights.load(name, run.device), 36, seed)
    display(run.figure(f"samples_{name}", figures.image_grid(images.split(12), inch=0.6)))

# %% [markdown]
# ## Truncation
#
# The same samples after their codes have been moved towards the average code: w_avg + psi (w - w_avg).

# %%
for name in shown:
    display(Markdown(f"**{name}**"))
    rows = generators.truncated(weights.load(name, run.device), tuple(psis), seed=seed)
    sheet = figures.image_grid(rows, [f"psi {p:g}" for p in psis], inch=0.6)
    display(run.figure(f"truncation_{name}", sheet))

# %% [markdown]
# ## How far from real images?
#
# FD and KID compare samples with test images in the features of an ImageNet network; SWD compares their
# patches. The row *real images* compares one half of the test set with the other half. The column *images*
# gives the number of images: with fewer images FD and SWD are higher. *Precision* is the share of samples that
# lie near test images in these features, *recall* the share of test images that lie near samples. A generator
# that shows few kinds of images, however well, has a low recall.

# %%
distances = generators.quality(shown, run.settings.num_images, run.device)
table = run.table("generators", generators.judged(distances))
display(Markdown(f"Samples of a KID x 1e3 above {generators.CONVINCING:g} do not convince: their sheets show "
                 "outlines without detail, or a few pictures again and again."))
table[["domain", "generator", "images", *scores.set_metrics(), "precision", "recall", "samples"]].round(2)

# %% [markdown]
# ## What the models have cost
#
# The training cost of every model in the registry, as its card states it.

# %%
run.table("budgets", generators.budgets()).round(2)

# %%
cards = {name: weights.card(name) for name in weights.names()}
panels = [(name, "d_loss") for name in shown if cards[name]["kind"] == "gan"]
panels += [(name, "held_out_mse") for name, card in cards.items() if "held_out_mse" in card["evaluation"]]
run.figure("training_curves", logs.curves_of_models(panels))

# %% [markdown]
# ## What is not trained yet
#
# The study also describes these models. Each command trains one of them or continues its training.

# %%
generators.missing(zoo.entries())

# %%
print(run.finish())
