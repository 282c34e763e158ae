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
# # Explore
#
# Move the controls: how close is the inversion to the image, and what does an edit change? The pictures of
# the published page were made beforehand, from test images that the networks have never seen. In JupyterLab
# (`jupyter lab notebooks/explore.ipynb`) the panel at the end inverts any image, also your own, while you
# watch.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_images = None  # test faces to invert; None: as the profile says
iterations = None  # Adam steps per image
strengths = [-6, -4, -2, 0, 2, 4, 6]  # steps along a boundary, in units of codes
steps = 9  # pictures on the way between two faces
seed = 0

# %%
import ipywidgets as widgets
import torch
from idinvert import data, study
from idinvert.codes import manipulate, render
from idinvert.publish import explorer
from idinvert.study import figures, networks
from idinvert.study.sections import tradeoff

run = study.begin("explore", profile, device, seed, num_images=num_images, iterations=iterations)
m = networks.load(run.subject("face"), run.device)
test = run.subject("face").test(m)
wears = test.labels["eyeglasses"].to_numpy() == 1
faces = data.to_float(test.images[~wears]).to(run.device)
targets = faces[: run.settings.num_images]
outcomes = tradeoff.sweep(m, targets, explorer.LAMBDAS, run.settings.iterations, "eyeglasses", 4.0)

# %% [markdown]
# ## The weight of the regulariser
#
# The first row shows the faces, the second row their inversions with the chosen weight $\lambda_{dom}$, and the
# third row the same codes after a step of 4 towards eyeglasses. The table gives the probabilities of an
# attribute classifier, averaged over the faces.

# %%
pages = []
for o in outcomes:
    probabilities = explorer.scores(m, target=targets, inverted=o.images, edited=o.edited)
    pages.append(explorer.still([targets, o.images, o.edited], probabilities))
chosen = explorer.slider("lambda_dom", explorer.LAMBDAS, 2.0)
widgets.VBox([chosen, explorer.flip(chosen, pages)])

# %% [markdown]
# ## Attribute and strength
#
# The codes at $\lambda_{dom} = 2$ are moved along the boundary of one attribute. Steps are in units of codes.
# Far along the normal, even the generator's own samples fall apart.

# %%
codes = next(o.codes for o in outcomes if o.lambda_dom == 2)
style = {"description_width": "90px"}
attribute = widgets.Dropdown(options=list(m.boundaries), description="attribute", style=style)
strength = explorer.slider("strength", strengths, 0)
plain = render(m.generator, codes)


def edited(name, alpha):
    images = render(m.generator, manipulate(codes, m.boundaries[name].direction, alpha))
    probabilities = explorer.scores(m, target=targets, inverted=plain, edited=images)
    return explorer.still([targets, images], probabilities)


stacks = [explorer.flip(strength, [edited(name, alpha) for alpha in strengths])
          for name in m.boundaries]
widgets.VBox([attribute, strength, explorer.flip(attribute, stacks)])

# %% [markdown]
# ## From one face to another
#
# The image halfway between two codes should be a face, not two faces laid over each other.

# %%
pairs = [(i, (i + 1) % len(targets)) for i in range(len(targets))]
titles = [f"{a + 1} to {b + 1}" for a, b in pairs]
pair = widgets.Dropdown(options=titles, description="faces", style=style)
way = explorer.slider("way", [round(i / (steps - 1), 2) for i in range(steps)], 0.5)


def blended(a, b):
    between = explorer.blends(m, codes[a : a + 1], codes[b : b + 1], steps)
    rows = [torch.stack([targets[a], image, targets[b]]) for image in between]
    return explorer.flip(way, [explorer.still([row], width="60%") for row in rows])


widgets.VBox([pair, way, explorer.flip(pair, [blended(a, b) for a, b in pairs])])

# %% [markdown]
# ## Test faces, their inversions and edits at $\lambda_{dom} = 2$

# %%
moved = [manipulate(codes, boundary.direction, 4.0) for boundary in m.boundaries.values()]
rows = [targets, plain, *(render(m.generator, w) for w in moved)]
labels = ["target", "inverted", *(f"+ {name}" for name in m.boundaries)]
run.figure("explore", figures.image_grid(rows, labels))

# %% [markdown]
# ## With a kernel
#
# In JupyterLab the next cell is a panel. Choose a test image or upload your own, invert it by any method and
# watch the steps. Then move several attributes at once, blend it with a second image, or diffuse a rectangle
# of it into another image.

# %% tags=["remove-output"]
panel = explorer.Panel(m, faces)
panel.widget

# %%
print(run.finish())
