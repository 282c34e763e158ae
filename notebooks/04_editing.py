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
# # Editing: what inverted codes are good for
#
# Section 4.3 of the paper edits real images through their codes: *interpolation* between two images,
# *manipulation* of an attribute (Eq. 5), and *semantic diffusion* of one image's centre into another. If a
# code lies in the domain, the edited code should lie there too. Table 2 measures how near the edited images
# are to real ones, for Image2StyleGAN and in-domain inversion. We add the encoders alone.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
domains = ["face", "tower", "bedroom"]  # None: all of the profile
num_images = None  # test images of each domain; None: as the profile says
methods = None  # settings by method, e.g. {"in-domain": {"iterations": 100}}
num_diffused = None  # pairs of images in the semantic diffusion
crops = [0.25, 0.375, 0.5, 0.625, 0.75, 0.875]  # sizes of the diffused centre, of the image's side
seed = 0

# %%
import pandas as pd
import torch
from idinvert import study
from idinvert.codes import render, sample_codes
from idinvert.inversion import METHODS
from idinvert.study import claims, edits, figures, networks, scores
from idinvert.study.sections import editing
from IPython.display import display

run = study.begin("04_editing", profile, device, seed, num_images=num_images, methods=methods,
                  num_diffused=num_diffused)
subjects = networks.load_domains(run, domains)
run.settings

# %%
labels, targets, real, codes = {}, {}, {}, {}
for d, m in subjects.items():
    test = run.subject(d).test(m)
    labels[d] = test.labels[: run.settings.num_images]
    targets[d] = test.floats(stop=run.settings.num_images).to(run.device)
    real[d] = scores.image_set(m, test.floats(max(run.settings.num_images, len(test) - run.settings.num_real)).to(run.device))
    codes[d] = networks.invert(m, targets[d], run.settings.methods)

# %% [markdown]
# ## Interpolation
#
# ### Figures 4 and 19: from one test image to another
#
# Each strip shows a test image, its inversion, five steps, the inversion of another test image, and that image.

# %%
halves = {}
for d, m in subjects.items():
    halves[d] = {name: edits.halfway(m, w, seed) for name, w in codes[d].items()}
    rows, names = editing.method_rows(m, codes[d], targets[d], [(0, 1), (2, 3), (4, 5)])
    display(run.figure(f"fig04_{d}", figures.image_grid(rows, names)))

# %% [markdown]
# ## Manipulation
#
# Each attribute is switched in every image: it is added if it is missing and removed if it is present. All
# methods take the same step. It is set on sampled codes, before any image is inverted: the smallest step
# after which a classifier sees the attribute in 60 % of the samples that lacked it.

# %%
steps, edited = {}, {}
for d, m in subjects.items():
    samples = sample_codes(m.generator, run.settings.num_sampled, seed=seed + 1)
    steps[d] = edits.step_sizes(m, list(labels[d]), samples)
    edited[d] = editing.switch_all(m, codes[d], steps[d], labels[d], targets[d])
steps

# %% [markdown]
# ### Figures 5 and 20: every attribute switched
#
# The rows show, for each method, the inversion and then each attribute switched.

# %%
for d, m in subjects.items():
    for name in ("image2stylegan", "in-domain"):
        inverted = render(m.generator, codes[d][name][:8])
        rows = [targets[d][:8], inverted, *(edit.images.images[:8] for edit in edited[d][name].values())]
        names = ["target", "inverted", *steps[d]]
        print(METHODS[name].title)
        display(run.figure(f"fig05_{d}_{name}", figures.image_grid(rows, names)))

# %% [markdown]
# ### Table 2: distances of edited images to real ones
#
# The distances are to real test images that were not inverted. FD and SWD need equally many images on both
# sides: the column `images` gives this number. If there are more edited images than real ones, FD and SWD
# take all edits of some targets, drawn at random. KID takes all `edited` and all `real` images. Intervals
# resample target images, each with all its edits. Interpolations are made in rings of three targets, which
# stay together. The second table shows what the paper does not measure: how often the classifier sees the
# edit, and how much the other attributes change.

# %%
tasks = {d: {"interpolation": halves[d], "manipulation": editing.pooled(edited[d])} for d in subjects}
table2 = pd.concat([editing.table2(d, tasks[d], real[d]) for d in subjects])
run.table("table2", table2)
columns = ["domain", "task", "method", "images", "edited", "real", *scores.set_metrics()]
table2[columns].round(2)

# %%
effects = pd.concat([editing.edit_table(d, edited[d], steps[d]) for d in subjects])
run.table("table2_edits", effects)
values, index = ["success", "others_moved"], ["domain", "attribute", "step"]
effects.pivot(index=index, columns="method", values=values).round(3)

# %% [markdown]
# ## Semantic diffusion
#
# The centre of a target face is pasted into a context image. The inversion of the result starts at the
# encoder's code and matches only the pixels of the centre, so that the generator fills in surroundings that
# suit the centre.
#
# ### Figure 6: centres of faces in other surroundings

# %%
domain = "face" if "face" in subjects else next(iter(subjects))
m, count = subjects[domain], run.settings.num_diffused
pair = targets[domain][:count], targets[domain][count : 2 * count]
sides = [round(share * m.generator.resolution) for share in crops]
iterations = run.settings.methods["in-domain"].iterations
results = [editing.diffusion(m, *pair, side, iterations) for side in sides]
middle = results[len(results) // 2]
rows = [x[:8] for x in (*pair, middle.pasted, middle.images)]
labels6 = ["target", "context", f"pasted,\n{middle.crop} px", "diffused"]
run.figure("fig06", figures.image_grid(rows, labels6))

# %% [markdown]
# ### Figure 16: the size of the crop

# %%
columns = [*pair, *(r.images for r in results)]
rows = [torch.stack([images[i] for images in columns]) for i in range(min(4, count))]
titles = ["target", "context", *(f"{side} px" for side in sides)]
run.figure("fig16", figures.image_grid(rows, column_labels=titles))

# %%
sizes = run.table("fig16", editing.crop_table(m, results, *pair))
panels = [
    ("target_agreement", "Attributes of the target", "agreement"),
    ("context_agreement", "Attributes of the context", "agreement"),
    ("inside_mse", "Inside the crop", "MSE to the target"),
    ("outside_mse", "Outside the crop", "MSE to the context"),
]
run.figure("fig16_curves", figures.curves(sizes, "crop, px", panels, columns=4))

# %% [markdown]
# ## Style mixing
#
# Each image has the shapes of the image on the left, and colours and light of the image on top, whose codes it
# takes in the last four layers.

# %%
grid = editing.mixing_grid(m, codes[domain]["in-domain"], contents=[0, 1, 2, 3], styles=[4, 5, 6, 7])
run.figure("style_mixing", figures.image_grid(grid))

# %% [markdown]
# ## Paper and ours
#
# Positive values agree with the paper. A claim is *reproduced* if the whole 95 % interval is positive.

# %%
paper = claims.paper_table(2)
rows = []
for d in subjects:
    rows += editing.editing_claims(d, tasks[d], real[d], edited[d], paper)
rows += editing.diffusion_claims(m, middle, results, *pair, real[domain])
run.table("04_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
