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
# # Limits: images from outside, and unusual ones
#
# Section 7 and appendix A4 of the paper show where in-domain inversion ends. An image from outside the domain
# comes back as one of the domain, while Image2StyleGAN copies it (Figure 15). Images that are unusual within
# the domain invert worse (Figure 18). The paper shows both in pictures; here they are measured.

# %% tags=["parameters"]
profile = "embedded"  # smoke | embedded | reference | paper, or the path of your own
device = "auto"  # cuda if there is one
num_foreign = None  # images of each other domain; None: as the profile says
num_images = None  # test images of the generator's own domain
domain = "face"
others = ["tower", "bedroom"]
seed = 0

# %%
import pandas as pd
import torch
from idinvert import data, study
from idinvert.inversion import Image2StyleGAN, InDomain
from idinvert.inversion.cache import cached_codes
from idinvert.metrics import pixel
from idinvert.study import claims, figures, networks, scores, subjects
from idinvert.study.sections import limits

run = study.begin("09_limits", profile, device, seed, num_foreign=num_foreign, num_images=num_images)
m = networks.load(run.subject(domain), run.device, needs=())
in_domain = InDomain(iterations=run.settings.iterations, bf16=True)
copying = Image2StyleGAN(iterations=run.settings.image2stylegan, bf16=True)
run.settings

# %% [markdown]
# ## Images from outside the domain
#
# Other domains' test images, faces of cats that are drawn here, in random colours and proportions, and
# photographs that come with scikit-image (a cat, a cup, a rocket) go through the generator of faces. Faces of
# its own domain stand beside them for comparison.

# %%
size, count = m.generator.resolution, run.settings.num_foreign
own = run.subject(domain).photos(size)
images = {domain: own[:count]}
images |= subjects.ready(others, lambda d: run.subject(d).photos(size, stop=count))
images |= {"drawn cats": limits.cats(count, size, seed), "photographs": limits.photographs(size)}
images = {kind: x.to(run.device) for kind, x in images.items() if len(x)}

# %%
kinds = []
for kind, x in images.items():
    codes = {"encoder": m.encode(x), "in-domain": cached_codes(m, in_domain, x),
             "image2stylegan": cached_codes(m, copying, x)}
    kinds.append(limits.foreign(kind, m, x, codes))

# %% [markdown]
# ## Figure 15: images from outside, through the generator of faces
#
# In-domain inversion keeps the outline of a face, as its encoder does. Image2StyleGAN gives up the face for
# the pixels.

# %%
shown = [(one, i) for one in kinds for i in range(3 if one.kind == "photographs" else 2)]
rows = [torch.stack([one.targets[i] for one, i in shown])]
rows += [torch.stack([one.found[name].images[i] for one, i in shown]) for name in kinds[0].found]
heads = [one.kind if i == 0 else "" for one, i in shown]
run.figure("fig15", figures.image_grid(rows, ["target", "encoder", "in-domain", "Image2-\nStyleGAN"], heads))

# %% [markdown]
# ## How close, and how much of the domain
#
# MSE and SSIM compare an inversion with its image, KID all inversions of one kind with real test images of
# the generator's own domain: it is low if a tower comes back as a face. Three photographs are too few for a
# KID.

# %%
real = scores.image_set(m, own[-500:].to(run.device))
table = run.table("fig15", limits.foreign_table(kinds, real))
table[["images from", "method", "images", *scores.pair_metrics(), "kid"]].round(4)

# %% [markdown]
# ## Unusual images of the domain
#
# Each rendered face has exact attributes. We compare the error of the unusual ones with that of all others.
# Hair is rare if at most 6 % of the faces have its style or its colour. The encoder inverts all test images,
# in-domain inversion the first of them.

# %%
test = own.to(run.device)
first = test[: run.settings.num_images]
codes = cached_codes(m, in_domain, first)
inverted = {"domain-guided": m.render(m.encode(test)), "in-domain": m.render(codes)}
errors = {name: pixel.mse(x, test[: len(x)]).cpu() for name, x in inverted.items()}
known = run.subject(domain).images is None
groups = limits.unusual(data.load(domain, "test").labels) if known else {}
if not groups:
    print("There are no exact attributes: which images are unusual is not known, and left out.")

# %%
parts = [limits.unusual_table({what: chosen[: len(x)] for what, chosen in groups.items()}, {name: x})
         for name, x in errors.items()]
run.table("fig18", pd.concat(parts)).round(4) if groups else None

# %% [markdown]
# ## What the domain lacks
#
# No face of the domain wears earrings or a letter on the forehead, or is cut off by the frame. We add these to
# the same faces and invert them again.

# %%
changed = limits.altered(test[:count])
found = {what: m.render(cached_codes(m, in_domain, x)) for what, x in changed.items()}
changed_errors = {what: pixel.mse(found[what], x).cpu() for what, x in changed.items()}
added = pd.DataFrame([{"image": what, "images": len(x), **scores.spread({"mse": scores.per_image(x)})}
                      for what, x in changed_errors.items()])
run.table("fig18_altered", added).round(4)

# %% [markdown]
# ## Figure 18: unusual images
#
# The top rows show faces with something that the domain lacks, the encoder's inversion and in-domain inversion.

# %%
picks = [(what, i) for what in changed for i in range(2)]
rows = [torch.stack([changed[what][i] for what, i in picks]),
        torch.stack([m.render(m.encode(changed[what][i : i + 1]))[0] for what, i in picks]),
        torch.stack([found[what][i] for what, i in picks])]
heads = [what if i == 0 else "" for what, i in picks]
run.figure("fig18", figures.image_grid(rows, ["target", "encoder", "in-domain"], heads))

# %% [markdown]
# ## The worst and the best
#
# Of the first test images those that in-domain inversion gets worst (left) and best (right).

# %%
order = errors["in-domain"].argsort(descending=True)
chosen = torch.cat([order[:5], order[-5:]])
rows = [x[chosen] for x in (first, *(inverted[name][: len(first)] for name in inverted))]
heads = [f"{errors['in-domain'][i]:.3f}" for i in chosen]
run.figure("fig18_worst_and_best", figures.image_grid(rows, ["target", "encoder", "in-domain"], heads))

# %% [markdown]
# ## Paper and ours
#
# Rows of C26 compare in-domain inversion and Image2StyleGAN on images from outside: a positive value says that
# Image2StyleGAN is closer to the image, and that in-domain inversion is closer to the domain. Rows of C27 give
# the MSE of unusual images less that of the others, or less that of the same images without what was added.

# %%
rows = limits.foreign_claims([one for one in kinds if one.kind != domain], real)
rows += limits.unusual_claims({what: x[: len(first)] for what, x in groups.items()},
                              errors["in-domain"], "in-domain inversion")
rows += limits.altered_claims(changed_errors, "in-domain inversion")
run.table("09_paper_and_ours", claims.frame(rows)).round(4)

# %%
print(run.finish())
