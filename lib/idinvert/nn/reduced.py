"""Networks at a smaller size, with which large images are inverted."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .mobilestylegan import Generator
from .protocols import Noise
from .vgg import VGG16Features

PIXELS = 4 << 20  # of the whole images that are rendered at once where no gradient is wanted


class ReducedGenerator(nn.Module):
    """A generator whose images are reduced to `resolution` px; all else is the generator's."""

    def __init__(self, whole: Generator, resolution: int):
        super().__init__()
        self.whole, self.resolution = whole, resolution
        self.num_layers, self.layerwise = whole.num_layers, whole.layerwise
        self.z_dim, self.w_dim = whole.z_dim, whole.w_dim

    @property
    def w_avg(self) -> Tensor:
        """The average code, [L, D]."""
        return self.whole.w_avg

    def mapping(self, z: Tensor) -> Tensor:
        """Codes [N, L, D] of latents [N, Z]."""
        return self.whole.mapping(z)

    def truncate(self, *arguments: Any, **options: Any) -> Tensor:
        """As the generator's."""
        return self.whole.truncate(*arguments, **options)

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        """Images [N, 3, resolution, resolution] of codes [N, L, D]."""
        if torch.is_grad_enabled() or not isinstance(noise, str):
            return self.whole.synthesis(w, noise, self.resolution)
        at_once = max(1, PIXELS // self.whole.resolution**2)
        return torch.cat([self.whole.synthesis(part, noise, self.resolution)
                          for part in w.split(at_once)])

    def forward(self, z: Tensor, noise: Noise = "fixed") -> Tensor:
        """Images [N, 3, resolution, resolution] of latents z [N, Z], without truncation."""
        return self.synthesis(self.mapping(z), noise)


class ReducedFeatures(nn.Module):
    """A feature network that sees images as means over squares of `factor` x `factor` pixels."""

    def __init__(self, network: VGG16Features, factor: int):
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, images: Tensor) -> Tensor:
        """Features of images [N, 3, H, W]."""
        return self.network(F.avg_pool2d(images, self.factor))
