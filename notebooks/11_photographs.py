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
# # Photographs: the same through a generator of real faces
#
# The generator `ffhq` renders faces of 1024 px that look like photographs: a MobileStyleGAN, distilled from
# the StyleGAN2 of FFHQ, whose weights a package brings. This notebook repeats Figures 2, 4, 5, 6, 11 and 16 of
# the paper with it.
#
# FFHQ itself is not to be had here, so *stand-ins* are inverted: people who do not exist, of codes beyond W,
# in another light, crop and sharpness, and compressed, so that no code renders them exactly. With them comes
# the astronaut of scikit-image, a real photograph. `photos` names a folder of your own photographs, whose faces
# are found and aligned.
#
# Codes are optimised on images reduced to 256 px. Errors are measured there too.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
photos = None  # a folder of photographs; None: stand-ins and the astronaut
generator = "ffhq"
num_images = None  # faces to invert; None: as the profile says
methods = None  # settings by method, e.g. {"in-domain": {"iterations": 40}}
lambdas = None  # values of lambda_dom; None: as the profile says
seed = 0

# %%
from idinvert import study
from idinvert.study import claims, figures
from idinvert.study.sections import photographs
from IPython.display import display

run = study.begin("11_photographs", profile, device, seed, num_images=num_images, methods=methods, lambdas=lambdas)
subjects = photographs.begin(run, generator, photos)
run.settings

# %% [markdown]
# ## Figure 2: targets and reconstructions
#
# The same methods as in notebook 02, each with the steps that the settings above name: far fewer than the
# paper's, because a step through the whole network takes a second of a processor.

# %%
found = [photographs.reconstruct(of, run.settings.methods) for of in subjects]
for of, by_method in zip(subjects, found):
    rows = [of.targets.cpu(), *(images.images for _, images in by_method.values())]
    display(run.figure("fig02_photographs", figures.image_grid(rows, ["target", *photographs.titles(by_method)])))

# %% [markdown]
# ## Edits, and the table
#
# Each attribute of each image is moved by a step of 3 to the side on which the image is not. An edit is
# *successful* if a network or the landmarks of the face see the attribute move by one standard deviation of
# what other faces have. *others_moved* is how much the other attributes move, in the same unit. *identity* is
# the distance of dlib's face descriptors between target and reconstruction, *identity_edited* between target and
# edited image; below 0.6 dlib takes two images for the same person. *kid_edited* compares all edited images with
# other faces. *cpu_seconds* is the processor time of one inversion on one core.

# %%
edited = [{name: photographs.edit_all(of, codes) for name, (codes, _) in by_method.items()}
          for of, by_method in zip(subjects, found)]
for of, by_method, by_attribute in zip(subjects, found, edited):
    rows = photographs.table(of, by_method, by_attribute, run.settings.methods)
    display(run.table("photographs", rows).round(3))

# %% [markdown]
# ## Figure 5: manipulation of in-domain codes

# %%
for of, by_method, by_attribute in zip(subjects, found, edited):
    name = next(n for n in ("in-domain", "image2stylegan") if n in by_method)
    rows = photographs.edit_rows(of, by_method[name][0], by_attribute[name], 4)
    labels = ["target", "inverted", *by_attribute[name]]
    display(run.figure("fig05_photographs", figures.image_grid(rows, column_labels=labels, inch=1.3)))

# %% [markdown]
# ## Figure 4: interpolation
#
# A target, its inversion, five steps to the inversion of another, and that target.

# %%
for of, by_method in zip(subjects, found):
    names = [n for n in photographs.PAIR if n in by_method]
    rows = [photographs.between(of, by_method[n][0], 0, 1) for n in names]
    display(run.figure("fig04_photographs", figures.image_grid(rows, photographs.titles(names))))

# %% [markdown]
# ## Figures 6 and 16: semantic diffusion
#
# The middle of a target is pasted into a context and alone inverted, so that the generator finds the rest:
# target, context, what is pasted, the result. Then the same for three sizes of the pasted part.

# %%
for of in subjects:
    if of.model.has("encoder"):
        method = run.settings.methods["in-domain"]
        rows = photographs.diffused(of, [(0, 1), (1, 0)], 0.5, method)
        display(run.figure("fig06_photographs", figures.image_grid(rows, column_labels=["target", "context", "pasted", "diffused"], inch=1.3)))
        sizes = [0.35, 0.65]
        rows = [photographs.diffused(of, [(0, 1)], share, method)[0] for share in sizes]
        display(run.figure("fig16_photographs", figures.image_grid(rows, [f"{share:.0%}" for share in sizes], ["target", "context", "pasted", "diffused"], inch=1.3)))
    else:
        print("Semantic diffusion is left out: it starts from the encoder, which is not there.")

# %% [markdown]
# ## Style mixing
#
# Faces on the left, their fine layers those of the faces on top.

# %%
for of, by_method in zip(subjects, found):
    name = next(n for n in ("in-domain", "image2stylegan") if n in by_method)
    codes = by_method[name][0]
    rows = photographs.mixed(of, codes, [0, 1], list(range(1, min(5, len(codes)))))
    display(run.figure("photographs_mixed", figures.image_grid(rows, inch=1.1)))

# %% [markdown]
# ## Figure 11: the weight of the domain term
#
# Reconstructions, and the same codes after an edit, for several values of $\lambda_{dom}$.

# %%
outcomes = []
for of in subjects:
    if of.model.has("encoder") and of.attributes:
        attribute = next(a for a in ("smile", *of.attributes) if a in of.attributes)
        outcomes.append((of, photographs.sweep(of, run.settings.lambdas, run.settings.methods["in-domain"], attribute)))
for of, by_lambda in outcomes:
    display(run.table("fig11_photographs", photographs.sweep_table(of, by_lambda)).round(3))
    rows = [of.targets.cpu(), *(part for images, edit in by_lambda.values() for part in (images.images, edit.images.images))]
    labels = ["target", *(f"$\\lambda$ = {value:g}\n{what}" for value in by_lambda for what in ("inverted", attribute))]
    display(run.figure("fig11_photographs", figures.image_grid([images[:8] for images in rows], labels)))

# %% [markdown]
# ## Paper and ours
#
# A positive value agrees with the paper; a claim is *reproduced* if the whole 95 % interval is positive. These
# are few faces, so that many rows are not resolved.

# %%
rows = []
for of, by_method, by_attribute in zip(subjects, found, edited):
    rows += photographs.reconstruction_claims(of, by_method)
    rows += photographs.editing_claims(of, by_method, by_attribute)
for of, by_lambda in outcomes:
    rows += photographs.tradeoff_claims(of, by_lambda)
run.table("11_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
