"""Distances of image sets to real ones, and which of two sets is nearer, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from idinvert.metrics import bootstrap, frechet, kid, pixel, swd
from idinvert.metrics.bootstrap import Estimate
from idinvert.models import pretrained

from .networks import Models

COMPONENTS = 64  # principal components of the real features in which FD is taken; FID: in all
RESAMPLES = 50  # half samples behind an interval
TREND_RESAMPLES = 200
DISTANCES = ("fd", "kid", "swd")  # between two sets; lower is better
PAIRWISE = ("ssim", "mse")  # between an image and its reconstruction
TITLES = {"fd": "FD", "kid": "KID x 1e3", "swd": "SWD", "ssim": "SSIM", "mse": "MSE"}


def title(metric: str) -> str:
    """A metric's name in tables and figures; FD is called FID only where it is FID."""
    return "FID" if metric == "fd" and pretrained.gives_fid() else TITLES[metric]


@dataclass(frozen=True, eq=False)
class Seen:
    """Images [N, 3, H, W] in [-1, 1] with the features [N, F] of them that FD and KID compare."""

    images: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> Seen:
        return Seen(self.images[index], self.features[index])


def see(models: Models, images: Tensor) -> Seen:
    """The images on the CPU with their features."""
    return Seen(images.cpu(), models.features(images))


def distance(metric: str, found: Seen, real: Seen, **options) -> float:
    """One of DISTANCES between two sets of equal size; KID is x 1e3."""
    if metric == "fd":
        return frechet.fd(found.features, real.features)
    if metric == "kid":
        return 1e3 * kid.mmd2(found.features, real.features)
    return swd.swd(found.images, real.images, **options).mean


def score(metric: str, found: Seen, real: Seen, paired: bool = True) -> Estimate:
    """A metric with its 95 % interval: of DISTANCES by half samples, of PAIRWISE by the bootstrap.

    `paired`: the i-th images belong together, as an image and its reconstruction do.
    """
    if metric in PAIRWISE:
        return per_image(getattr(pixel, metric)(found.images, real.images))
    if metric == "kid":
        return scaled(kid.interval(found.features, real.features, paired), 1e3)
    (found,), real = comparable(metric, [found], real)
    return halves(metric, len(found), len(real), paired, lambda i, j, **options: distance(
        metric, found[i], real[j], **options))


def advantage(metric: str, better: Seen, worse: Seen, real: Seen, paired: bool = True) -> Estimate:
    """By how much `better` is nearer to `real` than `worse`, negative if it is farther away.

    The i-th images of both sets come from the same target, and the halves behind the interval hold
    the same targets of both. SSIM counts as similarity: the sign is turned.
    """
    if metric in PAIRWISE:
        values = [getattr(pixel, metric)(x.images, real.images) for x in (better, worse)]
        gain = values[0] - values[1]
        return per_image(gain if metric == "ssim" else -gain)
    (better, worse), real = comparable(metric, [better, worse], real)
    return halves(metric, len(better), len(real), paired, lambda i, j, **options: (
        distance(metric, worse[i], real[j], **options)
        - distance(metric, better[i], real[j], **options)))


def comparable(metric: str, sets: Sequence[Seen], real: Seen) -> tuple[list[Seen], Seen]:
    """What a distance compares: FD and SWD at equal numbers, FD in the leading components.

    KID is unbiased at any numbers and takes all images. FID is defined with all 2048 components.
    """
    if metric == "kid":
        return list(sets), real
    count = min(len(real), *map(len, sets))
    sets, real = [x[:count] for x in sets], real[:count]
    if metric != "fd" or pretrained.gives_fid():
        return sets, real
    components = most_components(real.features, count)
    projected = [frechet.project(x.features, real.features, components) for x in sets]
    return ([Seen(x.images, p[0]) for x, p in zip(sets, projected)],
            Seen(real.images, projected[0][1]))


def halves(metric: str, found: int, real: int, paired: bool,
           statistic: Callable[..., float]) -> Estimate:
    """`statistic` of all images, its interval from half samples; it takes indices of both sets."""
    quick = {"patches": 32, "repeats": 1, "directions": 64} if metric == "swd" else {}
    picks = bootstrap.half_weights(found, real, paired, RESAMPLES, seed=0)
    values = [statistic(i.bool(), j.bool(), **quick) for i, j in zip(*picks)]
    return bootstrap.half_estimate(statistic(slice(None), slice(None)), values, 0.95)


def floor(metric: str, real: Seen, count: int) -> float:
    """What `count` real images reach against as many other real ones (at most half of `real`)."""
    count = min(count, len(real) // 2)
    if metric == "fd" and not pretrained.gives_fid():
        components = most_components(real.features, count)
        real = Seen(real.images, frechet.project(real.features, real.features, components)[1])
    return frechet.floor(real, count, statistic=lambda a, b: distance(metric, a, b))[0]


def most_components(real: Tensor, count: int) -> int:
    """Principal components that `count` images of these features [M, F] can fill."""
    return min(COMPONENTS, count - 1, real.shape[1])


def per_image(values) -> Estimate:
    """Mean over images with its bootstrap interval."""
    return bootstrap.interval(np.nanmean, values)


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """a / b of positive estimates; the interval reaches from the ends of both, wider than need be.
    """
    return Estimate(a.value / b.value, a.low / b.high, a.high / b.low)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two independent estimates with symmetric intervals."""
    value, half = a.value - b.value, math.hypot(a.high - a.value, b.high - b.value)
    return Estimate(value, value - half, value + half)


def trend(levels: Sequence[float], values: Tensor) -> Estimate:
    """Rank correlation of levels [K] and the mean over images of values [N, K], with its bootstrap
    interval."""
    return bootstrap.interval(lambda x: rank_correlation(levels, x.mean(0)), values,
                              resamples=TREND_RESAMPLES)


def kid_trend(levels: Sequence[float], found: Sequence[Tensor], real: Tensor, seed: int = 0
              ) -> Estimate:
    """Rank correlation of levels and the KID of as many sets of features [N, F] to real ones.

    The interval is that of half samples of the images, the same halves at every level.
    """
    def correlation(pick):
        return rank_correlation(levels, [kid.mmd2(f[pick], real) for f in found])

    picks, _ = bootstrap.half_weights(len(found[0]), len(real), False, TREND_RESAMPLES, seed)
    low, high = np.quantile([correlation(pick.bool()) for pick in picks], (0.025, 0.975))
    return Estimate(correlation(slice(None)), float(low), float(high))


def rank_correlation(x, y) -> float:
    """Spearman's rank correlation in [-1, 1]."""
    return float(spearmanr(np.asarray(x), np.asarray(y)).statistic)


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in other units; a negative factor turns the interval."""
    low, high = sorted((factor * estimate.low, factor * estimate.high))
    return Estimate(factor * estimate.value, low, high)


def spread(figures: dict[str, Estimate]) -> dict[str, float]:
    """Columns NAME, NAME_low and NAME_high."""
    return {f"{name}{end}": value for name, estimate in figures.items()
            for end, value in zip(("", "_low", "_high"), estimate)}


def concatenated(sets: Sequence[Seen]) -> Seen:
    """Several sets as one."""
    return Seen(torch.cat([x.images for x in sets]), torch.cat([x.features for x in sets]))
