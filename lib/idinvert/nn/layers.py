"""Layers shared by the StyleGAN generations: equalised learning rate, noise, filters."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky ReLU with the slope 0.2 used throughout StyleGAN."""
    return F.leaky_relu(x, 0.2)


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale every vector along dimension 1 to a mean square of 1."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + eps)


class EqualLinear(nn.Module):
    """Fully connected layer whose weight is scaled at run time (Karras et al. 2018).

    Args:
        gain: times He's 1 / sqrt(fan_in).
        lr_multiplier: scales weight and bias; below 1, both learn that much more slowly.
        bias_init: bias at the start, in units of the output.
    """

    def __init__(self, inputs: int, outputs: int, gain: float = math.sqrt(2),
                 lr_multiplier: float = 1.0, bias_init: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias_init / lr_multiplier))
        self.scale = gain * lr_multiplier / math.sqrt(inputs)
        self.lr_multiplier = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs] -> [N, outputs]."""
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_multiplier)


class EqualConv(nn.Module):
    """Convolution with run-time weight scaling and 'same' padding, bias optional."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, gain: float = math.sqrt(2),
                 bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[-1] // 2)

    def upsampled(self, x: Tensor) -> Tensor:
        """Nearest-neighbour upsampling by 2, then the convolution, as one transposed convolution.

        Doubling pixels merges the 3x3 taps into a 4x4 stride-2 kernel: 2.25 times fewer products.
        """
        kernel = widen((self.weight * self.scale).flip(2, 3)).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)

    def downsampled(self, x: Tensor) -> Tensor:
        """The convolution, then 2x2 averaging, as one strided convolution."""
        return F.conv2d(x, widen(self.weight * self.scale) / 4, self.bias, stride=2, padding=1)


def widen(kernel: Tensor) -> Tensor:
    """Correlate [.., k, k] kernels with a 2x2 box of ones, giving [.., k + 1, k + 1]."""
    k = F.pad(kernel, (1, 1, 1, 1))
    return k[..., 1:, 1:] + k[..., :-1, 1:] + k[..., 1:, :-1] + k[..., :-1, :-1]


def blur(x: Tensor) -> Tensor:
    """The 3x3 binomial filter [1, 2, 1] x [1, 2, 1] / 16 with zero padding, per channel."""
    return filtered(x, [0.25, 0.5, 0.25], padding=1)


def filtered(x: Tensor, taps: list[float], padding: int = 0) -> Tensor:
    """Correlate every channel with the outer product of `taps` and itself, with zero padding."""
    # Filled in on the device: a list would be copied to it, for which the processor has to wait
    line = torch.stack([x.new_full((), tap) for tap in taps])
    kernel = torch.outer(line, line).expand(x.shape[1], 1, len(taps), len(taps))
    return F.conv2d(x, kernel, padding=padding, groups=x.shape[1])


def minibatch_stddev(x: Tensor, group: int = 4) -> Tensor:
    """Append one channel: the standard deviation over groups of images, averaged (ProGAN).

    A batch that the group size does not divide falls back to one group.
    """
    n, _, h, w = x.shape
    group = group if n % group == 0 else n
    y = x.float().reshape(group, n // group, -1)
    deviation = (y.var(0, correction=0) + 1e-8).sqrt().mean(1)
    channel = deviation.to(x.dtype).repeat(group).reshape(n, 1, 1, 1).expand(n, 1, h, w)
    return torch.cat([x, channel], 1)


def channels_at(resolution: int, base: int, maximum: int) -> int:
    """Feature channels of a layer at this resolution: base / resolution, capped."""
    return min(base // resolution, maximum)


def check_resolution(resolution: int) -> int:
    """Number of 2x blocks from 4 px up to `resolution`; ValueError unless a power of two >= 8."""
    blocks = resolution.bit_length() - 2
    if resolution < 8 or resolution != 2 ** (blocks + 1):
        raise ValueError(f"resolution must be a power of two of at least 8, not {resolution}")
    return blocks
