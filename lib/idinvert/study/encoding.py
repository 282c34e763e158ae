"""What several encoders make of the same images: Tables 3, 4 and 6 share this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from idinvert import models as weights
from idinvert.codes import encode_with_noise, render_with_noise
from idinvert.metrics.bootstrap import Estimate
from idinvert.training.encoder import middle

from . import figures, networks, scores, timing
from .edits import partners
from .networks import StudyModel
from .run import Run
from .scores import ImageSet, image_set

REPEATS = 20  # timed runs, after one that is not


@dataclass(frozen=True, eq=False)
class Encoded:
    """What one encoder makes of the images: reconstructions, and images halfway between pairs."""

    name: str  # of the encoder in the registry
    images: ImageSet
    between: ImageSet


def load_generator(run: Run, domain: str, generator: str) -> StudyModel:
    """The networks of a domain with a generator other than the profile's."""
    return networks.load(replace(run.subject(domain), generator=generator), run.device, needs=())


def trained_variants(generator: str, variants: Sequence[str], fewest: int = 2) -> list[str]:
    """Those of the variants GENERATOR-VARIANT that the registry holds; a line names the others.

    ModelsError: there are fewer than can be compared.
    """
    names = {variant: weights.companion_name(generator, "encoder", variant) for variant in variants}
    trained = [variant for variant, name in names.items() if weights.exists(name)]
    missing = ", ".join(name for variant, name in names.items() if variant not in trained)
    if missing:
        print(f"not trained, and left out: {missing}")
    if len(trained) < fewest:
        raise weights.ModelsError(f"{generator} has too few encoders to compare: train {missing}.")
    return trained


def base_variant(generator: str) -> str:
    """The variant of a generator's base encoder that was trained as those that it is compared with:
    "base-alike" where there is one."""
    alike = weights.companion_name(generator, "encoder", "base-alike")
    return "base-alike" if weights.exists(alike) else "base"


def encode_all(model: StudyModel, generator: str, variants: Sequence[str], images: Tensor
               ) -> dict[str, Encoded]:
    """What each variant of the encoder makes of images [N, 3, H, W]."""
    encoded = {}
    for variant in variants:
        name = weights.companion(generator, "encoder", variant)
        codes, noise = encode_with_noise(weights.load(name, images.device), images)
        other, ring = partners(len(codes))
        between = render_with_noise(model.generator, *middle(codes, noise, other))
        encoded[variant] = Encoded(
            name, image_set(model, render_with_noise(model.generator, codes, noise)),
            image_set(model, between, ring))
    return encoded


def encoder_table(domain: str, encoded: dict[str, Encoded], real: ImageSet,
                  others: ImageSet | None = None, times: dict[str, Estimate] | None = None
                  ) -> pd.DataFrame:
    """One row per encoder: each metric of the reconstructions against their targets `real`.

    With `others`, real images that are not the targets, the distances of the interpolations too;
    with `times` the seconds that each takes.
    """
    rows = []
    for variant, one in encoded.items():
        card = weights.card(one.name)
        measured = {m: scores.score(m, one.images, real)
                    for m in (*scores.pair_metrics(), *scores.set_metrics())}
        if others is not None:
            measured |= {f"between_{m}": scores.score(m, one.between, others, paired=False)
                         for m in scores.set_metrics()}
        if times is not None:
            measured["seconds"] = times[variant]
        rows.append({"domain": domain, "encoder": variant, "images": len(real),
                     "thousand_images": card["kimg"], "parameters": card["parameters"],
                     **scores.spread(measured)})
    return pd.DataFrame(rows)


def encoding_seconds(encoded: dict[str, Encoded], images: Tensor) -> dict[str, Estimate]:
    """Seconds that each encoder takes for one image, median of REPEATS runs."""
    times = {}
    for variant, one in encoded.items():
        encoder = weights.load(one.name, images.device)
        encode_with_noise(encoder, images[:1])
        times[variant] = timing.median_seconds(REPEATS, encode_with_noise, encoder, images[:1])
    return times


def encoder_pictures(targets: Tensor, encoded: dict[str, Encoded], titles: dict[str, str],
                     count: int = 10, part: str = "images") -> Figure:
    """A row of targets, then of what each encoder makes of them (`images` or `between`)."""
    rows = [targets[:count].cpu()]
    rows += [getattr(one, part).images[:count] for one in encoded.values()]
    labels = ["target", *(titles[name].replace(" ", "\n", 1) for name in encoded)]
    return figures.image_grid(rows, labels)


def stacked(metric: str, encoded: dict[str, Encoded], real: ImageSet) -> Tensor:
    """A metric of pairs for every image and encoder: [N, K]."""
    function = scores.METRICS[metric].function
    return torch.stack([function(one.images.images, real.images) for one in encoded.values()], 1)
