"""Kernel Inception distance, in the features it is given.

M. Binkowski et al., "Demystifying MMD GANs", ICLR 2018. Unlike FD it is unbiased: two samples of
one distribution give 0 on average at any number of images, and values below 0 occur. Tables show
it times 1e3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import metric
from .checks import feature_sets

BLOCK = 2048  # rows of a kernel matrix held at a time


def resampled_mmd2(features: Tensor, real: Tensor, weights: Tensor, real_weights: Tensor) -> Tensor:
    """`mmd2` of each of S subsets: weights [S, N] and [S, M] of 0 or 1 -> [S], float64.

    A subset's sum over its kernel matrix is w^T K w, so that K is computed once for all of them.
    Where the distributions are equal, `mmd2` is a degenerate statistic, and intervals by half
    samples are up to 1.7 times as wide as they need be, never narrower.
    """
    x, y = feature_sets(features, real)
    wx, wy = (w.to(x) for w in (weights, real_weights))
    nx, ny = wx.sum(1), wy.sum(1)
    within_x = (kernel_sum(x, x, wx, wx) - wx @ kernel_diagonal(x)) / (nx * (nx - 1))
    within_y = (kernel_sum(y, y, wy, wy) - wy @ kernel_diagonal(y)) / (ny * (ny - 1))
    return within_x + within_y - 2 * kernel_sum(x, y, wx, wy) / (nx * ny)


@metric("kid", title="KID x 1e3", kind="set", of="features", factor=1e3, equal_numbers=False,
        resampled=resampled_mmd2, resamples=200)
def mmd2(features: Tensor, real: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy of `features` [N, F] and `real` [M, F].

    mean of k(x, x') over pairs x != x' + the same for y - 2 mean of k(x, y), with the kernel
    k(x, y) = (x . y / F + 1)^3, in float64. ValueError: sets that do not match.

    >>> points = torch.randn(200, 8)
    >>> mmd2(points[:100], points[100:]) < mmd2(points[:100], points[100:] + 1)
    True
    """
    features, real = feature_sets(features, real)
    whole = (torch.ones(1, len(x)) for x in (features, real))
    return resampled_mmd2(features, real, *whole).item()


def kernel_sum(x: Tensor, y: Tensor, wx: Tensor, wy: Tensor) -> Tensor:
    """wx^T K wy of each subset: [S]."""
    total = 0
    for rows, weights in zip(x.split(BLOCK), wx.split(BLOCK, 1)):
        kernel = (rows @ y.T / x.shape[1] + 1) ** 3
        total = total + ((weights @ kernel) * wy).sum(1)
    return total


def kernel_diagonal(x: Tensor) -> Tensor:
    """k(x, x) of each x [N, F]: [N]."""
    return (x.square().sum(1) / x.shape[1] + 1) ** 3
