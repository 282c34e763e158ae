"""Semantic diffusion (section 4.3): part of one image pasted into another and inverted there."""

from __future__ import annotations

from functools import partial
from operator import index
from typing import Any

import torch
from torch import Tensor

from idinvert.codes import check_count, check_images, encode
from idinvert.settings import Count, checked

from .model import Model
from .optimiser import Inversion, Networks, OnStep, Settings, in_batches, joined, optimise


@torch.inference_mode(False)
@torch.enable_grad()
@checked
def diffuse(networks: Networks, images: Any, mask: Any, settings: Settings | None = None, *,
            on_step: OnStep | None = None, progress: bool = False, batch: Count = 16) -> Inversion:
    """Masked inversion of stitched images [N, 3, H, W], `batch` at a time, starting at E(x).

    mask: [1 or N, 1, H, W], 1 on the pasted patch, which alone enters the loss. There is no code
    term, as in the published code. Where memory runs out, a `Model` halves the batch, as in
    `Model.invert`, and refuses the images that that refuses. Other errors as `optimise`, and
    ValueError: the mask has another size, or no patch.
    """
    if isinstance(networks, Model):
        images = networks.checked(images)
    check_images(images, networks.generator)
    if not (isinstance(mask, Tensor) and mask.shape[1:] == (1, *images.shape[2:]) and len(mask)
            and not mask.is_complex() and mask.min() >= 0 and 0 < mask.max() <= 1):
        raise ValueError(f"mask must be [1 or N, 1, {images.shape[2]}, {images.shape[3]}], from 0 "
                         "to 1, and 1 somewhere: `stitch` makes one.")
    mask = mask.to(images)
    shared = len(mask) == 1
    if not shared:
        check_count("mask", mask, images)

    def invert(images, own=mask, *, progress):
        start = encode(networks.encoder, images)
        return optimise(networks, images, start, settings or Settings(), mask=own,
                        on_step=on_step, progress=progress)

    def inverted(*parts, progress):
        work = partial(invert, progress=progress)
        if isinstance(networks, Model):
            return joined(networks.sparing(work, *parts))
        return work(*parts)

    return in_batches(inverted, images, *(() if shared else (mask,)), size=batch,
                      progress=progress)


@checked
def stitch(target: Tensor, context: Tensor, box: tuple[int, int, int, int]
           ) -> tuple[Tensor, Tensor]:
    """`context` [N, 3, H, W] with the part of `target` in a box, as `diffuse` takes it.

    box: left, top, right, bottom in px. Returns the mask [1, 1, H, W] of the box as well.
    ValueError: the box is empty or not within the image, or the images differ in size or number.
    """
    counts = {1, len(target), len(context)} if target.ndim == context.ndim == 4 else ()
    if target.shape[1:] != context.shape[1:] or len(counts) > 2 or not counts:
        raise ValueError("There must be as many targets as contexts, or one, [N, 3, H, W] of one "
                         f"size, not {list(target.shape)} and {list(context.shape)}.")
    try:
        left, top, right, bottom = map(index, box)
    except (TypeError, ValueError):
        raise ValueError(f"box is {box!r:.60}, but should be left, top, right and bottom in whole "
                         "px.") from None
    height, width = target.shape[2:]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise ValueError(f"The box {box} is not within an image of {width} x {height} px.")
    mask = torch.zeros_like(target[:1, :1])
    mask[..., top:bottom, left:right] = 1
    return torch.where(mask.bool(), target, context), mask
