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
# A boundary of a generator is a hyperplane that separates the codes of sampled images with an attribute from
# those without it (InterFaceGAN). If the inverted code of a *real* image lies in the domain, its side of the
# boundary shows whether the image has the attribute. Section 4.2 of the paper measures this by the precision
# and recall of the signed distance, for age, gender, eyeglasses and pose (Figure 3). The paper takes its
# labels from an attribute classifier. Our images are rendered, so that their attributes are known exactly.

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
# Each boundary is a linear SVM on whole codes. It separates the sampled codes with the highest classifier
# scores from those with the lowest. The accuracy is measured on sampled codes that the fit has not seen. The
# cosine of two normals shows how entangled their attributes are: a step along one normal is also a step along
# the other, times the cosine.

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
# The dashed line is the precision of a guess: the share of images that have the attribute.

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
# Claim C6 says that in-domain codes are semantically better aligned. Each row gives the average precision of
# in-domain codes minus that of another method on the same images.

# %%
rows = []
for d, m in subjects.items():
    rows += separation.separation_claims(d, codes[d], m.boundaries, labels[d], shown[d])
run.table("03_paper_and_ours", claims.frame(rows)).round(3)

# %%
print(run.finish())
