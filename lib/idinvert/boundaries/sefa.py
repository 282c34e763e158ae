"""Directions without labels: SeFa (Shen and Zhou, "Closed-Form Factorization of Latent Semantics in
GANs", CVPR 2021, arXiv 2007.06600).

A code reaches the features of a layer through a linear map alone, its style. The directions are the
eigenvectors of the styles of some layers together: those along which a code changes most of what
these layers render. What that is, somebody has to see: they have numbers for names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idinvert.nn.protocols import Generator, missing
from idinvert.settings import Count, checked

from .boundary import Boundary, check_layers


@checked
def directions(generator: nn.Module, layers: Sequence[int], count: Count) -> Tensor:
    """The `count` strongest directions [count, D] for layers of a generator, of unit norm.

    Their signs are such that the largest number of each is positive. ValueError: a layer that the
    generator does not have, or ones without a style; more directions than a code has numbers.
    """
    if lacking := missing(generator, Generator):
        raise ValueError(f"Directions are those of a generator, but this has no {lacking[0]}.")
    check_layers(layers, len(generator.layers), "Directions")
    weights = []
    for layer in layers:
        weights += [part.weight for name, part in generator.layers[layer].named_modules()
                    if name.endswith("style")]
    if not weights or count > generator.w_dim:
        raise ValueError(f"There are from 1 to {generator.w_dim} directions, for one layer or more "
                         "that have a style.")
    rows = nn.functional.normalize(torch.cat(weights).detach().cpu().double(), dim=1)
    found = torch.linalg.eigh(rows.T @ rows).eigenvectors.flip(1)[:, :count].T
    largest = found.gather(1, found.abs().argmax(1, keepdim=True))
    return (found * largest.sign()).float()


@torch.no_grad()
def fit(generator: nn.Module, layers: Sequence[int], count: Count) -> list[Boundary]:
    """The directions as boundaries `sefa-1`, `sefa-2`, .. in the space "layer" which move `layers`;
    the average code lies on them. Their accuracy is NaN, since there is no attribute.

    ValueError: as `directions`.
    """
    found = []
    for number, way in enumerate(directions(generator, layers, count), 1):
        normal = torch.zeros(generator.num_layers, generator.w_dim, dtype=torch.float32)
        normal[list(layers)] = way
        intercept = -float((generator.w_avg.cpu() * normal).sum())
        found.append(Boundary(f"sefa-{number}", normal, intercept, tuple(layers), space="layer"))
    return found
