"""What every metric asks of its input, and the form in which it computes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from idinvert.data.images import looks_like_bytes
from idinvert.settings import check_dense


def clipped(batch: Tensor, name: str = "images") -> Tensor:
    """Images [N, 3, H, W] as float32, clipped to [-1, 1], the range that a saved file can show.

    ValueError: another shape, values that are not finite, or images that are not in about [-1, 1]:
    bytes, or floats from 0 to 255.
    """
    check_dense(name, batch)
    if not torch.is_tensor(batch) or batch.ndim != 4 or batch.shape[1] != 3:
        shape = tuple(getattr(batch, "shape", ()))
        raise ValueError(f"{name} must be a tensor [N, 3, H, W], found {shape}.")
    if not batch.is_floating_point():
        raise ValueError(f"{name} must be floats in [-1, 1], found {batch.dtype}: "
                         "idinvert.data.to_float converts bytes.")
    if not torch.isfinite(batch).all():
        raise ValueError(f"{name} contain values that are not finite.")
    if batch.numel() and looks_like_bytes(batch):
        raise ValueError(f"{name} must be floats in [-1, 1], found values of {batch.min():.3g} to "
                         f"{batch.max():.3g}: idinvert.data.to_float converts bytes 0 to 255.")
    return batch.float().clamp(-1, 1)


def pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches of images of one shape, each as `clipped`; ValueError: two shapes."""
    a, b = clipped(a, "The first images"), clipped(b, "The second images")
    if a.shape != b.shape:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"Images must come in pairs of one shape, found {shapes}.")
    return a, b


def feature_sets(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Two feature sets [N, F] and [M, F] as float64 on the first one's device, N and M >= 2.

    ValueError: other shapes, or values that are not finite.
    """
    for x in (a, b):
        check_dense("Features", x)
    a, b = map(torch.as_tensor, (a, b))
    if a.is_complex() or b.is_complex():
        raise ValueError("Features must be real numbers, found complex ones.")
    a, b = a.double(), b.double()
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(*a.shape, len(b) - 1) < 1 \
            or len(a) < 2:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"Features must be [N, F] and [M, F] with N, M >= 2, found {shapes}.")
    if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise ValueError("Features contain values that are not finite.")
    return a, b.to(a.device)
