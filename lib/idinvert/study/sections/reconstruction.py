"""Section 4.2: how well each method reconstructs (Table 1, Figure 2), and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from idinvert.codes import render
from idinvert.inversion import METHODS
from idinvert.inversion.cache import image_hash
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims, networks, scores
from idinvert.study.networks import Models
from idinvert.study.scores import DISTANCES, PAIRWISE, Seen

METRICS = (*DISTANCES, *PAIRWISE)
REPEATS = 5  # timed runs
FEWEST = 4  # images that a distance with an interval takes


def reconstruct(models: Models, codes: dict[str, Tensor]) -> dict[str, Seen]:
    """Images of the codes [N, L, D] of each method."""
    return {name: scores.see(models, render(models.generator, w)) for name, w in codes.items()}


def table1(domain: str, found: dict[str, Seen], real: Seen, others: Seen) -> pd.DataFrame:
    """One row per method: each metric between reconstructions and their targets `real`.

    The last row is the floor: `others`, real images that are not the targets, against these. Those
    of them that are targets after all, where test images are few, do not count.
    """
    rows = [
        {"domain": domain, "method": name, "images": len(real),
         **scores.spread({m: scores.score(m, seen, real) for m in METRICS})}
        for name, seen in found.items()
    ]
    targets = set(map(image_hash, real.images))
    fresh = [i for i, x in enumerate(others.images) if image_hash(x) not in targets]
    others = others[fresh[:len(real)]]
    if len(others) >= FEWEST:
        floor = {m: scores.score(m, others, real, paired=False) for m in DISTANCES}
        rows.append({"domain": domain, "method": "other_real", "images": len(others),
                     **scores.spread(floor)})
    return pd.DataFrame(rows)


def seconds(domain: str, models: Models, images: Tensor, settings: Mapping[str, Mapping]
            ) -> pd.DataFrame:
    """Seconds per image of every method: mean over REPEATS runs of one image, with its interval,
    and one run of all `images` in a batch.

    Each is run once beforehand with a single iteration, so that nothing is timed that happens once.
    """
    rows = []
    for name, method in networks.methods(models, settings).items():
        steps = getattr(method, "iterations", 0)
        once = replace(method, iterations=1) if steps else method
        for batch in (images[:1], images):
            once.invert(models.model, batch)
        alone = [elapsed(method.invert, models.model, images[:1]) for _ in range(REPEATS)]
        together = elapsed(method.invert, models.model, images) / len(images)
        rows.append({"domain": domain, "method": name, "iterations": steps, "batch": len(images),
                     **scores.spread({"seconds_alone": scores.per_image(alone)}),
                     "seconds_batched": together})
    return pd.DataFrame(rows)


def elapsed(work: Callable, *arguments) -> float:
    """Seconds that a call takes, on the GPU too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


# (claim, better, worse, metrics, in words); "-" for what the paper's numbers show without saying it
COMPARISONS = (
    ("C1", "domain-guided", "conventional", METRICS, "domain-guided encoder beats conventional"),
    ("C2", "image2stylegan", "in-domain", PAIRWISE, "Image2StyleGAN beats in-domain in pixels"),
    ("C2", "image2stylegan", "domain-guided", PAIRWISE, "Image2StyleGAN beats the encoder"),
    ("C3", "in-domain", "domain-guided", PAIRWISE, "optimisation improves on its encoder"),
    ("C4", "in-domain", "image2stylegan", DISTANCES, "in-domain more realistic than "
     "Image2StyleGAN"),
)


def paper_and_ours(domain: str, found: dict[str, Seen], real: Seen, paper: pd.DataFrame
                   ) -> list[dict]:
    """Verdicts on C1 to C4 for one domain; `paper` is `claims.paper_table(1)`."""
    rows = []
    for claim, better, worse, metrics, text in COMPARISONS:
        for metric in metrics if {better, worse} <= set(found) else ():
            gain = scores.advantage(metric, found[better], found[worse], real)
            theirs = claims.paper_gain(paper, domain, better, worse, metric)
            rows.append(claims.row(claim, f"{domain}: {text}, {scores.title(metric)}", theirs,
                                   gain))
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


def pictures(targets: Tensor, found: dict[str, Seen], methods_shown: Sequence[str], count: int
             ) -> list[Tensor]:
    """Rows of Figure 2: targets, then the reconstructions of each method."""
    return [targets[:count].cpu()] + [found[name].images[:count] for name in methods_shown]
