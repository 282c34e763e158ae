"""Boundaries by regression: how codes differ where one score does and the others do not.

Some thousand scored samples are too few for a linear SVM in thousands of dimensions, which fits the
noise of the directions in which codes hardly differ. The regression of codes on scores has one
unknown vector for each attribute, and holds the other attributes by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from idinvert.settings import checked

from .boundary import Boundary, check_layers
from .svm import TRAIN_SHARE, check_samples, check_share


@checked
def fit(codes: Tensor, scores: Mapping[str, Tensor], layers: Mapping[str, Sequence[int]],
        share: float = 0.1) -> list[Boundary]:
    """Boundaries in the space "layer" of the attributes that are scored, each [N], of codes
    [N, L, D].

    layers: those that belong to an attribute. share: of the samples of the highest and of the
    lowest scores, on which accuracy is measured; they are the last 30 %, which are not fitted to.
    ValueError: other shapes, or values that are not finite.
    """
    check_share(share)
    for name, chosen in layers.items():
        check_layers(chosen, codes.shape[1] if codes.ndim == 3 else 0, f"Boundary {name!r}")
    cut = round(TRAIN_SHARE * len(codes))
    columns = []
    for values in map(torch.as_tensor, scores.values()):
        check_samples(codes, values, "layer")
        # Ranks as normal quantiles: no outlier of a score has a say of its own
        ranks = (values.argsort().argsort().double() + 0.5) / len(values)
        columns.append(math.sqrt(2) * torch.erfinv(2 * ranks - 1))
    table = torch.stack([*columns, torch.ones(len(codes), dtype=torch.float64)], 1)
    flat = codes.flatten(1).double().cpu()
    *ways, _ = torch.linalg.lstsq(table[:cut], flat[:cut]).solution.unflatten(1, codes.shape[1:])
    found = []
    for way, column, (name, chosen) in zip(ways, columns, layers.items(), strict=True):
        normal = torch.zeros_like(way)
        normal[list(chosen)] = torch.nn.functional.normalize(way[list(chosen)], dim=1)
        along = (codes.double().cpu() * normal).sum((1, 2))
        intercept = -float(along[:cut].median())
        count = max(1, round(share * (len(codes) - cut)))
        order = column[cut:].argsort() + cut
        right = torch.cat([along[order[-count:]] > -intercept, along[order[:count]] <= -intercept])
        found.append(Boundary(name, normal.float(), intercept, tuple(chosen),
                              right.double().mean().item(), "layer"))
    return found
