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
# - the *conventional encoder* is trained on sampled codes and their images (Eq. 1);
# - *Image2StyleGAN* starts at the average code and optimises it for pixels and VGG features alone;
# - the *domain-guided encoder* is trained on real images through the generator (Eq. 2 and 3);
# - *in-domain inversion* starts at this encoder's code and optimises it with the encoder as regulariser
#   (Eq. 4).

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
# Every method inverts the same first test images. The cache keeps the codes, so that the notebooks share
# them.
#
# Image2StyleGAN takes most of the time. Here it gets far fewer iterations (see the settings above) than the
# 5,000 of its authors, and its MSE is still falling when it stops. This affects claim C5 (its time). Claim C2
# (its pixels) is therefore judged on fewer images after more steps, below.

# %%
targets, found, real, others = {}, {}, {}, {}
for d, m in subjects.items():
    photos, size = run.subject(d).photos, m.generator.resolution
    targets[d] = photos(size, stop=run.settings.num_images).to(run.device)
    codes = networks.invert(m, targets[d], run.settings.methods)
    found[d] = reconstruction.reconstruct(m, codes)
    real[d] = scores.image_set(m, targets[d])
    others[d] = scores.image_set(m, photos(size, start=-run.settings.num_images).to(run.device))

# %% [markdown]
# ## Table 1: reconstruction by four methods
#
# MSE (of images in [-1, 1]) and SSIM compare each reconstruction with its target. FD and KID (in the
# features of an ImageNet network, EfficientNet-Lite0) and SWD compare the set of reconstructions with
# the set of targets. All sets have the same number of images, because FD and SWD depend on it. The row
# *other_real* compares other real images with the targets.

# %%
table1 = pd.concat([reconstruction.table1(d, found[d], real[d], others[d]) for d in subjects])
run.table("table1", table1)
table1[["domain", "method", "images", *reconstruction.columns()]].round(3)

# %% [markdown]
# ## Image2StyleGAN with more steps
#
# On the first few images of each domain, Image2StyleGAN takes as many steps as its authors deem enough for a
# recognisable image, and is measured on the way. In-domain inversion and the encoder stand beside it, with the
# settings of Table 1 and the same images.

# %%
few, copies, parts = run.settings.num_long, {}, []
for d, m in subjects.items():
    if "image2stylegan" in found[d]:
        method, first = run.settings.methods["image2stylegan"], targets[d][:few]
        copies[d] = reconstruction.with_steps(m, method, first, run.settings.long_iterations)
        others_too = [name for name in ("in-domain", "domain-guided") if name in found[d]]
        beside = {METHODS[name].title: found[d][name][:few] for name in others_too}
        named = {f"Image2StyleGAN, {steps}": images for steps, images in copies[d].items()}
        parts.append(reconstruction.steps_table(d, named | beside, first))
if parts:
    display(run.table("image2stylegan_steps", pd.concat(parts)).round(4))

# %% [markdown]
# ## Figure 2: targets and reconstructions

# %%
for domain in subjects:
    rows, labels = reconstruction.method_pictures(targets[domain], found[domain], 10)
    display(run.figure(f"fig02_{domain}", figures.image_grid(rows, labels)))

# %% [markdown]
# ## Errors of single images
#
# Each point is one image, each bar a median. The figure shows whether a method is better on most images or
# only on a few.

# %%
errors = pd.concat([reconstruction.error_strips(d, found[d], real[d]) for d in subjects])
run.figure("fig02_errors", figures.strips(errors, "MSE", "method", {d: d for d in subjects}))

# %% [markdown]
# ## Seconds per image
#
# The paper reports 290 s for Image2StyleGAN, 8 s for in-domain inversion and 0.0042 s for the encoder, at
# 256 px on a GPU. Only the ratios of these times can be compared with ours. We time one domain, because the
# networks of all domains have the same size. The time of one image is the median of six runs; its interval
# goes from the fastest to the slowest run.

# %%
first = next(iter(subjects))
batch = targets[first][:cache.BATCH]
times = reconstruction.method_seconds(first, subjects[first], batch, run.settings.methods)
run.table("seconds", times).round(4)

# %% [markdown]
# ## Paper and ours
#
# Each row compares two methods by one metric. A positive value agrees with the paper. A claim is
# *reproduced* if the whole 95 % interval is positive. The paper does not report KID; our KID stands beside
# the paper's FID.

# %%
paper = claims.paper_table(1)
rows = reconstruction.speed_claims(times)
for d in reversed(subjects):
    rows = reconstruction.reconstruction_claims(d, found[d], real[d], paper) + rows
for d in copies:
    rows += reconstruction.copy_claims(d, copies[d], found[d], real[d], paper)
run.table("02_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
