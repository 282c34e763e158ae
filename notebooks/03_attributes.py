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
# # Attributes: are inverted codes where the generator expects them?
#
# A boundary of a generator is a hyperplane between the codes of sampled images with and without an
# attribute (InterFaceGAN). If the code that an inversion finds for a *real* image lies in the domain, then
# its side of the boundary tells the attribute of that image. Section 4.2 of the paper measures this by
# precision and recall over the signed distance, for age, gender, eyeglasses and pose (Figure 3), with
# the labels of an attribute classifier. The images here are rendered: their attributes are known exactly.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
domains = ["face"]  # None: all of the profile
num_images = None  # test images of each domain; None: as the profile says
methods = None  # settings by method, e.g. {"in-domain": {"iterations": 100}}
seed = 0

# %%
import pandas as pd
from idinvert import study
from idinvert.study import claims, figures, networks
from idinvert.study.sections import separation
from IPython.display import display

run = study.begin("03_attributes", profile, device, seed, num_images=num_images, methods=methods)
subjects = networks.load_domains(run, domains, needs=("boundaries",))
run.settings

# %%
labels, codes = {}, {}
for d, m in subjects.items():
    test = run.subject(d).test(m, run.settings.num_images)
    labels[d], targets = test.labels, test.floats().to(run.device)
    codes[d] = networks.invert(m, targets, run.settings.methods)
pd.concat({d: x.mean() for d, x in labels.items()}).rename("share of positives").to_frame().round(2)

# %% [markdown]
# ## Boundaries
#
# Each is a linear SVM between the sampled codes of highest and of lowest classifier score, fitted to the
# whole code. The accuracy is that on sampled codes which the fit has not seen. The cosines show what is
# entangled: moving along one normal also moves along another by that share.

# %%
for d, m in subjects.items():
    accuracy = {name: [boundary.accuracy] for name, boundary in m.boundaries.items()}
    display(pd.DataFrame(accuracy, index=[f"{d}: accuracy"]).round(3))
    cosines = separation.cosines(m.boundaries)
    run.table(f"boundary_cosines_{d}", cosines)
    display(run.figure(f"boundary_cosines_{d}", figures.heatmap(cosines)))

# %% [markdown]
# ## Figure 3: precision and recall
#
# The dashed line is the precision of guessing: the share of images that have the attribute.

# %%
shown = {d: separation.attributes_of_figure(labels[d]) for d in subjects}
for d, m in subjects.items():
    curves = separation.separation_curves(codes[d], m.boundaries, labels[d], shown[d])
    display(run.figure(f"fig03_{d}", curves))

# %%
table = pd.concat([separation.average_precisions(d, codes[d], m.boundaries, labels[d])
                   for d, m in subjects.items()])
run.table("fig03", table)
table.pivot(index=["domain", "attribute"], columns="method", values="ap").round(3)

# %% [markdown]
# ## Paper and ours
#
# Claim C6: in-domain codes are semantically better aligned. The quantity is the average precision of
# in-domain codes less that of the other method, on the same images.

# %%
rows = []
for d, m in subjects.items():
    rows += separation.separation_claims(d, codes[d], m.boundaries, labels[d], shown[d])
run.table("03_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
