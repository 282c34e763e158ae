"""Features of images, the input of FD and KID."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .checks import clipped


@torch.no_grad()
def extract(images: Tensor | Iterable[Tensor], network: nn.Module, batch_size: int = 64) -> Tensor:
    """Features [N, F], float32 on the CPU, of images [N, 3, H, W] in [-1, 1].

    `images` may also be an iterable of such batches, for sets that do not fit in memory. `network`
    maps a batch to [B, F]; it runs on its own device, in the mode it is in. Images are clipped to
    [-1, 1] but not rounded to 8 bits. ValueError: no images, or images of another range.

    >>> extract(torch.zeros(5, 3, 4, 4), nn.Flatten(), batch_size=2).shape
    torch.Size([5, 48])
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    batches = images.split(batch_size) if torch.is_tensor(images) else images
    features = [network(clipped(batch).to(device)).float().cpu() for batch in batches]
    if not features:
        raise ValueError("There are no images to take features of.")
    return torch.cat(features)
