"""Discriminator that looks at images through frozen VGG-16 features (projected GAN).

A. Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021. What is trained are small heads
with spectral normalisation on three layers of the features; the authors' random mixing of channels
and resolutions is left out, as the first convolution of a head is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .layers import check_resolution
from .vgg import CONVOLUTIONS, VGG16Features

# VGG layer: its channels, and the standard deviation of its features over images of this study
LAYERS = {2: (64, 180.0), 7: (128, 440.0), 14: (256, 540.0)}
PATCHES = 8  # px of the map on which a head ends


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
                ) -> nn.Module:
    """A convolution whose kernel, as a matrix of outputs by inputs, has spectral norm 1."""
    return spectral_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding))


def head(channels: int, width: int, size: int) -> nn.Sequential:
    """Features [N, channels, size, size] -> logits [N, 1, p, p] of overlapping patches."""
    layers = [convolution(channels, width, 1), nn.LeakyReLU(0.2)]
    while size > PATCHES:
        layers += [convolution(width, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        size //= 2
    return nn.Sequential(*layers, convolution(width, width, 3, padding=1), nn.LeakyReLU(0.2),
                         convolution(width, 1, 4))


class Discriminator(nn.Module):
    """Images [N, 3, r, r] in [-1, 1] -> logits [N, P] of P patches, as many of each layer.

    It sees nothing until `look_through` has given it the VGG-16, which is frozen and no part of
    its state.

    Args:
        resolution: image size in pixels, a power of two of at least 16.
        width: channels of a head.
    """

    minibatch_group = 1  # images are judged one by one

    def __init__(self, resolution: int = 64, width: int = 64):
        super().__init__()
        check_resolution(resolution)
        if resolution < 16:
            raise ValueError(f"a projected discriminator needs 16 px or more, not {resolution}")
        self.resolution = resolution
        self.heads = nn.ModuleList(
            head(channels, width, resolution >> i) for i, (channels, _) in
            enumerate(LAYERS.values()))
        self.eyes: tuple[VGG16Features, ...] = ()  # a tuple keeps them out of the state

    def look_through(self, features: VGG16Features) -> Discriminator:
        """Take the features, on the device of the images; returns the discriminator."""
        self.eyes = (features.eval().requires_grad_(False),)
        return self

    def look(self, image: Tensor) -> list[Tensor]:
        """Features [N, C, h, w] of images [N, 3, r, r], which `forward` takes in their place."""
        return self.features.layers(image, LAYERS)

    def look_deeper(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """What `look` gives, and the features of conv4_3, in one pass."""
        *seen, deepest = self.features.layers(image, [*LAYERS, max(CONVOLUTIONS)])
        return seen, deepest

    @property
    def features(self) -> VGG16Features:
        """The VGG-16; RuntimeError if there is none yet."""
        if not self.eyes:
            raise RuntimeError("the discriminator has no features yet: see look_through")
        return self.eyes[0]

    def forward(self, image: Tensor | list[Tensor], lod: float = 0.0) -> Tensor:
        """Logits [N, P]; `lod` must be 0, as images are judged at full size."""
        if lod:
            raise ValueError("a projected discriminator does not grow: lod must be 0")
        seen = self.look(image) if isinstance(image, Tensor) else image
        logits = [head(x / scale) for head, x, (_, scale) in
                  zip(self.heads, seen, LAYERS.values(), strict=True)]
        return torch.cat([x.flatten(1) for x in logits], 1).float()
