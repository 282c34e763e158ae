"""Random changes of images before a discriminator judges them, real and painted ones alike.

They keep a discriminator from knowing a small set of images by heart. Gradients pass through them
(S. Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NUMBERS = 7  # that say how one image is changed
MOVED = 1 / 8  # of the width, at most
COVERED = 1 / 2  # of the width


def draw(count: int, device: str = "cpu") -> Tensor:
    """Numbers [count, 7] in [0, 1) that say how each image is changed."""
    return torch.rand(count, NUMBERS, device=device)


def changed(images: Tensor, numbers: Tensor) -> Tensor:
    """Images [N, 3, r, r] in another light and colour, moved by up to an eighth of their width,
    what is beyond their edges grey, with a grey square of half their width somewhere."""
    brightness, saturation, contrast, *places = numbers.to(images).T
    x = images + (brightness - 0.5).view(-1, 1, 1, 1)
    x = torch.lerp(x.mean(1, keepdim=True), x, 2 * saturation.view(-1, 1, 1, 1))
    x = torch.lerp(x.mean((1, 2, 3), keepdim=True), x, 0.5 + contrast.view(-1, 1, 1, 1))
    return covered(moved(x, *places[:2]), *places[2:])


def moved(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Images moved by whole pixels, 0 beyond their edges; 0 and 1 are an eighth to either side."""
    size = images.shape[-1]
    most = round(size * MOVED)
    pixels = torch.arange(1, size + 1, device=images.device)  # 0 and size + 1 are the padding
    rows, columns = ((pixels + whole(share, 2 * most + 1)[:, None] - most).clamp(0, size + 1)
                     for share in (down, across))
    padded = F.pad(images, (1, 1, 1, 1)).permute(0, 2, 3, 1)
    each = torch.arange(len(images), device=images.device).view(-1, 1, 1)
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def covered(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """Images with a square of 0, whose centre is anywhere in them."""
    size = images.shape[-1]
    pixels, reach = torch.arange(size, device=images.device), size * COVERED / 2
    inside = [(pixels - whole(share, size)[:, None] + 0.5).abs() < reach
              for share in (down, across)]
    hidden = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images.masked_fill(hidden, 0)


def whole(share: Tensor, count: int) -> Tensor:
    """Shares in [0, 1) as whole numbers from 0 to count - 1."""
    return (share.float() * count).long().clamp(max=count - 1)
