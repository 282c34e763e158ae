"""StyleGAN2 generator and discriminator (Karras et al. 2020): weight demodulation, skip outputs."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import network
from .layers import (
    EqualConv,
    EqualLinear,
    channels_at,
    check_resolution,
    filtered,
    leaky_relu,
    minibatch_stddev,
)
from .protocols import Noise
from .stylegan import Generator as StyleGAN
from .stylegan import Mapping, layer_noise

GAIN = math.sqrt(2)  # of every activation: keeps the variance of the leaky ReLU's output


def fir(x: Tensor, pad: tuple[int, int], gain: float = 1.0) -> Tensor:
    """Filter channels with `gain` [1, 3, 3, 1] x [1, 3, 3, 1] / 64; `pad` is (before, after)."""
    taps = [tap * math.sqrt(gain) / 8 for tap in (1.0, 3.0, 3.0, 1.0)]
    return filtered(F.pad(x, (*pad, *pad)), taps)


def upsample(image: Tensor) -> Tensor:
    """Double the pixels of [N, C, H, W]: zeros in between, then the filter."""
    n, c, h, w = image.shape
    spread = image.new_zeros(n, c, h, 2, w, 2)
    spread[:, :, :, 0, :, 0] = image
    return fir(spread.reshape(n, c, 2 * h, 2 * w), (2, 1), gain=4)


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by the style, output channels normalised.

    The normalisation (demodulation) is applied to the output, which is the same as scaling the
    weights of every image and needs no grouped convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, w_dim: int,
                 demodulate: bool = True, up: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.style = EqualLinear(w_dim, inputs, gain=1.0, bias_init=1.0)
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.demodulate, self.up = demodulate, up

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, C, r, r], w [N, D] -> [N, outputs, r or 2r, ..]."""
        style = self.style(w).float()
        weight = self.weight * self.scale
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = fir(x, (1, 1), gain=4)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            norm = torch.rsqrt(style.square() @ weight.float().square().sum((2, 3)).T + 1e-8)
            x = x * norm.to(x.dtype)[:, :, None, None]
        return x


def activate(x: Tensor, clamp: float | None = None) -> Tensor:
    """Leaky ReLU with its gain; values beyond `clamp` are cut off, as networks for float16 do."""
    return clipped(leaky_relu(x) * GAIN, clamp)


def clipped(x: Tensor, clamp: float | None) -> Tensor:
    """Values cut off beyond -clamp and clamp, or as they are if that is None."""
    return x if clamp is None else x.clamp(-clamp, clamp)


class StyledLayer(nn.Module):
    """Modulated convolution, then noise of one learned strength, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int, up: bool,
                 clamp: float | None = None):
        super().__init__()
        self.clamp = clamp
        self.conv = ModulatedConv(inputs, outputs, 3, w_dim, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """x [N, C, r, r], w [N, D] -> [N, outputs, r or 2r, ..]."""
        x = self.conv(x, w)
        bias = self.bias.reshape(1, -1, 1, 1)
        if noise is not None:
            bias = bias + noise * self.noise_strength
        return activate(x + bias.to(x.dtype), self.clamp)


class ToRGB(nn.Module):
    """One modulated 1x1 convolution without normalisation, added to the image so far."""

    def __init__(self, inputs: int, w_dim: int, clamp: float | None = None):
        super().__init__()
        self.clamp = clamp
        self.conv = ModulatedConv(inputs, 3, 1, w_dim, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor, image: Tensor | None) -> Tensor:
        """Images [N, 3, r, r] of x [N, C, r, r] and w [N, D], plus those of r / 2 px enlarged."""
        y = clipped(self.conv(x, w).float() + self.bias.reshape(1, 3, 1, 1), self.clamp)
        return y if image is None else y + upsample(image)


@network("stylegan2.Generator")
class Generator(nn.Module):
    """StyleGAN2 generator.

    A code has 2 log2(resolution) - 2 layers: a block's output layer shares its code with the first
    convolution of the next block.

    Args:
        mapping_depth: number of layers of the mapping network.
        clamp: bound of every layer's values, or None.
        others: as for `stylegan.Generator`.
    """

    def __init__(self, resolution: int = 64, z_dim: int = 64, w_dim: int = 64,
                 channel_base: int = 2048, channel_max: int = 128,
                 mapping_hidden: int | None = None, layerwise: bool = False,
                 mapping_depth: int = 8, clamp: float | None = None):
        super().__init__()
        blocks = check_resolution(resolution)
        self.resolution, self.num_layers = resolution, 2 * blocks
        self.z_dim, self.w_dim, self.layerwise = z_dim, w_dim, layerwise
        channels = [channels_at(4 << b, channel_base, channel_max) for b in range(blocks)]
        self.mapping = Mapping(z_dim, w_dim, self.num_layers, layerwise, mapping_depth,
                               mapping_hidden, gain=1.0, activation_gain=GAIN)
        self.register_buffer("w_avg", torch.zeros(self.num_layers, w_dim))
        self.const = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.layers = nn.ModuleList([StyledLayer(channels[0], channels[0], w_dim, 4, False, clamp)])
        for b in range(1, blocks):
            for inputs, up in ((channels[b - 1], True), (channels[b], False)):
                self.layers.append(StyledLayer(inputs, channels[b], w_dim, 4 << b, up, clamp))
        self.to_rgb = nn.ModuleList(ToRGB(c, w_dim, clamp) for c in channels)

    truncate = StyleGAN.truncate

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        """Render codes [N, L, D] to images [N, 3, r, r]; see `stylegan.Generator.synthesis`."""
        x, image = self.const.expand(len(w), -1, -1, -1), None
        for i, layer in enumerate(self.layers):
            x = layer(x, w[:, i], layer_noise(layer.noise, noise, i, len(w)))
            if i % 2 == 0:
                image = self.to_rgb[i // 2](x, w[:, i + 1], image)
        return image

    def forward(self, z: Tensor, noise: Noise = "fixed") -> Tensor:
        """Images [N, 3, r, r] of latents z [N, Z], without truncation."""
        return self.synthesis(self.mapping(z), noise)


class ResidualBlock(nn.Module):
    """Two convolutions, the second strided after the filter, and a filtered 1x1 shortcut."""

    def __init__(self, inputs: int, outputs: int, clamp: float | None = None):
        super().__init__()
        self.clamp = clamp
        self.conv = EqualConv(inputs, inputs, gain=1.0)
        self.conv_down = EqualConv(inputs, outputs, gain=1.0)
        self.skip = EqualConv(inputs, outputs, kernel=1, gain=1.0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / 2, W / 2]."""
        skip = F.conv2d(fir(x, (1, 1)), self.skip.weight * self.skip.scale, stride=2)
        x = activate(self.conv(x), self.clamp)
        down = self.conv_down
        x = F.conv2d(fir(x, (2, 2)), down.weight * down.scale, down.bias, stride=2)
        return (activate(x, self.clamp) + skip) / math.sqrt(2)


@network("stylegan2.Discriminator")
class Discriminator(nn.Module):
    """StyleGAN2 residual discriminator: images [N, 3, r, r] in [-1, 1] -> logits [N].

    Args:
        clamp: as for the generator.
        minibatch_group: number of images over which the deviation is taken.
    """

    def __init__(self, resolution: int = 64, channel_base: int = 2048, channel_max: int = 128,
                 clamp: float | None = None, minibatch_group: int = 4):
        super().__init__()
        blocks = check_resolution(resolution)
        self.resolution, self.clamp, self.minibatch_group = resolution, clamp, minibatch_group
        channels = [channels_at(4 << b, channel_base, channel_max) for b in range(blocks)]
        self.from_rgb = EqualConv(3, channels[-1], kernel=1, gain=1.0)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels[b], channels[b - 1], clamp) for b in range(blocks - 1, 0, -1)
        )
        self.conv = EqualConv(channels[0] + 1, channels[0], gain=1.0)
        self.dense = EqualLinear(channels[0] * 16, channels[0], gain=1.0)
        self.output = EqualLinear(channels[0], 1, gain=1.0)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [N] of images [N, 3, r, r]."""
        x = activate(self.from_rgb(image), self.clamp)
        for block in self.blocks:
            x = block(x)
        x = activate(self.conv(minibatch_stddev(x, self.minibatch_group)), self.clamp)
        x = activate(self.dense(x.flatten(1)))
        return self.output(x).squeeze(1).float()
