"""Confidence intervals of everything in a table.

What is resampled is the unit that was drawn independently: a target image with all that was made
of it (its edits, its interpolations), or a training run. Three methods, for three kinds of figure:

- Means and rates over images (`interval`): the percentile bootstrap, units drawn with replacement
  (B. Efron, "Bootstrap Methods", Annals of Statistics 1979).
- Distances between sets such as FD, KID and SWD (`half_weights`, `half_estimate`): drawing with
  replacement repeats images, and a set with repeated images lies farther from the other set, so
  that bootstrapped FDs all exceed the estimate. Half samples without replacement have no repeats.
  The variance of a statistic over half samples equals its variance over new samples of the full
  size (the delete-half jackknife; J. Shao and D. Tu, "The Jackknife and Bootstrap", 1995), so only
  their spread is used, put around the estimate from all images. Their mean is not: it is the value
  at half the number of images, which for FD is higher.
- Few measured values, such as times or training runs (`median`, `mean`, `difference_of_means`):
  order statistics and Student's t, since the bootstrap of five values covers 86 %, not 95 %.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from scipy import stats
from torch import Tensor

from idinvert.settings import Level, Number, Seed, check_dense, checked

CHUNK = 4_000_000  # resampled values held at a time
Resamples = Annotated[int, Number, Field(ge=1, le=10**6)]  # more would take hours


class Estimate(NamedTuple):
    """A value with the ends of its confidence interval.

    p: two-sided p-value of "the value is 0", where the resamples were counted for it; else None,
    and `claims.p_value` takes it from the interval.

    >>> print(Estimate(0.5, 0.25, 0.75))
    0.5 [0.25, 0.75]
    """

    value: float
    low: float
    high: float
    p: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


@checked
def interval(statistic: Callable[..., float], *arrays: Any, units: Any = None,
             resamples: Resamples = 1000, level: Level = 0.95, seed: Seed = 0) -> Estimate:
    """Percentile bootstrap interval of `statistic(*arrays)`.

    `arrays` (tensors or arrays, [N, ...] each) are resampled along their first axis by the same
    indices, so that paired measurements stay paired. `units` [N] names the unit of each row, and
    whole units are drawn; by default each row is its own. `statistic` gives a number; `np.mean` and
    `np.nanmean` of one [N] array take a fast path of the same result. Resamples on which it is not
    finite are left out. One unit has no interval, NaN. ValueError: arrays of different or no
    length.

    >>> values = np.repeat([0.0, 1.0], 50)
    >>> found = interval(np.mean, values)
    >>> found.value, round(found.low, 1), round(found.high, 1)
    (0.5, 0.4, 0.6)
    """
    arrays = [as_numpy(a) for a in arrays]
    if len({len(a) for a in arrays}) != 1 or not len(arrays[0]):
        raise ValueError(f"Arrays must have one length > 0, found {[len(a) for a in arrays]}.")
    unit = unit_numbers(units, len(arrays[0]))
    if not unit.any():  # all rows are of one
        return Estimate(float(statistic(*arrays)), np.nan, np.nan)
    if statistic in (np.mean, np.nanmean) and len(arrays) == 1 and arrays[0].ndim == 1:
        values = resampled_means(arrays[0], unit, statistic is np.nanmean, resamples, seed)
    else:
        rows = [np.flatnonzero(unit == u) for u in range(unit.max() + 1)]
        picks = (np.concatenate([rows[u] for u in draw])
                 for part in drawn(len(rows), resamples, seed) for draw in part)
        values = np.array([float(statistic(*(a[pick] for a in arrays))) for pick in picks])
    return percentiles(float(statistic(*arrays)), values, level)


def resampled_means(values: np.ndarray, unit: np.ndarray, skip: bool, resamples: int, seed: int
                    ) -> np.ndarray:
    """Means [resamples] of the values [N] of drawn units; `skip` leaves out those that are NaN."""
    counted = ~np.isnan(values) if skip else np.ones(len(values), bool)
    sums = np.bincount(unit, np.where(counted, values, 0.0))
    counts = np.bincount(unit, counted)
    with np.errstate(invalid="ignore"):  # a draw without any value is NaN
        return np.concatenate([sums[part].sum(1) / counts[part].sum(1)
                               for part in drawn(len(sums), resamples, seed)])


def drawn(units: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Draws of units with replacement, [resamples, units] in parts that fit into memory."""
    rng = np.random.default_rng(seed)
    most = max(1, CHUNK // units)
    for start in range(0, resamples, most):
        yield rng.integers(units, size=(min(most, resamples - start), units))


def unit_numbers(units: Any, count: int) -> np.ndarray:
    """The unit of each row as a number from 0; None: each row is its own unit.

    ValueError: not as many units as rows.
    """
    if units is None:
        return np.arange(count)
    units = as_numpy(units)
    if len(units) != count:
        raise ValueError(f"Each of the {count} rows needs a unit, found {len(units)}.")
    return np.unique(units, return_inverse=True)[1]


def percentiles(value: float, values: np.ndarray, level: float = 0.95) -> Estimate:
    """`value` between the quantiles of its finite resamples [R]; NaN where there are none."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(value, np.nan, np.nan)
    tail = (1 - level) / 2
    low, high = np.quantile(values, (tail, 1 - tail))
    return Estimate(value, float(low), float(high))


# --- half samples ----------------------------------------------------------------------------


@checked
def half_weights(a: Any, b: Any, paired: bool, resamples: Resamples, seed: Seed = 0
                 ) -> tuple[Tensor, Tensor]:
    """0-1 weights [resamples, N] and [resamples, M], float64, each row picking half of the units.

    a [N], b [M]: the unit of each image of two sets. The same units are picked of both if `paired`,
    where the i-th images belong together. ValueError: fewer than four images or two units, or pairs
    of different numbers.
    """
    if paired and len(a) != len(b):
        raise ValueError(f"Pairs need equal numbers of images, found {len(a)} and {len(b)}.")
    generator = torch.Generator().manual_seed(seed)
    first = unit_halves(a, resamples, generator)
    return first, first if paired else unit_halves(b, resamples, generator)


def unit_halves(units: Any, resamples: int, generator: torch.Generator) -> Tensor:
    """0-1 weights [resamples, N] of images whose units are given, half of the units each."""
    numbers = torch.from_numpy(unit_numbers(units, len(units)))
    count = int(numbers.max()) + 1 if len(numbers) else 0
    if len(numbers) < 4 or count < 2:
        raise ValueError("Half samples need at least 4 images of at least 2 target images, found "
                         f"{len(numbers)} of {count}.")
    order = torch.rand(resamples, count, generator=generator).argsort(1)
    return (order < count // 2).double()[:, numbers]


@checked
def half_estimate(value: float, half_values: Any, level: Level = 0.95) -> Estimate:
    """`Estimate` around `value` from the spread of the half samples' values [resamples]."""
    spread = NormalDist().inv_cdf((1 + level) / 2) * float(as_numpy(half_values).std(ddof=1))
    return Estimate(float(value), float(value) - spread, float(value) + spread)


# --- few values ------------------------------------------------------------------------------


@checked
def median(values: Sequence[float], level: Level = 0.95) -> Estimate:
    """Median of measured times or other values [R >= 6], its interval between two of them.

    Order statistics: it covers the true median with at least the probability `level` whatever the
    distribution. ValueError: too few values for that.

    >>> median([1, 2, 3, 4, 5, 9])
    Estimate(value=3.5, low=1.0, high=9.0, p=None)
    """
    values = np.asarray(values, float)
    ends = stats.quantile_test(values, p=0.5).confidence_interval(level)
    if not np.isfinite(ends).all():
        raise ValueError(f"An interval of the median needs 6 values or more, found {len(values)}.")
    return Estimate(float(np.median(values)), float(ends[0]), float(ends[1]))


@checked
def mean(values: Sequence[float], level: Level = 0.95) -> Estimate:
    """Mean over training runs [R >= 2] with Student's interval.

    >>> print(mean([1.0, 2.0, 3.0]))
    2 [-0.4841, 4.484]
    """
    result = stats.ttest_1samp(several(values), 0.0)
    low, high = result.confidence_interval(level)
    return Estimate(float(np.mean(values)), float(low), float(high), float(result.pvalue))


@checked
def difference_of_means(a: Sequence[float], b: Sequence[float], level: Level = 0.95) -> Estimate:
    """Mean over the training runs of `a` less that over those of `b`, with Welch's interval.

    >>> print(difference_of_means([4.0, 5.0, 6.0], [1.0, 2.0, 3.0]))
    3 [0.733, 5.267]
    """
    result = stats.ttest_ind(several(a), several(b), equal_var=False)
    low, high = result.confidence_interval(level)
    return Estimate(float(np.mean(a) - np.mean(b)), float(low), float(high), float(result.pvalue))


def several(values: Sequence[float]) -> np.ndarray:
    """The values [R]; ValueError: there is no spread of one."""
    if len(values) < 2:
        raise ValueError(f"An interval over training runs needs at least 2, found {len(values)}.")
    return np.asarray(values, float)


def as_numpy(array: Any) -> np.ndarray:
    """A tensor (of any device) or anything array-like as an array; ValueError: `check_dense`."""
    check_dense("values", array)
    return array.detach().cpu().numpy() if torch.is_tensor(array) else np.asarray(array)
