"""Discriminator that judges the features of a frozen VGG-16 (projected GAN).

A. Sauer et al., "Projected GANs Converge Faster", NeurIPS 2021. Small heads with spectral
normalisation are trained on three layers of the features. The authors' fixed random mixing of
channels and resolutions is left out: here the first convolution of a head is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from .architecture import network
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


@network("projected.Discriminator")
class Discriminator(nn.Module):
    """Images [N, 3, r, r] in [-1, 1] -> logits [N, P] of P patches, as many of each layer.

    It needs a VGG-16, see `attach`, which is frozen and not part of its state.

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
        self.attached: tuple[VGG16Features, ...] = ()  # a tuple keeps it out of the state

    def attach(self, vgg: VGG16Features) -> Discriminator:
        """Take features from this VGG-16, on the device of the images; returns the discriminator.
        """
        self.attached = (vgg.eval().requires_grad_(False),)
        return self

    @property
    def vgg(self) -> VGG16Features:
        """The attached VGG-16; RuntimeError: none is attached."""
        if not self.attached:
            raise RuntimeError("The discriminator has no VGG-16 yet: call attach(vgg).")
        return self.attached[0]

    def features(self, image: Tensor) -> list[Tensor]:
        """The features that the heads judge, [N, C, h, w] of three layers, of images
        [N, 3, r, r]."""
        return self.vgg.layers(image, LAYERS)

    def features_and_conv4_3(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """`features`, and those of conv4_3 for the perceptual term, in one pass."""
        *found, conv4_3 = self.vgg.layers(image, [*LAYERS, max(CONVOLUTIONS)])
        return found, conv4_3

    def forward(self, image: Tensor | list[Tensor]) -> Tensor:
        """Logits [N, P] of images [N, 3, r, r], or of what `features` gave for them."""
        features = self.features(image) if isinstance(image, Tensor) else image
        logits = [head(x / scale) for head, x, (_, scale) in
                  zip(self.heads, features, LAYERS.values(), strict=True)]
        return torch.cat([x.flatten(1) for x in logits], 1).float()
