"""Editing codes (section 4.3): interpolation, manipulation along a boundary, style mixing; and the
stitched images that semantic diffusion begins with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .boundaries import Boundary


def manipulate(codes: Tensor, boundary: Boundary, alpha: float | Tensor) -> Tensor:
    """Codes [N, L, D] moved by alpha along the normal, in the layers of the boundary (Eq. 5).

    alpha: a number or one for each code [N]; positive towards more of the attribute. In the space
    "whole" it is a distance in units of codes, in the space "layer" the distance in each layer (the
    published scripts go from -3 to 3).

    ValueError: codes or alpha of another shape.
    """
    boundary.check(codes)
    alpha = torch.as_tensor(alpha, dtype=codes.dtype, device=codes.device)
    if alpha.ndim > 1 or alpha.ndim == 1 and len(alpha) != len(codes):
        raise ValueError(f"alpha must be a number or [{len(codes)}], not {list(alpha.shape)}.")
    layers = list(boundary.layers)
    step = torch.zeros_like(boundary.normal)
    step[layers] = boundary.normal[layers]
    return codes + alpha.reshape(-1, 1, 1) * step.to(codes)


def interpolate(a: Tensor, b: Tensor, steps: int = 5, ends: bool = False) -> Tensor:
    """Codes [N, steps, L, D] evenly spaced on the way from `a` to `b`, both [N, L, D].

    Without `ends` they are inner steps at 1 / (steps + 1), 2 / (steps + 1) and so on: five in the
    published code, one for the point halfway. With `ends` the first is `a` and the last `b`.

    ValueError: different shapes, or less than one step (two with `ends`).
    """
    _check_pair(a, b)
    if steps < 1 + ends:
        raise ValueError(f"Interpolation takes at least {1 + ends} steps, not {steps}.")
    inner = torch.linspace(0, 1, steps if ends else steps + 2, dtype=a.dtype, device=a.device)
    weights = (inner if ends else inner[1:-1]).reshape(1, -1, 1, 1)
    return torch.lerp(a.unsqueeze(1), b.unsqueeze(1), weights)


def mix(content: Tensor, style: Tensor, layers: Sequence[int]) -> Tensor:
    """Codes `content` [N, L, D] with the given layers of `style` [N, L, D].

    The published code takes the layers from the 11th of 14 on, `range(10, 14)`: colours and light,
    while shapes stay those of `content`. IndexError: there is no such layer.
    """
    _check_pair(content, style)
    layers = list(layers)
    if any(not 0 <= layer < content.shape[1] for layer in layers):
        raise IndexError(f"Layers {layers} are not all within 0..{content.shape[1] - 1}.")
    mixed = content.clone()
    mixed[:, layers] = style[:, layers]
    return mixed


def stitch(target: Tensor, context: Tensor, box: tuple[int, int, int, int]
           ) -> tuple[Tensor, Tensor]:
    """`context` [N, 3, H, W] with the part of `target` in a box, as `invert.diffuse` takes it.

    box: left, top, right, bottom in px. Returns the mask [1, 1, H, W] of the box as well.
    ValueError: the box is empty or not within the image.
    """
    left, top, right, bottom = box
    height, width = target.shape[2:]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"The box {box} is not within an image of {width} x {height} px.")
    mask = torch.zeros_like(target[:1, :1])
    mask[..., top:bottom, left:right] = 1
    return torch.where(mask.bool(), target, context), mask


def _check_pair(a: Tensor, b: Tensor) -> None:
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(
            f"Both codes must be [N, L, D] alike, not {list(a.shape)} and {list(b.shape)}."
        )
