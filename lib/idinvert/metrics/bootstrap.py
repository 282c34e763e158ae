"""Confidence intervals of everything in a table.

Two methods, for two kinds of statistic:

- Means, medians and rates over images (`interval`): the percentile bootstrap, images drawn with
  replacement (B. Efron, "Bootstrap Methods", Annals of Statistics 1979).
- Distances between sets such as FD, KID and SWD (`half_sample`): drawing with replacement repeats
  images, and a set with repeated images lies farther from the other set, so that bootstrapped FDs
  all exceed the estimate. Half samples without replacement have no repeats. The variance of a
  statistic over half samples equals its variance over new samples of the full size (the delete-half
  jackknife; J. Shao and D. Tu, "The Jackknife and Bootstrap", 1995), so only their
  spread is used, put around the estimate from all images. Their mean is not: it is the value at
  half the number of images, which for FD is higher.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch

CHUNK = 4_000_000  # resampled values held at a time


class Estimate(NamedTuple):
    """A value with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self):
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def interval(statistic, *arrays, resamples=1000, level=0.95, seed=0):
    """Percentile bootstrap interval of `statistic(*arrays)`, as an `Estimate`.

    `arrays` (tensors or arrays, [N, ...] each) are resampled along their first axis by the same
    indices, so that paired measurements stay paired. `statistic` gives a number; `np.mean` and
    `np.nanmean` of one [N] array take a fast path of the same result. Resamples on which it is not
    finite are left out. Raises ValueError for arrays of different or no length.
    """
    arrays = [as_numpy(a) for a in arrays]
    if len({len(a) for a in arrays}) != 1 or not len(arrays[0]):
        raise ValueError(f"Arrays must have one length > 0, found {[len(a) for a in arrays]}.")
    rng = np.random.default_rng(seed)
    count = len(arrays[0])
    fast = statistic in (np.mean, np.nanmean) and len(arrays) == 1 and arrays[0].ndim == 1
    values = []
    for size in _chunks(resamples, max(1, CHUNK // count)):
        picks = rng.integers(count, size=(size, count))
        if fast:
            values.extend(statistic(arrays[0][picks], axis=1))
        else:
            values.extend(float(statistic(*(a[pick] for a in arrays))) for pick in picks)
    values = np.asarray(values)
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(float(statistic(*arrays)), np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Estimate(float(statistic(*arrays)), float(low), float(high))


def half_sample(statistic, a, b, value=None, paired=False, resamples=50, level=0.95, seed=0):
    """Interval of `statistic(a, b)`, a distance between two sets, by half samples.

    a [N, ...] and b [M, ...] are halved without replacement, by the same images if `paired` (each
    image and its reconstruction), else independently; the interval is value -+ z * std over half
    samples. For an expensive statistic, pass the `value` from all images and a cheaper form as
    `statistic` (fewer projections, say).
    """
    value = statistic(a, b) if value is None else value
    picks_a, picks_b = (w.bool() for w in half_weights(len(a), len(b), paired, resamples, seed))
    values = [statistic(a[i], b[j]) for i, j in zip(picks_a, picks_b)]
    return half_estimate(value, values, level)


def half_weights(count_a, count_b, paired, resamples, seed):
    """0-1 weights [resamples, count] for both sets, float64, each row picking a random half."""
    if min(count_a, count_b) < 4:
        raise ValueError(f"Half samples need at least 4 images, found {min(count_a, count_b)}.")
    if paired and count_a != count_b:
        raise ValueError(f"Pairs need equal numbers of images, found {count_a} and {count_b}.")
    generator = torch.Generator().manual_seed(seed)
    a = subset_weights(count_a, count_a // 2, resamples, generator)
    b = a if paired else subset_weights(count_b, count_b // 2, resamples, generator)
    return a, b


def subset_weights(count, size, subsets, generator):
    """0-1 weights [subsets, count], float64, each row picking `size` of `count` at random."""
    order = torch.rand(subsets, count, generator=generator).argsort(1)
    return (order < size).double()


def half_estimate(value, half_values, level):
    """`Estimate` around `value` from the spread of the half samples' values [resamples]."""
    spread = NormalDist().inv_cdf((1 + level) / 2) * float(np.asarray(half_values).std(ddof=1))
    return Estimate(float(value), float(value) - spread, float(value) + spread)


def as_numpy(array):
    """A tensor (of any device) or anything array-like as an array."""
    return array.detach().cpu().numpy() if torch.is_tensor(array) else np.asarray(array)


def _chunks(total, size):
    """Sizes of at most `size` that add up to `total`."""
    return [min(size, total - start) for start in range(0, total, size)]
