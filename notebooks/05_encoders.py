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
from idinvert.study import claims, figures, networks, scores
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
sizes = {d: m.generator.resolution for d, m in subjects.items()}
targets = {d: run.subject(d).photos(size, stop=run.settings.num_images).to(run.device) for d, size in sizes.items()}
real = {d: scores.see(m, targets[d]) for d, m in subjects.items()}
found = {}
for d, m in subjects.items():
    generator = run.subject(d).generator
    found[d] = encoders.encode_all(m, generator, encoders.trained(generator, encoders.BACKBONES), targets[d])
times = {d: encoders.seconds(found[d], targets[d]) for d in subjects}

# %% [markdown]
# ## Table 3: reconstruction by five backbones
#
# MSE and SSIM compare each reconstruction with its target, FD, KID and SWD the set of reconstructions with the
# set of targets; seconds are those of one image, the median of 20. `thousand_images` is what each encoder was trained on.

# %%
table3 = pd.concat([encoders.table(d, found[d], real[d], times=times[d]) for d in subjects])
run.table("table3", table3)
table3[["domain", "encoder", "thousand_images", "parameters", *scores.PAIRWISE, *scores.DISTANCES, "seconds"]].round(4)

# %% [markdown]
# ## Figure 8: targets and their reconstructions by each backbone

# %%
for d in subjects:
    display(run.figure(f"fig08_{d}", encoders.pictures(targets[d], found[d], encoders.BACKBONES)))

# %% [markdown]
# ## The average code
#
# Three encoders of one StyleGAN2, all trained from nothing on as many images: e4e, the base encoder without the average
# code, and the same with it. The reconstructions are compared with their targets, the images halfway
# between two codes with other real images.

# %%
second = encoders.load_generator(run, domain, run.settings.stylegan2)
size = second.generator.resolution
targets2 = run.subject(domain).photos(size, stop=run.settings.num_images).to(run.device)
real2 = scores.see(second, targets2)
others2 = scores.see(second, run.subject(domain).photos(size, start=-run.settings.num_images).to(run.device))
found2 = encoders.encode_all(second, run.settings.stylegan2, encoders.trained(run.settings.stylegan2, averages.VARIANTS), targets2)

# %% [markdown]
# ## Table 4: with and without the average code, and e4e
#
# Columns that begin with `between` are of the interpolations.

# %%
table4 = run.table("table4", encoders.table(domain, found2, real2, others2))
table4[["encoder", *scores.PAIRWISE, *scores.DISTANCES, *(f"between_{m}" for m in scores.DISTANCES)]].round(3)

# %% [markdown]
# ## Figure 9: reconstructions by encoders of StyleGAN2

# %%
run.figure("fig09", encoders.pictures(targets2, found2, averages.VARIANTS))

# %% [markdown]
# ## Figure 14b: with and without the average code, while training
#
# The pixel term of the training loss, and the MSE of training images that the encoders are not trained on: one
# run of each, so that there is no interval, and no verdict.

# %%
lines = {averages.VARIANTS[name]: encoded.name for name, encoded in found2.items()}
run.figure("fig14b", encoders.learning_curves(lines))

# %% [markdown]
# ## Figure 17: before training
#
# The paper explains the average code by where training starts. Here are untrained encoders
# of a StyleGAN and of a StyleGAN2, with the average code and without: what is rendered from their codes, its KID
# to real images, and how far the codes lie from the mean of sampled ones, in standard deviations of those (sampled codes: about 1).
# The published encoder's last batch norm gives its codes unit variance; here they have that of sampled codes, so that without the
# average code they lie around zero.

# %%
first = encoders.load_generator(run, domain, run.subject(domain).generator)
begin = {run.subject(domain).generator: averages.starts(first, run.subject(domain).generator, targets2, seed),
         run.settings.stylegan2: averages.starts(second, run.settings.stylegan2, targets2, seed)}
run.table("fig17", pd.concat([averages.start_table(domain, begin[name], m, others2) for name, m in zip(begin, (first, second))])).round(2)

# %%
shown = [start for starts in begin.values() for start in starts]
run.figure("fig17", figures.image_grid([targets2[:10].cpu(), *(start.seen.images[:10] for start in shown)], ["target", *(start.title.replace(", ", ",\n") for start in shown)]))

# %% [markdown]
# ## Paper and ours
#
# Each row compares two encoders by one metric, so that a positive value (above 1 for a ratio of seconds) agrees with the paper;
# a claim is *reproduced* if the whole 95 % interval does. Deeper backbones are not at an advantage yet after 40,000 images from nothing; the
# paper's saw 14 million. KID, which the paper does not report, stands beside its FID. The intervals
# are over images: how much another seed of the training would move the encoders they do not say.

# %%
rows = [row for d, m in subjects.items() for row in (
    *encoders.quality_claims(d, found[d], real[d]), *encoders.time_claims(d, times[d]),
    *encoders.training_claim(d, m, found[d], real[d], targets[d]))]
rows += averages.average_claims(domain, found2, real2, others2) + averages.start_claims(domain, begin, others2)
run.table("05_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
