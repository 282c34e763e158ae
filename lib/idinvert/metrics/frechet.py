"""Frechet distance between two sets of features.

M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", NeurIPS 2017. In features of the official Inception network it is called FID; in any
other, as here by default, FD. Only distances at one number of images can be compared: the estimate
falls as the number grows, and never reaches 0 for two samples of one distribution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from idinvert.settings import Count, checked

from . import metric
from .checks import feature_sets

COMPONENTS = 64  # principal components of the real features in which FD is taken; FID: in all


def in_leading_components(sets: Sequence[Tensor], real: Tensor) -> tuple[list[Tensor], Tensor]:
    """Sets of features [N, F] and real ones [M, F] in the leading components of the real ones.

    As many components as the real images can fill, at most COMPONENTS.
    """
    components = min(COMPONENTS, len(real) - 1, real.shape[1])
    projected = [project(features, real, components) for features in sets]
    return [features for features, _ in projected], projected[0][1]


@metric("fd", title="FD", kind="set", of="features", prepare=in_leading_components)
@checked
def fd(features: Tensor, real: Tensor, components: Count | None = None) -> float:
    """Frechet distance between Gaussians fitted to `features` [N, F] and `real` [M, F].

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), in squared units of the features, >= 0,
    computed in float64. With C = A^T A, A the centred features over sqrt(N - 1), the last trace is
    the sum of the singular values of A1 A2^T, which needs no root of a covariance and holds for
    singular ones (fewer images than features) too.

    With `components` k, both sets are first projected on the k principal components of `real`:
    faster, and with a lower floor. ValueError: sets that do not match.

    >>> points = torch.randn(50, 8)
    >>> round(fd(points, points + 0.5), 6)  # 8 features, each shifted by 0.5
    2.0
    """
    features, real = feature_sets(features, real)
    if components is not None:
        features, real = project(features, real, components)
    mean_term = (features.mean(0) - real.mean(0)).square().sum()
    a, b = covariance_root(features), covariance_root(real)
    cross = torch.linalg.svdvals(a @ b.T).sum()
    distance = mean_term + a.square().sum() + b.square().sum() - 2 * cross
    return max(distance.item(), 0.0)


def covariance_root(x: Tensor) -> Tensor:
    """A matrix R with R^T R the covariance of x [N, F], of min(N, F) rows."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return centred if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r").R


def project(features: Tensor, real: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Both sets on the `components` leading principal components of `real`: [N, k] and [M, k].

    ValueError: more components than `real` [M, F] has.
    """
    features, real = feature_sets(features, real)
    most = min(len(real) - 1, real.shape[1])
    if not 1 <= components <= most:
        raise ValueError(f"components must be between 1 and {most}, found {components}.")
    mean = real.mean(0)
    axes = torch.linalg.svd(real - mean, full_matrices=False).Vh[:components].T
    return (features - mean) @ axes, (real - mean) @ axes
