"""The paper's 14-layer encoder ("base"), as the published inference code has it.

One convolution, a residual block of two convolutions after each halving of the image down to
4 px, and one fully connected layer: 14 weighted layers at 256 px, 10 at 64 px.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import network
from .layers import check_resolution, leaky_relu
from .protocols import Noise


def batch_norm(channels: int, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """Batch norm with decay 0.9 whose scale stays at 1, as in the published encoder."""
    norm = kind(channels, eps=1e-5, momentum=0.1)
    norm.weight.requires_grad_(False)
    return norm


class ConvNorm(nn.Module):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self.norm = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        return leaky_relu(self.norm(self.conv(x)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution if the width changes."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        hidden = min(inputs, outputs)
        self.shortcut = ConvNorm(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.body = nn.Sequential(
            ConvNorm(inputs, hidden, 3, bias=True), ConvNorm(hidden, outputs, 3, bias=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        return self.body(x) + self.shortcut(x)


class CodeEncoder(nn.Module, ABC):
    """What every encoder shares: images [N, 3, r, r] in [-1, 1] -> codes [N, L, D].

    A backbone is a subclass, decorated with `network`: its constructor makes the layers, then calls
    `add_head`; its method `features` applies them.
    """

    def __init__(self, resolution: int, w_dim: int):
        super().__init__()
        self.resolution, self.w_dim = resolution, w_dim
        self.num_layers = 2 * check_resolution(resolution)

    def add_head(self, channels: int, w_avg: Tensor | None, w_std: Tensor | None) -> None:
        """One fully connected layer on features of 4x4 px, batch norm, scale, average code.

        channels: of the last features.
        w_avg: average code [L, D] to which the output is added (Eq. 6); None leaves it out.
        w_std: scale [L, D] of the output; None leaves it at 1, as published. The last batch norm
            gives each number of a code unit variance over the images, so that the codes of images
            spread as sampled ones do only if this is the standard deviation of those.
        """
        shape = self.num_layers, self.w_dim
        self.fc = nn.Linear(channels * 16, self.num_layers * self.w_dim, bias=False)
        self.norm = batch_norm(self.num_layers * self.w_dim, nn.BatchNorm1d)
        average = torch.zeros(shape) if w_avg is None else w_avg.detach().clone()
        scale = torch.ones(shape) if w_std is None else w_std.detach().clone()
        self.register_buffer("w_avg", average)
        self.register_buffer("w_std", scale)

    @abstractmethod
    def features(self, image: Tensor) -> list[Tensor]:
        """Features at decreasing resolutions, the last [N, channels, 4, 4]."""

    def code(self, features: Tensor) -> Tensor:
        """Codes [N, L, D] of the last features."""
        x = self.norm(self.fc(features.flatten(1))).float()
        return x.unflatten(1, (self.num_layers, self.w_dim)) * self.w_std + self.w_avg

    def forward(self, image: Tensor) -> Tensor:
        """Codes [N, L, D] of images [N, 3, r, r]."""
        return self.code(self.features(image)[-1])

    def with_noise(self, image: Tensor) -> tuple[Tensor, Noise]:
        """Codes [N, L, D], and the noise to render them with: here the stored maps."""
        return self(image), "fixed"


@network("encoder.Encoder")
class Encoder(CodeEncoder):
    """The paper's encoder "base": images [N, 3, r, r] in [-1, 1] -> codes [N, L, D].

    Args:
        resolution: image size in pixels, a power of two.
        w_dim: dimension D of the code of one layer; there are L = 2 log2(resolution) - 2.
        channel_base, channel_max: channels of the first layer, doubled at every halving up to max.
        w_avg, w_std: see `CodeEncoder.add_head`.
    """

    def __init__(self, resolution: int = 64, w_dim: int = 64, channel_base: int = 32,
                 channel_max: int = 64, w_avg: Tensor | None = None,
                 w_std: Tensor | None = None):
        super().__init__(resolution, w_dim)
        blocks = self.num_layers // 2
        self.channels = [min(channel_base << b, channel_max) for b in range(blocks)]
        self.stem = ConvNorm(3, self.channels[0], 3)
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise(self.channels))
        self.add_head(self.channels[-1], w_avg, w_std)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)

    def features(self, image: Tensor) -> list[Tensor]:
        """Features at r, r / 2, ... 4 px."""
        found = [self.stem(image)]
        for block in self.blocks:
            found.append(block(F.avg_pool2d(found[-1], 2)))
        return found
