"""Frechet distance between two sets of features.

M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium", NeurIPS 2017. In features of the official Inception network it is called FID; in any
other, as here by default, FD. Only distances at one number of images can be compared: the estimate
falls as the number grows, and never reaches 0 for two samples of one distribution (`floor`).
"""

import torch

from . import checks
from .bootstrap import half_sample


def fd(features, real, components=None):
    """Frechet distance between Gaussians fitted to `features` [N, F] and `real` [M, F].

    |m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), in squared units of the features, >= 0,
    computed in float64. With C = A^T A, A the centred features over sqrt(N - 1), the last trace is
    the sum of the singular values of A1 A2^T, which needs no root of a covariance and holds for
    singular ones (fewer images than features) too.

    With `components` k, both sets are first projected on the k principal components of `real`:
    faster, and with a lower floor. Raises ValueError for sets that do not match.
    """
    features, real = checks.features(features, real)
    if components is not None:
        features, real = project(features, real, components)
    mean_term = (features.mean(0) - real.mean(0)).square().sum()
    a, b = _root(features), _root(real)
    cross = torch.linalg.svdvals(a @ b.T).sum()
    distance = mean_term + a.square().sum() + b.square().sum() - 2 * cross
    return max(distance.item(), 0.0)


def _root(x):
    """A matrix R with R^T R the covariance of x [N, F], of min(N, F) rows."""
    centred = (x - x.mean(0)) / (len(x) - 1) ** 0.5
    return centred if len(x) <= x.shape[1] else torch.linalg.qr(centred, mode="r").R


def project(features, real, components):
    """Both sets on the `components` leading principal components of `real`: [N, k] and [M, k]."""
    most = min(len(real) - 1, real.shape[1])
    if not 1 <= components <= most:
        raise ValueError(f"components must be between 1 and {most}, found {components}.")
    mean = real.mean(0)
    axes = torch.linalg.svd(real - mean, full_matrices=False).Vh[:components].T
    return (features - mean) @ axes, (real - mean) @ axes


def interval(features, real, components=None, paired=False, resamples=50, level=0.95, seed=0):
    """`fd` with its confidence interval by half samples (see `bootstrap.half_sample`).

    It is the interval of the distance at this number of images, bias included. Close to the floor
    it is up to 1.7 times wider than need be, never narrower. The principal components are those of
    all of `real`, found once; `paired` where the i-th images of both sets belong together.
    """
    features, real = checks.features(features, real)
    if components is not None:
        features, real = project(features, real, components)
    return half_sample(
        fd, features, real, paired=paired, resamples=resamples, level=level, seed=seed
    )


def floor(real, count=None, splits=5, seed=0, statistic=fd):
    """Mean and standard deviation of `statistic` between disjoint random halves of `real` [M, F].

    The value two samples of the same distribution reach at `count` images each (M // 2 by
    default): the row a table of distances at `count` images needs to be read. `statistic` takes
    two feature sets and gives a number.
    """
    count = len(real) // 2 if count is None else count
    if not 2 <= count <= len(real) // 2:
        raise ValueError(f"count must be between 2 and {len(real) // 2}, found {count}.")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(splits):
        order = torch.randperm(len(real), generator=generator)
        values.append(statistic(real[order[:count]], real[order[count : 2 * count]]))
    values = torch.tensor(values, dtype=torch.float64)
    return values.mean().item(), values.std().item() if splits > 1 else 0.0
