"""Kernel Inception distance, in the features it is given.

M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018. Unlike FD it is unbiased: two samples of
one distribution give 0 on average at any number of images, and values below 0 occur. Tables show
it times 1e3.
"""

from typing import NamedTuple

import torch

from . import checks
from .bootstrap import half_estimate, half_weights, subset_weights

BLOCK = 2048  # rows of a kernel matrix held at a time


class Kid(NamedTuple):
    """Mean and standard deviation over subsets."""

    mean: float
    std: float


def mmd2(features, real):
    """Unbiased squared maximum mean discrepancy of `features` [N, F] and `real` [M, F].

    mean of k(x, x') over pairs x != x' + the same for y - 2 mean of k(x, y), with the kernel
    k(x, y) = (x . y / F + 1)^3, in float64. Raises ValueError for sets that do not match.
    """
    features, real = checks.features(features, real)
    ones = (torch.ones(1, len(x), dtype=x.dtype, device=x.device) for x in (features, real))
    return _weighted_mmd2(features, real, *ones).item()


def kid(features, real, subsets=50, subset_size=None, seed=0):
    """`mmd2` over random subsets: `Kid(mean, std)`.

    Each subset holds `subset_size` of both sets, drawn without replacement; by default 500, or
    half of the smaller set if that is less (with the whole set in each subset, the standard
    deviation would be 0 and say nothing).
    """
    features, real = checks.features(features, real)
    smaller = min(len(features), len(real))
    size = max(2, min(500, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(f"subset_size must be between 2 and {smaller}, found {size}.")
    generator = torch.Generator().manual_seed(seed)
    weights = [subset_weights(len(x), size, subsets, generator).to(x) for x in (features, real)]
    values = _weighted_mmd2(features, real, *weights)
    return Kid(values.mean().item(), values.std(correction=0).item())


def interval(features, real, paired=False, resamples=200, level=0.95, seed=0):
    """`mmd2` of all images with its confidence interval by half samples.

    All half samples share the kernel matrices. Where the two distributions are equal, `mmd2` is
    a degenerate statistic, and the interval is up to 1.7 times wider than need be, never
    narrower. `paired` where the i-th images of both sets belong together.
    """
    features, real = checks.features(features, real)
    value = mmd2(features, real)
    weights = half_weights(len(features), len(real), paired, resamples, seed)
    values = _weighted_mmd2(features, real, *(w.to(features) for w in weights))
    return half_estimate(value, values.cpu(), level)


def _weighted_mmd2(x, y, wx, wy):
    """`mmd2` of each of S weighted subsets: wx [S, N] and wy [S, M] hold 0 or 1 -> [S].

    A subset's sum over its kernel matrix is w^T K w, so that K is computed once for all of them.
    """
    nx, ny = wx.sum(1), wy.sum(1)
    within_x = (_kernel_sum(x, x, wx, wx) - wx @ _kernel_diagonal(x)) / (nx * (nx - 1))
    within_y = (_kernel_sum(y, y, wy, wy) - wy @ _kernel_diagonal(y)) / (ny * (ny - 1))
    return within_x + within_y - 2 * _kernel_sum(x, y, wx, wy) / (nx * ny)


def _kernel_sum(x, y, wx, wy):
    total = 0
    for rows, weights in zip(x.split(BLOCK), wx.split(BLOCK, 1)):
        kernel = (rows @ y.T / x.shape[1] + 1) ** 3
        total = total + ((weights @ kernel) * wy).sum(1)
    return total


def _kernel_diagonal(x):
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
