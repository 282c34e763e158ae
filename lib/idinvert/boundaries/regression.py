"""Boundaries by regression: how codes differ where one score does and the others do not.

Some thousand scored samples are too few for a linear SVM in thousands of dimensions, which fits the
noise of the directions in which codes hardly differ. The regression of codes on scores has one
unknown vector for each attribute, and holds the other attributes by itself, as far as their scores
tell them. `apart` then takes out what images show of the others all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.settings import checked

from .boundary import Boundary, check_layers
from .svm import TRAIN_SHARE, check_samples, check_share


@torch.no_grad()
@checked
def fit(codes: Tensor, scores: Mapping[str, Tensor], layers: Mapping[str, Sequence[int]],
        share: float = 0.1) -> list[Boundary]:
    """Boundaries in the space "layer" of the attributes that are scored, each [N], of codes
    [N, L, D].

    layers: those that belong to an attribute. share: of the samples of the highest and of the
    lowest scores, on which accuracy is measured; they are the last 30 %, which are not fitted to.
    ValueError: other shapes or attributes, values that are not finite, scores that are all equal,
    or too few samples.
    """
    check_share(share)
    if not scores or scores.keys() != layers.keys():
        raise ValueError(f"Scores are of {list(scores)}, but layers of {list(layers)}.")
    for name, chosen in layers.items():
        check_layers(chosen, codes.shape[1] if codes.ndim == 3 else 0, f"Boundary {name!r}")
    cut = round(TRAIN_SHARE * len(codes))
    for name, values in scores.items():
        values = torch.as_tensor(values)
        check_samples(codes, values, "layer")
        if cut <= len(scores) + 1:
            raise ValueError(f"{len(codes)} samples are too few for {len(scores)} boundaries.")
        if values[:cut].min() == values[:cut].max() or values[cut:].min() == values[cut:].max():
            raise ValueError(f"The scores of {name!r} are all equal: there is nothing to fit to.")
    columns = [quantiles(torch.as_tensor(values)) for values in scores.values()]
    table = torch.stack([*columns, torch.ones(len(codes), dtype=torch.float64)], 1)
    flat = codes.flatten(1).cpu().double()
    *ways, _ = torch.linalg.lstsq(table[:cut], flat[:cut]).solution.unflatten(1, codes.shape[1:])
    return [placed(name, way, layers[name], codes, column, share)
            for name, way, column in zip(scores, ways, columns, strict=True)]


@torch.no_grad()
def apart(boundaries: Sequence[Boundary], changes: Tensor, codes: Tensor,
          scores: Mapping[str, Tensor], share: float = 0.1) -> list[Boundary]:
    """The boundaries, each mixed with the others so that a step along it changes its score alone.

    changes [A, A]: by how much a step along each of the boundaries changes each score, as it is
    seen in images. The rest as in `fit`. Scores are then apart as far as images change in
    proportion to a step, and as far as the layers of a boundary have the others in them.
    """
    mixture = torch.linalg.inv(changes.double())
    mixture = mixture / mixture.diagonal()[:, None]  # a whole step along the boundary itself
    normals = torch.stack([boundary.normal for boundary in boundaries]).double()
    ways = torch.einsum("ij,jld->ild", mixture, normals)
    return [placed(b.name, way, b.layers, codes, quantiles(torch.as_tensor(scores[b.name])), share)
            for b, way in zip(boundaries, ways)]


def quantiles(values: Tensor) -> Tensor:
    """The ranks of scores [N] as quantiles of a normal distribution: no outlier has a say of its
    own."""
    ranks = (values.argsort().argsort().double() + 0.5) / len(values)
    return math.sqrt(2) * torch.erfinv(2 * ranks - 1)


def placed(name: str, way: Tensor, layers: Sequence[int], codes: Tensor, column: Tensor,
           share: float) -> Boundary:
    """The boundary with a way [L, D] in some layers as its normal, in the middle of the codes; its
    accuracy is that of the codes of `fit` that are not fitted to."""
    cut = round(TRAIN_SHARE * len(codes))
    normal = torch.zeros_like(way)
    normal[list(layers)] = F.normalize(way[list(layers)], dim=1)
    along = (codes.cpu().double() * normal).sum((1, 2))
    intercept = -float(along[:cut].median())
    count = max(1, round(share * (len(codes) - cut)))
    order = column[cut:].argsort() + cut
    right = torch.cat([along[order[-count:]] > -intercept, along[order[:count]] <= -intercept])
    return Boundary(name, normal.float(), intercept, tuple(layers), right.double().mean().item(),
                    "layer")
