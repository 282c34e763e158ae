"""Distances of image sets to real ones, and which of two sets is nearer, each with its interval.

The unit that is resampled is the target image: all that was made of it moves together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from idinvert.metrics import METRICS, Metric, bootstrap, kid, named
from idinvert.metrics.bootstrap import Estimate
from idinvert.models import pretrained

from .networks import StudyModel

TREND_RESAMPLES = 10_000  # so many that a p-value of a trend stands Holm's correction
PIXELS = ("ssim", "mse")  # the paper's metrics of each image, on which its claims are tested
REALISM = ("fd", "kid", "swd")  # its metrics of sets, and KID


def title(metric: str) -> str:
    """A metric's name in tables and figures; FD is called FID only where it is FID."""
    return "FID" if metric == "fd" and pretrained.gives_fid() else METRICS[metric].title


def pair_metrics() -> list[str]:
    """Names of the metrics between an image and its reconstruction."""
    return named("pair")


def set_metrics() -> list[str]:
    """Names of the distances between two sets of images."""
    return named("set")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images [N, 3, H, W] in [-1, 1] with the features [N, F] of them that FD and KID compare.

    units [N]: the target image of which each was made; by default each is of its own.
    """

    images: Tensor
    features: Tensor
    units: Tensor | None = None

    def __post_init__(self):
        if self.units is None:
            object.__setattr__(self, "units", torch.arange(len(self.images)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> ImageSet:
        return ImageSet(self.images[index], self.features[index], self.units[index])


def image_set(model: StudyModel, images: Tensor, units: Tensor | None = None) -> ImageSet:
    """The images on the CPU with their features."""
    return ImageSet(images.cpu(), model.judge_features(images), units)


def concatenated(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets as one; what has the same unit in several stays one unit."""
    return ImageSet(*(torch.cat([getattr(x, part) for x in sets])
                      for part in ("images", "features", "units")))


# --- one set, or the difference of several -----------------------------------------------------


def score(metric: str, images: ImageSet, real: ImageSet, paired: bool = True) -> Estimate:
    """A metric with its 95 % interval, in the units of its title.

    Metrics of pairs compare each image with the real one of the same place; `paired`: so do sets,
    since the i-th images belong together, as an image and its reconstruction do.
    """
    return combination(metric, [(1, images)], real, paired)


def advantage(metric: str, better: ImageSet, worse: ImageSet, real: ImageSet, paired: bool = True
              ) -> Estimate:
    """By how much `better` is nearer to `real` than `worse`, negative if it is farther away.

    The i-th images of both sets come from the same target, and the resamples behind the interval
    hold the same targets of both. Of a metric that is higher for better images the sign is turned.
    """
    sign = 1 if METRICS[metric].better == "lower" else -1
    return combination(metric, [(sign, worse), (-sign, better)], real, paired)


def combination(metric: str, terms: Sequence[tuple[float, ImageSet]], real: ImageSet,
                paired: bool = True) -> Estimate:
    """A weighted sum of the scores of several sets, whose i-th images come from the same target.

    The interval resamples targets, the same ones of all sets: the percentile bootstrap of metrics
    of pairs, half samples of distances between sets.
    """
    entry, factors, sets = METRICS[metric], *zip(*terms)
    if any(len(x) != len(sets[0]) for x in sets):
        raise ValueError(f"Sets must be of equal size, found {[len(x) for x in sets]}.")
    if entry.kind == "pair":
        values = sum(f * entry.function(x.images, real.images) for f, x in zip(factors, sets))
        return scaled(per_image(values, sets[0].units), entry.factor)
    sets, real = comparable(metric, sets, real)
    halves = bootstrap.half_weights(sets[0].units, real.units, paired, entry.resamples)
    value = sum(f * distance(entry, x, real) for f, x in zip(factors, sets))
    spread = sum(f * half_distances(entry, x, real, *halves) for f, x in zip(factors, sets))
    return scaled(bootstrap.half_estimate(value, spread), entry.factor)


def distance(entry: Metric, images: ImageSet, real: ImageSet) -> float:
    """A metric of sets, of sets that are `comparable`, without its factor."""
    return entry.function(getattr(images, entry.of), getattr(real, entry.of))


def half_distances(entry: Metric, images: ImageSet, real: ImageSet, weights: Tensor,
                   real_weights: Tensor) -> np.ndarray:
    """A metric of sets for every half sample [S], given as weights [S, N] and [S, M] of 0 or 1.

    Halves of a few units are not always equally large: of the larger one the last images are left
    out where the metric needs equal numbers.
    """
    if entry.resampled:
        parts = (getattr(x, entry.of) for x in (images, real))
        return bootstrap.as_numpy(entry.resampled(*parts, weights, real_weights))
    values = []
    for pick, real_pick in zip(weights.bool(), real_weights.bool()):
        half, real_half = images[pick], real[real_pick]
        count = min(len(half), len(real_half)) if entry.equal_numbers else None
        values.append(distance(entry, half[:count], real_half[:count]))
    return np.array(values)


def comparable(metric: str, sets: Sequence[ImageSet], real: ImageSet
               ) -> tuple[list[ImageSet], ImageSet]:
    """What a distance compares: FD and SWD at equal numbers, FD in the leading components.

    KID is unbiased at any numbers and takes all images. FID is defined with all 2048 components.
    """
    entry, sets = METRICS[metric], list(sets)
    if entry.equal_numbers:
        kept = equal_share(sets[0], real)
        sets, real = [x[kept] for x in sets], real[: int(kept.sum())]
    if entry.prepare is None or (metric == "fd" and pretrained.gives_fid()):
        return sets, real
    prepared, real_part = entry.prepare([getattr(x, entry.of) for x in sets],
                                        getattr(real, entry.of))
    return ([with_part(x, entry.of, p) for x, p in zip(sets, prepared)],
            with_part(real, entry.of, real_part))


def equal_share(images: ImageSet, real: ImageSet, seed: int = 0) -> Tensor:
    """Which images [N] (a mask) of a set meet as many real ones: all, if there are enough of these.

    Of a larger set whole target images are left out at random, with all that was made of them: 5
    edits of each of 160 targets meet 800 real images where there are 5 edits of each of 200.
    """
    _, unit, sizes = torch.unique(images.units, return_inverse=True, return_counts=True)
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(seed))
    if len(images) <= len(real):
        return torch.ones(len(images), dtype=torch.bool)
    return torch.isin(unit, order[sizes[order].cumsum(0) <= len(real)])


def with_part(images: ImageSet, part: str, value: Tensor) -> ImageSet:
    """The set with other `images` or `features`."""
    return ImageSet(**{"images": images.images, "features": images.features,
                       "units": images.units} | {part: value})


def floor(metric: str, real: ImageSet, count: int, splits: int = 5, seed: int = 0) -> float:
    """What `score` gives `count` real images against as many other real ones (at most half).

    Mean over `splits` random pairs of disjoint sets: the row that a table of distances at `count`
    images needs to be read.
    """
    count = min(count, len(real) // 2)
    entry, generator, values = METRICS[metric], torch.Generator().manual_seed(seed), []
    for _ in range(splits):
        order = torch.randperm(len(real), generator=generator)
        (one,), other = comparable(metric, [real[order[:count]]], real[order[count:2 * count]])
        values.append(entry.factor * distance(entry, one, other))
    return float(np.mean(values))


# --- means, training runs and trends -----------------------------------------------------------


def per_image(values, units=None) -> Estimate:
    """Mean over images [N] with its bootstrap interval, NaN left out.

    units [N]: the target image to which each value belongs, where several belong to one.
    """
    return bootstrap.interval(np.nanmean, values, units=units)


def advantage_of_trainings(metric: str, better: Sequence[ImageSet], worse: Sequence[ImageSet],
                           real: ImageSet, paired: bool = True) -> Estimate:
    """By how much one way of training is nearer to `real` than another; the unit is the run.

    better, worse: the images of each training run, two or more of either. Welch's interval over
    runs, which says what another seed would give; `advantage` says it of other images.
    """
    entry = METRICS[metric]
    sign = 1 if entry.better == "lower" else -1
    values = [[combined_value(metric, run, real, paired) for run in runs]
              for runs in (worse, better)]
    return scaled(bootstrap.difference_of_means(*values), sign)


def combined_value(metric: str, images: ImageSet, real: ImageSet, paired: bool) -> float:
    """The value of `score` alone, without its interval."""
    entry = METRICS[metric]
    if entry.kind == "pair":
        return entry.factor * float(entry.function(images.images, real.images).mean())
    (images,), real = comparable(metric, [images], real)
    return entry.factor * distance(entry, images, real)


def ratio(a: Estimate, b: Estimate) -> Estimate:
    """a / b of positive estimates; the interval reaches from the ends of both, wider than need be.
    """
    return Estimate(a.value / b.value, a.low / b.high, a.high / b.low)


def trend(levels: Sequence[float], values) -> Estimate:
    """Rank correlation of levels [K] and the mean over images of values [N, K].

    The interval is the bootstrap's over images; p counts the resamples on either side of 0.
    """
    values = bootstrap.as_numpy(values)
    means = np.concatenate([values[part].mean(1) for part in
                            bootstrap.drawn(len(values), TREND_RESAMPLES, seed=0)])
    return correlation_estimate(levels, values.mean(0), means)


def kid_trend(levels: Sequence[float], sets: Sequence[ImageSet], real: ImageSet) -> Estimate:
    """Rank correlation of levels and the KID of as many sets to real images.

    The interval is that of half samples of the target images, the same halves at every level, and
    of the real images.
    """
    halves = bootstrap.half_weights(sets[0].units, real.units, False, TREND_RESAMPLES)
    values = [kid.mmd2(x.features, real.features) for x in sets]
    resampled = [kid.resampled_mmd2(x.features, real.features, *halves) for x in sets]
    return correlation_estimate(levels, np.array(values), torch.stack(resampled, 1).numpy())


def correlation_estimate(levels: Sequence[float], values: np.ndarray, resampled: np.ndarray
                         ) -> Estimate:
    """Rank correlation of levels [K] and values [K], its interval and p-value from R resamples of
    the values [R, K]."""
    found = rank_correlations(levels, resampled)
    value = float(rank_correlations(levels, values[None])[0])
    return bootstrap.percentiles(value, found)._replace(p=two_sided(found))


def rank_correlations(levels: Sequence[float], values: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation, in [-1, 1], of levels [K] with each row of values [R, K]: [R].

    NaN for a row of equal values.
    """
    x, y = (stats.rankdata(v, axis=1) - (len(levels) + 1) / 2
            for v in (np.asarray(levels, float)[None], values))
    with np.errstate(invalid="ignore"):
        return (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))


def two_sided(resampled: np.ndarray) -> float:
    """Two-sided p-value of "the value is 0" from resampled values [R], at least 2 / (R + 1).

    A resample without a value, NaN, speaks for neither side.
    """
    beyond = len(resampled) - max((resampled > 0).sum(), (resampled < 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (len(resampled) + 1)))


def scaled(estimate: Estimate, factor: float) -> Estimate:
    """The estimate in other units; a negative factor turns the interval."""
    low, high = sorted((factor * estimate.low, factor * estimate.high))
    return Estimate(factor * estimate.value, low, high, estimate.p)


def spread(estimates: dict[str, Estimate]) -> dict[str, float]:
    """Columns NAME, NAME_low and NAME_high."""
    return {f"{name}{end}": value for name, estimate in estimates.items()
            for end, value in zip(("", "_low", "_high"), estimate)}
