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
# Section 5 of the paper asks two questions about the domain-guided encoder (Eq. 2 and 3): does a deeper
# backbone invert better (Table 3), and why do encoders of StyleGAN2 need the average code added to
# their prediction,
#
# $$
# w = E(x) + \bar w, \qquad \bar w = \mathbb{E}_z[M(z)]
# $$
#
# (Eq. 6, Table 4)? Table 4 also compares them with e4e, another encoder of StyleGAN2.

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
# Every encoder inverts the same first test images. The backbones were trained in the same way, from random
# weights: first as conventional encoders, then, for as many images, as domain-guided ones. The base encoder
# of faces is that of the other chapters and has seen more images. The table shows it, but the claims compare
# *base, trained alike* with the others.

# %%
targets, real, encoded, times = {}, {}, {}, {}
for d, m in subjects.items():
    subject = run.subject(d)
    targets[d] = subject.photos(m.generator.resolution, stop=run.settings.num_images).to(run.device)
    real[d] = scores.image_set(m, targets[d])
    variants = encoding.trained_variants(subject.generator, encoders.of_generator(subject.generator))
    encoded[d] = encoding.encode_all(m, subject.generator, variants, targets[d])
    times[d] = encoding.encoding_seconds(encoded[d], targets[d])

# %% [markdown]
# ## Table 3: reconstruction by five backbones
#
# MSE and SSIM compare each reconstruction with its target. FD, KID and SWD compare the set of
# reconstructions with the set of targets. `seconds` is the time for one image, the median of 20 runs.
# `thousand_images` is the number of images on which an encoder was trained.

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
# ## Several trainings of each backbone
#
# The same encoders, trained for a shorter time with several seeds, whose logs are kept (`idinvert train NAME
# --seed 1 --kimg 3`). The figures are those at the end of each training, on 200 training images that were held
# out: mean over the seeds, and the 95 % interval over trainings. Encoders of the same seed see the same images
# in the same order.

# %%
repeated = {d: logs.repeated({backbone: one.name for backbone, one in encoded[d].items()}) for d in subjects}
spread = [logs.spread_over_seeds(found, tuple(logs.LOGGED.values())).assign(domain=d)
          for d, found in repeated.items() if found]
if spread:
    display(run.table("table3_seeds", pd.concat(spread)).round(3))

# %% [markdown]
# ## The average code
#
# Three encoders of one StyleGAN2 are compared: e4e, the base encoder without the average code, and the base
# encoder with it. All were trained from random weights on equally many images. Reconstructions are compared
# with their targets, and images halfway between two codes with other real images.

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
# Columns that begin with `between` concern the interpolations. Their intervals resample rings of three
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
# The panels show the pixel term of the training loss, and the MSE on held-out training images, of the
# encoders of Table 4.

# %%
lines = {averages.VARIANTS[variant]: one.name for variant, one in encoded2.items()}
run.figure("fig14b", logs.curves_together(lines))

# %% [markdown]
# ## Several trainings, with and without the average code
#
# Short trainings with several seeds, whose logs are kept (`idinvert train NAME --seed 1 --kimg 3`). Lines are
# means over the seeds, bands reach from the lowest to the highest. Encoders of the same seed begin with the
# same weights and see the same images in the same order.

# %%
repeated2 = logs.repeated({variant: one.name for variant, one in encoded2.items()})
if repeated2:
    lines = {averages.VARIANTS[variant]: name for variant, name in repeated2.items()}
    display(run.figure("fig14b_seeds", logs.curves_of_repetitions(lines)))
    display(run.table("table4_seeds", logs.spread_over_seeds(repeated2, tuple(logs.LOGGED.values()))).round(3))

# %% [markdown]
# ## Figure 17: before training
#
# The paper explains the effect of the average code by where training starts. We therefore look at untrained
# encoders of a StyleGAN and of a StyleGAN2, with the average code and without it. The table gives the KID
# between the images rendered from their codes and real images, and the distance of the codes from the mean
# of sampled codes, in standard deviations of sampled codes (for sampled codes it is about 1). The last batch
# norm of the published encoder gives its codes unit variance; ours have the variance of sampled codes.
# Without the average code they lie around zero.

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
# Each row compares two encoders by one metric. A positive value (above 1 for a ratio of seconds) agrees with
# the paper. A claim is *reproduced* if the whole 95 % interval agrees. Table 3 states on how many images our
# backbones were trained; the paper's saw 14 million. The paper does not report KID; our KID stands beside
# the paper's FID. The intervals resample images. Rows on the training loss (C16), and those that end with *over
# trainings*, compare several trainings: their unit is the pair of trainings of one seed. *Throughout* takes that
# tenth of the training whose interval begins lowest.

# %%
rows = []
for d, m in subjects.items():
    rows += encoders.quality_claims(d, encoded[d], real[d])
    rows += encoders.seed_claims(d, repeated[d])
    rows += encoders.time_claims(d, times[d])
    rows += encoders.training_claim(d, m, encoded[d], real[d], targets[d])
rows += averages.average_claims(domain, encoded2, real2, others2)
rows += averages.seed_claims(domain, repeated2) + averages.loss_claims(domain, repeated2)
rows += averages.start_claims(domain, starts, others2)
run.table("05_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
