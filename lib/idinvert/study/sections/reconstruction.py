"""Section 4.2: how well each method reconstructs (Table 1, Figure 2), and how long it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pandas as pd
from torch import Tensor

from idinvert.codes import render
from idinvert.inversion import METHODS, Method
from idinvert.inversion.cache import batch_size, cached_along, image_hash
from idinvert.metrics import pixel
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims, networks, scores, timing
from idinvert.study.networks import StudyModel
from idinvert.study.scores import PIXELS, REALISM, ImageSet, image_set

REPEATS = 6  # timed runs, the fewest from which a median has an interval
FEWEST = 4  # images that a distance with an interval takes


def reconstruct(model: StudyModel, codes: dict[str, Tensor]) -> dict[str, ImageSet]:
    """Images of the codes [N, L, D] of each method."""
    return {name: image_set(model, render(model.generator, w)) for name, w in codes.items()}


def columns() -> list[str]:
    """The metrics of Table 1: all of the registry."""
    return [*scores.set_metrics(), *scores.pair_metrics()]


def table1(domain: str, found: dict[str, ImageSet], real: ImageSet, others: ImageSet
           ) -> pd.DataFrame:
    """One row per method: each metric between reconstructions and their targets `real`.

    The last row is the floor: `others`, real images that are not the targets, against these. Those
    of them that are targets after all, where test images are few, do not count.
    """
    rows = [
        {"domain": domain, "method": name, "images": len(real),
         **scores.spread({m: scores.score(m, images, real) for m in columns()})}
        for name, images in found.items()
    ]
    targets = set(map(image_hash, real.images))
    fresh = [i for i, x in enumerate(others.images) if image_hash(x) not in targets]
    others = others[fresh[:len(real)]]
    if len(others) >= FEWEST:
        floor = {m: scores.score(m, others, real, paired=False) for m in scores.set_metrics()}
        rows.append({"domain": domain, "method": "other_real", "images": len(others),
                     **scores.spread(floor)})
    return pd.DataFrame(rows)


def method_seconds(domain: str, model: StudyModel, images: Tensor, settings: Mapping[str, Method]
            ) -> pd.DataFrame:
    """Seconds per image of every method: median of REPEATS runs of one image, with its interval,
    and one run of the `images` in a batch, or of as many of them as are inverted together with this
    model.

    Each is run once beforehand with a single iteration, so that nothing is timed that happens once.
    """
    rows, images = [], images[:batch_size(model)]
    for name, method in networks.methods(model, settings).items():
        steps = getattr(method, "iterations", 0)
        once = replace(method, iterations=1) if steps else method
        for batch in (images[:1], images):
            once.invert(model, batch)
        alone = timing.median_seconds(REPEATS, method.invert, model, images[:1])
        together = timing.elapsed(method.invert, model, images) / len(images)
        rows.append({"domain": domain, "method": name, "iterations": steps, "batch": len(images),
                     **scores.spread({"seconds_alone": alone}),
                     "seconds_batched": together})
    return pd.DataFrame(rows)


# (claim, better, worse, metrics, in words); "-" for what the paper's numbers show without saying it
COMPARISONS = (
    ("C1", "domain-guided", "conventional", (*REALISM, *PIXELS),
     "domain-guided encoder beats conventional"),
    ("C3", "in-domain", "domain-guided", PIXELS, "optimisation improves on its encoder"),
    ("C4", "in-domain", "image2stylegan", REALISM, "in-domain more realistic than Image2StyleGAN"),
)


def reconstruction_claims(domain: str, found: dict[str, ImageSet], real: ImageSet,
                          paper: pd.DataFrame) -> list[dict]:
    """Verdicts on C1, C3 and C4 for one domain; `paper` is `claims.paper_table(1)`."""
    return [claims.nearer(claim, f"{domain}: {text}",
                          claims.paper_gain(paper, domain, better, worse, metric), metric,
                          found[better], found[worse], real)
            for claim, better, worse, metrics, text in COMPARISONS
            if {better, worse} <= set(found) for metric in metrics]


def with_steps(model: StudyModel, method: Method, targets: Tensor, iterations: Sequence[int]
               ) -> dict[str, ImageSet]:
    """Reconstructions [N, 3, H, W] by a method after each of several numbers of steps, by words."""
    codes = cached_along(model, method, targets, iterations)
    return {f"{n} steps": image_set(model, render(model.generator, w)) for n, w in codes.items()}


def steps_table(domain: str, found: dict[str, ImageSet], targets: Tensor) -> pd.DataFrame:
    """One row for each of several reconstructions of the targets [N, 3, H, W]: metrics of pairs."""
    return pd.DataFrame([
        {"domain": domain, "method": name, "images": len(targets), **scores.spread({
            m: scores.per_image(scores.METRICS[m].function(images.images, targets.cpu()))
            for m in scores.pair_metrics()})} for name, images in found.items()])


def copy_claims(domain: str, copies: dict[str, ImageSet], found: dict[str, ImageSet],
                real: ImageSet, paper: pd.DataFrame) -> list[dict]:
    """Verdicts on C2 for one domain: Image2StyleGAN, after the most of its steps, is closer than
    in-domain inversion and than the encoder to the same images, the first of `found` and `real`."""
    (steps, copy), rows = [*copies.items()][-1], []
    for worse in [name for name in ("in-domain", "domain-guided") if name in found]:
        text = f"{domain}: Image2StyleGAN after {steps} beats {worse}"
        rows += [claims.nearer("C2", text, claims.paper_gain(paper, domain, "image2stylegan", worse,
                                                             metric),
                               metric, copy, found[worse][:len(copy)], real[:len(copy)])
                 for metric in PIXELS]
    return rows


def speed_claims(times: pd.DataFrame) -> list[dict]:
    """C5: how many times as long the slower method takes for one image."""
    pairs = (("in-domain", "image2stylegan", "290 s / 8 s = 36"),
             ("domain-guided", "in-domain", "8 s / 0.0042 s = 1900"))
    rows = []
    for domain, group in times.groupby("domain", sort=False):
        ends = group.set_index("method")[[f"seconds_alone{e}" for e in ("", "_low", "_high")]]
        for fast, slow, theirs in pairs:
            ratio = scores.ratio(Estimate(*ends.loc[slow]), Estimate(*ends.loc[fast]))
            text = (f"{domain}: {METHODS[slow].title} takes so many times as long as "
                    f"{METHODS[fast].title}")
            rows.append(claims.row("C5", text, theirs, ratio, equal=1.0))
    return rows


def error_strips(domain: str, found: dict[str, ImageSet], real: ImageSet) -> pd.DataFrame:
    """The MSE of every image by every method, for a strip plot."""
    parts = [pd.DataFrame({"panel": domain, "method": METHODS[name].title,
                           "MSE": pixel.mse(images.images, real.images)})
             for name, images in found.items()]
    return pd.concat(parts)


def method_pictures(targets: Tensor, found: dict[str, ImageSet], count: int
                    ) -> tuple[list[Tensor], list[str]]:
    """Rows of Figure 2, targets and the reconstructions of each method, with their labels."""
    rows = [targets[:count].cpu(), *(images.images[:count] for images in found.values())]
    titles = (METHODS[name].title.replace(" ", "\n", 1) for name in found)
    return rows, ["target", *titles]
