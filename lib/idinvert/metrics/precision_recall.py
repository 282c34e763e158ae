"""Precision and recall of generated images, in the features they are given.

T. Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
NeurIPS 2019. FD and KID mix two faults, images that look wrong and kinds of images that are
missing; these tell them apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .checks import feature_sets

NEIGHBOURS = 3  # as the authors have it


def precision_recall(features: Tensor, real: Tensor) -> tuple[float, float]:
    """Precision: the share of `features` [N, F] that lie near real ones. Recall: the share of
    `real` [M, F] that lie near generated ones. Both are 0 to 1 and higher for more images.

    A point is near a set if it lies within the ball around one of the set's points that reaches to
    the third nearest other one; of fewer than 4 points both are NaN. ValueError: sets that do not
    match.

    >>> points = torch.arange(10.0)[:, None]
    >>> precision_recall(points[:5], points)  # of good images, which are half of what there is
    (1.0, 0.8)
    """
    features, real = feature_sets(features, real)
    if min(len(features), len(real)) <= NEIGHBOURS:
        return math.nan, math.nan
    between = torch.cdist(features, real)
    precision, recall = (near.any(1).double().mean().item() for near in (
        between <= radii(real), between.T <= radii(features)))
    return precision, recall


def radii(points: Tensor) -> Tensor:
    """Distance of each of the points [N, F] to its third nearest other one: [N]."""
    return torch.cdist(points, points).kthvalue(NEIGHBOURS + 1, dim=1).values
