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
# # Reconstruction: four ways to invert an image
#
# Section 4.2 of the paper compares four methods on held-out images (Table 1, Figure 2):
#
# - the *conventional encoder*, trained on sampled codes and their images (Eq. 1);
# - *Image2StyleGAN*, which optimises a code from the average code, for pixels and VGG features alone;
# - the *domain-guided encoder*, trained on real images through the generator (Eq. 2 and 3);
# - *in-domain inversion*, which starts at that encoder's code and is regularised by it (Eq. 4).

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
domains = ["face", "tower", "bedroom"]  # None: all of the profile
num_images = None  # test images of each domain; None: as the profile says
methods = None  # settings by method, e.g. {"in-domain": {"iterations": 100}}
seed = 0

# %%
import pandas as pd
from idinvert import study
from idinvert.inversion import METHODS, cache
from idinvert.study import claims, figures, networks, scores
from idinvert.study.sections import reconstruction
from IPython.display import display

run = study.begin("02_reconstruction", profile, device, seed, num_images=num_images, methods=methods)
subjects = networks.load_domains(run, domains, needs=())
run.settings

# %% [markdown]
# ## Inverting the test images
#
# Every method inverts the same first test images. Codes are kept in the cache: what one notebook has
# inverted, the others need not invert again.
#
# Image2StyleGAN is given far fewer iterations here than its authors' 5,000, for they are what takes the time: read
# the settings above. Stopped that early, it has not reached the pixels that it would reach, which
# bears on claims C2 (its pixels) and C5 (its time): on six of these faces its MSE fell from 0.034 at 200
# steps to 0.015 at 1,000, passing in-domain inversion's 0.028 before 300.

# %%
sizes = {d: m.generator.resolution for d, m in subjects.items()}
targets = {d: run.subject(d).photos(size, stop=run.settings.num_images).to(run.device) for d, size in sizes.items()}
codes = {d: networks.invert(m, targets[d], run.settings.methods) for d, m in subjects.items()}
found = {d: reconstruction.reconstruct(m, codes[d]) for d, m in subjects.items()}
real = {d: scores.see(m, targets[d]) for d, m in subjects.items()}
others = {d: scores.see(m, run.subject(d).photos(sizes[d], start=-run.settings.num_images).to(run.device)) for d, m in subjects.items()}

# %% [markdown]
# ## Table 1: reconstruction by four methods
#
# MSE (images in [-1, 1]) and SSIM compare each reconstruction with its target. FD and KID (in the
# features of an ImageNet network, EfficientNet-Lite0) and SWD compare the set of reconstructions with
# the set of targets: do they look like these images? All at the same number of images, which FD and SWD
# depend on; the row *other_real* is what other real images reach.

# %%
table1 = pd.concat([reconstruction.table1(d, found[d], real[d], others[d]) for d in subjects])
run.table("table1", table1)
table1[["domain", "method", "images", *reconstruction.METRICS]].round(3)

# %% [markdown]
# ## Figure 2: targets and reconstructions

# %%
for domain in subjects:
    rows = reconstruction.pictures(targets[domain], found[domain], list(found[domain]), 10)
    labels = ["target", *(METHODS[name].title.replace(" ", "\n", 1) for name in found[domain])]
    display(run.figure(f"fig02_{domain}", figures.image_grid(rows, labels)))

# %% [markdown]
# ## Seconds per image
#
# The paper reports 290 s for Image2StyleGAN, 8 s for in-domain inversion and 0.0042 s for the encoder, at
# 256 px on a GPU. Only their ratios can be compared with those here. One domain is timed, for the networks of
# all have the same size.

# %%
first = next(iter(subjects))
times = reconstruction.seconds(first, subjects[first], targets[first][:cache.BATCH], run.settings.methods)
run.table("seconds", times).round(4)

# %% [markdown]
# ## Paper and ours
#
# Each row compares two methods by one metric, so that a positive value agrees with the paper; a claim
# is *reproduced* if the whole 95 % interval is positive. KID, which the paper does not report, stands beside its FID.

# %%
paper = claims.paper_table(1)
rows = [row for d in subjects for row in reconstruction.paper_and_ours(d, found[d], real[d], paper)]
verdicts = claims.frame(rows + reconstruction.speed_claims(times))
run.table("02_paper_and_ours", verdicts).round(3)

# %%
print(run.finish())
