"""Section 5: variants of an encoder on the same images, and the backbones of Table 3."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from idinvert import models as weights
from idinvert.codes import encode_with_noise, interpolate, render_with_noise
from idinvert.metrics import bootstrap, pixel
from idinvert.metrics.bootstrap import Estimate
from idinvert.nn.stylegan import Noise
from idinvert.study import claims, figures, networks, scores
from idinvert.study.networks import Models
from idinvert.study.run import Run
from idinvert.study.scores import DISTANCES, PAIRWISE, Seen

from . import generators, reconstruction
from .editing import partners

BACKBONES = {"base": "base", "resnet18": "ResNet-18", "resnet34": "ResNet-34",
             "resnet50": "ResNet-50", "mobilenet": "MobileNet"}
REPEATS = 20  # timed runs, after one that is not
DEEPER = ("base", "resnet18", "resnet34", "resnet50")  # from shallow to deep


@dataclass(frozen=True, eq=False)
class Encoded:
    """What one encoder makes of the images: reconstructions, and images halfway between pairs."""

    name: str  # of the encoder in the registry
    images: Seen
    between: Seen


def load_generator(run: Run, domain: str, generator: str) -> Models:
    """The networks of a domain with a generator other than the profile's."""
    return networks.load(replace(run.subject(domain), generator=generator), run.device, needs=())


def trained(generator: str, variants: Sequence[str], fewest: int = 2) -> list[str]:
    """Those of the variants GENERATOR-VARIANT that the registry holds; a line names the others.

    ModelsError: there are fewer than can be compared.
    """
    names = {variant: weights.companion_name(generator, "encoder", variant) for variant in variants}
    found = [variant for variant, name in names.items() if weights.exists(name)]
    missing = ", ".join(name for variant, name in names.items() if variant not in found)
    if missing:
        print(f"not trained, and left out: {missing}")
    if len(found) < fewest:
        raise weights.ModelsError(f"{generator} has too few encoders to compare: train {missing}.")
    return found


def encode_all(m: Models, generator: str, variants: Sequence[str], images: Tensor
               ) -> dict[str, Encoded]:
    """What each variant of the encoder makes of images [N, 3, H, W]."""
    found = {}
    for variant in variants:
        name = weights.companion(generator, "encoder", variant)
        encoder = weights.load(name, images.device)
        codes, noise = encode_with_noise(encoder, images)
        seen = scores.see(m, render_with_noise(m.generator, codes, noise))
        between = render_with_noise(m.generator, *halfway(codes, noise))
        found[variant] = Encoded(name, seen, scores.see(m, between))
    return found


def halfway(codes: Tensor, noise: Noise) -> tuple[Tensor, Noise]:
    """Codes halfway between each of [N, L, D] and that of its partner, and the noise maps too."""
    other = partners(len(codes))
    middle = interpolate(codes, codes[other], steps=1)[:, 0]
    if isinstance(noise, str):
        return middle, noise
    return middle, [None if m is None else (m + m[other]) / 2 for m in noise]


def table(domain: str, found: dict[str, Encoded], real: Seen, others: Seen | None = None,
          times: dict[str, Estimate] | None = None) -> pd.DataFrame:
    """One row per encoder: each metric of the reconstructions against their targets `real`; with
    `others`, real images that are not the targets, the distances of the interpolations; with
    `times` the seconds that each takes."""
    rows = []
    for variant, encoded in found.items():
        card = weights.card(encoded.name)
        measured = {m: scores.score(m, encoded.images, real) for m in (*PAIRWISE, *DISTANCES)}
        if others is not None:
            measured |= {f"between_{m}": scores.score(m, encoded.between, others, paired=False)
                         for m in DISTANCES}
        if times is not None:
            measured["seconds"] = times[variant]
        rows.append({"domain": domain, "encoder": variant, "images": len(real),
                     "thousand_images": card["kimg"], "parameters": card["parameters"],
                     **scores.spread(measured)})
    return pd.DataFrame(rows)


def seconds(found: dict[str, Encoded], images: Tensor) -> dict[str, Estimate]:
    """Seconds that each encoder takes for one image, with an interval over runs."""
    times = {}
    for variant, encoded in found.items():
        encoder = weights.load(encoded.name, images.device)
        runs = [reconstruction.elapsed(encode_with_noise, encoder, images[:1])
                for _ in range(1 + REPEATS)]
        times[variant] = bootstrap.interval(np.median, np.array(runs[1:]))
    return times


# --- Table 3 ---------------------------------------------------------------------------------


def equally_long(found: dict[str, Encoded]) -> list[str]:
    """The largest part of the encoders that were trained on as many images as one another: what the
    others reach says nothing of their backbone."""
    spent = {name: weights.card(encoded.name)["kimg"] for name, encoded in found.items()}
    usual = Counter(spent.values()).most_common(1)[0][0]
    return [name for name, kimg in spent.items() if kimg == usual]


def quality_claims(domain: str, found: dict[str, Encoded], real: Seen) -> list[dict]:
    """C11 and C13 by MSE and SSIM, of backbones that were trained for equally long: each beats the
    next shallower one, and the shallowest beats MobileNet."""
    paper, rows, alike = claims.paper_table(3), [], equally_long(found)
    deep = [name for name in DEEPER if name in alike]
    pairs = [("C11", *pair) for pair in pairwise(deep)]
    pairs += [("C13", "mobilenet", deep[0])] if "mobilenet" in alike and deep else []
    for claim, worse, better in pairs:
        for metric in PAIRWISE:
            gain = scores.advantage(metric, found[better].images, found[worse].images, real)
            text = f"{domain}: {BACKBONES[better]} beats {BACKBONES[worse]}, {scores.title(metric)}"
            theirs = claims.paper_gain(paper, domain, better, worse, metric)
            rows.append(claims.row(claim, text, theirs, gain))
    return rows


def time_claims(domain: str, times: dict[str, Estimate]) -> list[dict]:
    """C12 and C13 by the seconds per image: each backbone takes longer than the next shallower one,
    and MobileNet longer than the base encoder."""
    paper, rows = claims.paper_table(3), []
    deep = [name for name in DEEPER if name in times]
    pairs = [("C12", *pair) for pair in pairwise(deep)]
    pairs += [("C13", "base", "mobilenet")] if {"base", "mobilenet"} <= set(times) else []
    for claim, fast, slow in pairs:
        theirs = claims.paper_gain(paper, domain, slow, fast, "seconds_per_image")
        text = f"{domain}: {BACKBONES[slow]} takes so many times as long as {BACKBONES[fast]}"
        longer = scores.ratio(times[slow], times[fast])
        rows.append(claims.row(claim, text, theirs, longer, equal=1.0))
    return rows


def training_claim(domain: str, m: Models, found: dict[str, Encoded], real: Seen, targets: Tensor
                   ) -> list[dict]:
    """C14: from the conventional to the domain-guided base encoder the MSE falls by more than it
    differs between the best and the worst backbone of equally long training; no row where there is
    no conventional one."""
    if m.conventional is None or "base" not in found:
        return []
    codes, noise = encode_with_noise(m.conventional, targets)
    conventional = pixel.mse(render_with_noise(m.generator, codes, noise).cpu(), real.images)
    guided = pixel.mse(found["base"].images.images, real.images)
    errors = [pixel.mse(found[name].images.images, real.images) for name in equally_long(found)]
    best, worst = (pick(errors, key=lambda e: e.mean()) for pick in (min, max))
    gain = scores.per_image((conventional - guided) - (worst - best))
    text = f"{domain}: the way of training moves the MSE by more than the backbone does"
    return [claims.row("C14", text, "0.393 > 0.014" if domain == "face" else "not given", gain)]


# --- pictures --------------------------------------------------------------------------------


def pictures(targets: Tensor, found: dict[str, Encoded], titles: dict[str, str], count: int = 10,
             part: str = "images") -> Figure:
    """A row of targets, then of what each encoder makes of them (`images` or `between`)."""
    rows = [targets[:count].cpu()]
    rows += [getattr(encoded, part).images[:count] for encoded in found.values()]
    labels = ["target", *(titles[name].replace(" ", "\n", 1) for name in found)]
    return figures.image_grid(rows, labels)


def learning_curves(models_shown: dict[str, str]) -> Figure:
    """Figure 14: the pixel term of the training loss and the MSE of held-out training images, a
    line for each model {label: name}, from its log."""
    columns = {"pixel": "pixel term of the training loss", "held_out_mse": "held-out MSE"}
    figure, axes = figures.axes_grid(len(columns), columns=2)
    with plt.rc_context(figures.STYLE):
        for axis, (column, title) in zip(axes, columns.items()):
            for label, name in models_shown.items():
                log = generators.log(name).dropna(subset=[column])
                axis.plot(log["kimg"], log[column], ".-", label=label, lw=1.2, ms=3)
            axis.set(title=title, xlabel="thousand images")
        axes[0].legend(fontsize=7)
    return figure
