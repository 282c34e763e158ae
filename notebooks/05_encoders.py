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
# # Encoders: how deep, and from which code
#
# Section 5 of the paper asks two things of the domain-guided encoder (Eq. 2 and 3): whether a deeper
# backbone inverts better (Table 3), and why encoders of StyleGAN2 want the average code added to
# what they predict,
#
# $$
# w = E(x) + \bar w, \qquad \bar w = \mathbb{E}_z[M(z)]
# $$
#
# (Eq. 6, Table 4), compared with e4e, another encoder of StyleGAN2.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_images = None  # test images of each domain; None: as the profile says
domains = ["face", "church"]  # of Table 3
domain = "face"  # of Table 4
seed = 0

# %%
import pandas as pd
from idinvert import study
from idinvert.study import claims, encoding, figures, logs, networks, scores
from idinvert.study.sections import averages, encoders
from IPython.display import display

run = study.begin("05_encoders", profile, device, seed, num_images=num_images)
subjects = networks.load_domains(run, domains, needs=())
run.settings

# %% [markdown]
# ## Backbones
#
# Every encoder sees the same first test images. The backbones of one table were trained in the same way,
# from nothing: half of their images as a conventional encoder, half guided by the domain. The base encoder of
# faces is the one of the other chapters, which saw more images; it is shown, but what it reaches is not
# compared with the others.

# %%
targets, real, encoded, times = {}, {}, {}, {}
for d, m in subjects.items():
    subject = run.subject(d)
    targets[d] = subject.photos(m.generator.resolution, stop=run.settings.num_images).to(run.device)
    real[d] = scores.image_set(m, targets[d])
    variants = encoding.trained_variants(subject.generator, encoders.BACKBONES)
    encoded[d] = encoding.encode_all(m, subject.generator, variants, targets[d])
    times[d] = encoding.encoding_seconds(encoded[d], targets[d])

# %% [markdown]
# ## Table 3: reconstruction by five backbones
#
# MSE and SSIM compare each reconstruction with its target, FD, KID and SWD the set of reconstructions with
# the set of targets; seconds are those of one image, the median of 20. `thousand_images` is what each
# encoder was trained on.

# %%
table3 = pd.concat([encoding.encoder_table(d, encoded[d], real[d], times=times[d]) for d in subjects])
run.table("table3", table3)
metrics = [*scores.pair_metrics(), *scores.set_metrics()]
table3[["domain", "encoder", "thousand_images", "parameters", *metrics, "seconds"]].round(4)

# %% [markdown]
# ## Figure 8: targets and their reconstructions by each backbone

# %%
for d in subjects:
    rows = encoding.encoder_pictures(targets[d], encoded[d], encoders.BACKBONES)
    display(run.figure(f"fig08_{d}", rows))

# %% [markdown]
# ## The average code
#
# Three encoders of one StyleGAN2, all trained from nothing on as many images: e4e, the base encoder without
# the average code, and the same with it. The reconstructions are compared with their targets, the images
# halfway between two codes with other real images.

# %%
subject, stylegan2 = run.subject(domain), run.settings.stylegan2
second = encoding.load_generator(run, domain, stylegan2)
size = second.generator.resolution
targets2 = subject.photos(size, stop=run.settings.num_images).to(run.device)
real2 = scores.image_set(second, targets2)
others2 = scores.image_set(second, subject.photos(size, start=-run.settings.num_images).to(run.device))
variants = encoding.trained_variants(stylegan2, averages.VARIANTS)
encoded2 = encoding.encode_all(second, stylegan2, variants, targets2)

# %% [markdown]
# ## Table 4: with and without the average code, and e4e
#
# Columns that begin with `between` are of the interpolations, whose intervals resample rings of three
# targets.

# %%
table4 = run.table("table4", encoding.encoder_table(domain, encoded2, real2, others2))
table4[["encoder", *metrics, *(f"between_{m}" for m in scores.set_metrics())]].round(3)

# %% [markdown]
# ## Figure 9: reconstructions by encoders of StyleGAN2

# %%
run.figure("fig09", encoding.encoder_pictures(targets2, encoded2, averages.VARIANTS))

# %% [markdown]
# ## Figure 14b: with and without the average code, while training
#
# The pixel term of the training loss, and the MSE of training images that the encoders are not trained on:
# one run of each, so that there is no interval, and no verdict.

# %%
lines = {averages.VARIANTS[variant]: one.name for variant, one in encoded2.items()}
run.figure("fig14b", logs.curves_together(lines))

# %% [markdown]
# ## Figure 17: before training
#
# The paper explains the average code by where training starts. Here are untrained encoders of a StyleGAN
# and of a StyleGAN2, with the average code and without: what is rendered from their codes, its KID to real
# images, and how far the codes lie from the mean of sampled ones, in standard deviations of those (sampled
# codes: about 1). The published encoder's last batch norm gives its codes unit variance; here they have
# that of sampled codes, so that without the average code they lie around zero.

# %%
starts, parts = {}, []
for name in (subject.generator, stylegan2):
    m = encoding.load_generator(run, domain, name)
    starts[name] = averages.untrained_encoders(m, name, targets2, seed)
    parts.append(averages.start_table(domain, starts[name], m, others2))
run.table("fig17", pd.concat(parts)).round(2)

# %%
shown = sum(starts.values(), [])
rows = [targets2[:10].cpu(), *(start.images.images[:10] for start in shown)]
labels = ["target", *(start.title.replace(", ", ",\n") for start in shown)]
run.figure("fig17", figures.image_grid(rows, labels))

# %% [markdown]
# ## Paper and ours
#
# Each row compares two encoders by one metric, so that a positive value (above 1 for a ratio of seconds)
# agrees with the paper; a claim is *reproduced* if the whole 95 % interval does. Deeper backbones are not
# at an advantage yet after 40,000 images from nothing; the paper's saw 14 million. KID, which the paper
# does not report, stands beside its FID. The intervals are over images: they do not say how much another
# seed of the training would move the encoders.

# %%
rows = []
for d, m in subjects.items():
    rows += encoders.quality_claims(d, encoded[d], real[d])
    rows += encoders.time_claims(d, times[d])
    rows += encoders.training_claim(d, m, encoded[d], real[d], targets[d])
rows += averages.average_claims(domain, encoded2, real2, others2)
rows += averages.start_claims(domain, starts, others2)
run.table("05_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
