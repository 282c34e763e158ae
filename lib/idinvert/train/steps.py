"""Pieces of a training step that every task uses."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data import to_float


def draw_batch(images: Tensor, batch: int, device: str) -> Tensor:
    """A random batch of uint8 images [N, 3, H, W] as floats in [-1, 1], each flipped or not."""
    index = torch.randint(len(images), (batch,))
    x = to_float(images[index].to(device))
    x = torch.where(torch.rand(batch, 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    return x.contiguous(memory_format=torch.channels_last)


def autocast(device: str) -> torch.autocast:
    """bfloat16 for the convolutions, on CPU and GPU alike."""
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One optimiser step down the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
