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
# # Noise maps: reconstruction without editability
#
# Each layer of a StyleGAN adds a noise map. In section 6.3 of the paper the encoder predicts these maps as
# well as the code, by a 1x1 convolution of its features at each resolution: only those of the first block
# (B-1, 4 px), and so on up to those of all blocks (B-5, 64 px; the paper's generators of 256 px have seven
# blocks). The paper claims that each further block improves the reconstruction, because maps hold what the
# code cannot hold, but that images between two codes get worse (Table 6).

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_images = None  # test images; None: as the profile says
domain = "face"
seed = 0

# %%
from idinvert import study
from idinvert.study import claims, encoding, logs, scores
from idinvert.study.sections import noise
from IPython.display import display

run = study.begin("08_noise", profile, device, seed, num_images=num_images)
generator = run.subject(domain).generator
m = encoding.load_generator(run, domain, generator)
run.settings

# %% [markdown]
# ## Encoding the test images
#
# The image halfway between two images is rendered from the mean of their codes and the mean of their maps.

# %%
size = m.generator.resolution
targets = run.subject(domain).photos(size, stop=run.settings.num_images).to(run.device)
real = scores.image_set(m, targets)
others = scores.image_set(m, run.subject(domain).photos(size, start=-run.settings.num_images).to(run.device))
variants = encoding.trained_variants(generator, noise.VARIANTS)
encoded = encoding.encode_all(m, generator, variants, targets)

# %% [markdown]
# ## Table 6: reconstruction and interpolation by number of blocks with maps
#
# The first columns compare the reconstructions with their targets. Columns that begin with `between` compare
# the interpolations with other real images.

# %%
table6 = run.table("table6", encoding.encoder_table(domain, encoded, real, others))
between = [f"between_{metric}" for metric in scores.set_metrics()]
table6[["encoder", *scores.pair_metrics(), *scores.set_metrics(), *between]].round(4)

# %% [markdown]
# ## Figure 13: reconstructions by number of blocks with maps

# %%
run.figure("fig13", encoding.encoder_pictures(targets, encoded, noise.VARIANTS, 8))

# %% [markdown]
# ## Halfway between each image and its partner

# %%
pictures = encoding.encoder_pictures(targets, encoded, noise.VARIANTS, 8, "between")
run.figure("fig13_between", pictures)

# %% [markdown]
# ## Figure 14a: encoders with maps, while training
#
# The panels show the pixel term of the training loss, and the MSE on held-out training images, of the
# encoders of Table 6.

# %%
lines = {noise.VARIANTS[variant]: one.name for variant, one in encoded.items()}
run.figure("fig14a", logs.curves_together(lines))

# %% [markdown]
# ## Several trainings with maps
#
# Short trainings with several seeds, whose logs are kept (`idinvert train NAME --seed 1 --kimg 1.5`). All begin
# as the same encoder without maps; the seed sets the weights of the new convolutions and the order of the
# images. Lines are means over the seeds, bands reach from the lowest to the highest.

# %%
repeated = logs.repeated({variant: one.name for variant, one in encoded.items()})
if repeated:
    lines = {noise.VARIANTS[variant]: name for variant, name in repeated.items()}
    display(run.figure("fig14a_seeds", logs.curves_of_repetitions(lines)))

# %% [markdown]
# ## Paper and ours
#
# The table gives the rank correlation with the number of blocks in the claimed direction, so that a positive
# value agrees with the paper, and the factor by which the MSE falls from the first encoder to the last. A
# claim is *reproduced* if the whole 95 % interval agrees. The intervals resample images, except in the rows on
# the training loss (C25). Of the short trainings, in which the maps have hardly begun to matter, the unit is the
# pair of trainings of one seed, and *throughout* takes that tenth of the training whose interval begins lowest.
# The long trainings were made once each: there the unit is a stretch of the log, and the interval does not say
# what another training would give.

# %%
rows = noise.noise_claims(domain, encoded, real, others) + noise.loss_claims(domain, repeated)
rows += noise.training_claims(domain, {variant: one.name for variant, one in encoded.items()})
run.table("08_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
