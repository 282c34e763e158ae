"""MobileStyleGAN generator (Belousov, arXiv 2104.04767): a StyleGAN2 distilled for small machines.

Convolutions are depthwise separable, their normalisation (demodulation) is a constant, and each
block doubles the resolution by an inverse Haar transform instead of a transposed convolution; the
image is the inverse transform of 12 channels. As it shares its teacher's mapping network, its W
space is that of the StyleGAN2.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import network
from .layers import channels_at, check_resolution
from .protocols import Noise
from .stylegan import Generator as StyleGAN
from .stylegan import Mapping, layer_noise


def haar(x: Tensor) -> Tensor:
    """Haar transform: [N, C, 2r, 2r] to the bands [N, 4C, r, r].

    They are the mean of each 2x2 square, times two, then the differences from row to row, from
    column to column, and diagonally, each C channels. The transform is orthonormal.
    """
    n, c, height, width = x.shape
    squares = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, c)
    (a, b), (d, e) = (row.unbind(3) for row in squares.unbind(2))
    bands = x.new_empty(n, height // 2, width // 2, 4, c)
    upper, lower, across, below = (a + b).mul_(0.5), (d + e).mul_(0.5), a - b, d - e
    torch.add(upper, lower, out=bands[:, :, :, 0])
    torch.sub(upper, lower, out=bands[:, :, :, 1])
    torch.add(across.mul_(0.5), below.mul_(0.5), out=bands[:, :, :, 2])
    torch.sub(across, below, out=bands[:, :, :, 3])
    return bands.flatten(3).permute(0, 3, 1, 2)


def inverse_haar(bands: Tensor) -> Tensor:
    """The image [N, C, 2r, 2r] of which `haar` gives the bands [N, 4C, r, r]."""
    n, c, height, width = bands.shape
    low, rows, columns, both = bands.permute(0, 2, 3, 1).unflatten(3, (4, c // 4)).unbind(3)
    x = bands.new_empty(n, height, 2, width, 2, c // 4)
    for p, (mean, difference) in enumerate((((low + rows), (columns + both)),
                                            ((low - rows), (columns - both)))):
        mean.mul_(0.5), difference.mul_(0.5)
        torch.add(mean, difference, out=x[:, :, p, :, 0])
        torch.sub(mean, difference, out=x[:, :, p, :, 1])
    return x.reshape(n, 2 * height, 2 * width, c // 4).permute(0, 3, 1, 2)


class InverseHaar(torch.autograd.Function):
    """`inverse_haar`; the transform is orthonormal, so that its gradient is `haar`."""

    @staticmethod
    def forward(ctx, bands: Tensor) -> Tensor:
        return inverse_haar(bands)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return Haar.apply(gradient)


class Haar(torch.autograd.Function):
    """`haar`, whose gradient is `inverse_haar`."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return haar(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return InverseHaar.apply(gradient)


def pixels(x: Tensor) -> Tensor:
    """[N, C, H, W] as a matrix of pixels [N, HW, C]; a view where channels lie together."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def image_of(pixels: Tensor, shape: tuple[int, int]) -> Tensor:
    """Pixels [N, HW, C] as [N, C, H, W]."""
    return pixels.unflatten(1, shape).permute(0, 3, 1, 2)


class Style(nn.Linear):
    """The scale of each channel, from a code: [N, D] -> [N, C]; under autocast too in float32."""

    def __init__(self, w_dim: int, channels: int, scale: float = 1.0):
        super().__init__(w_dim, channels)
        nn.init.normal_(self.weight, std=scale / math.sqrt(w_dim))
        nn.init.constant_(self.bias, scale)

    def forward(self, w: Tensor) -> Tensor:
        with torch.autocast(w.device.type, enabled=False):
            return super().forward(w.to(self.weight.dtype))


class StyledLayer(nn.Module):
    """Inputs scaled by the style, convolution, noise, bias, leaky ReLU.

    The convolution is depthwise separable but in the first layer, which has a full one.
    """

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int, full: bool = False):
        super().__init__()
        self.style = Style(w_dim, inputs, 1 / math.sqrt(9 * inputs))
        if full:
            self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        else:
            self.depthwise = nn.Parameter(torch.randn(inputs, 1, 3, 3))
            self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.full = full
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """x [N, C, r, r], w [N, D] -> [N, outputs, r, r]."""
        x = x * self.style(w).to(x.dtype)[:, :, None, None]
        if self.full:
            x = F.conv2d(x, self.weight, self.bias, padding=1)
        else:
            x = F.conv2d(x, self.depthwise, padding=1, groups=x.shape[1])
            x = F.conv2d(x, self.weight[:, :, None, None], self.bias)
        # In place: what bounds the speed at high resolutions is to pass over new memory
        if noise is not None:
            x = x.add_((noise * self.noise_strength).to(x.dtype))
        return F.leaky_relu_(x, 0.2)


@network("mobilestylegan.Generator")
class Generator(nn.Module):
    """MobileStyleGAN generator; its defaults are the sizes of the FFHQ one.

    Args:
        resolution: image size in pixels, a power of two; there are 2 log2(resolution) - 4 layers.
        z_dim, w_dim: dimension of the latent and of the code of one layer.
        channel_base, channel_max: features at r px have min(base / r, max) channels.
        layerwise: the mapping network yields one code per layer (section 6.2).

    Codes: the first layer of `layers` takes the first, the output takes the last.
    """

    def __init__(self, resolution: int = 1024, z_dim: int = 512, w_dim: int = 512,
                 channel_base: int = 32768, channel_max: int = 512, layerwise: bool = False):
        super().__init__()
        sizes = [4 << b for b in range(check_resolution(resolution) - 1)]  # of features, in px
        channels = [channels_at(size, channel_base, channel_max) for size in sizes]
        if any(c < 4 or c % 4 for c in channels):
            raise ValueError(f"Each layer needs a multiple of four channels, not {channels}: "
                             "raise channel_base or channel_max.")
        self.resolution, self.num_layers = resolution, 2 * len(sizes)
        self.z_dim, self.w_dim, self.layerwise = z_dim, w_dim, layerwise
        self.mapping = Mapping(z_dim, w_dim, self.num_layers, layerwise, gain=1.0,
                               activation_gain=math.sqrt(2))
        self.register_buffer("w_avg", torch.zeros(self.num_layers, w_dim))
        self.const = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.layers = nn.ModuleList([StyledLayer(channels[0], channels[0], w_dim, 4, full=True)])
        self.up = nn.ModuleList(Style(w_dim, c) for c in channels[:-1])
        for size, inputs, outputs in zip(sizes[1:], channels, channels[1:]):
            self.layers.append(StyledLayer(inputs // 4, outputs, w_dim, size))
            self.layers.append(StyledLayer(outputs, outputs, w_dim, size))
        self.to_bands = nn.Parameter(torch.randn(12, channels[-1]))
        self.to_bands_style = Style(w_dim, channels[-1], 1 / math.sqrt(channels[-1]))
        self.to_bands_bias = nn.Parameter(torch.zeros(12))

    truncate = StyleGAN.truncate

    def synthesis(self, w: Tensor, noise: Noise = "fixed", size: int | None = None) -> Tensor:
        """Render codes [N, L, D] to images [N, 3, size, size], nominally in [-1, 1].

        noise: "fixed" (the stored maps), "random", "none", or one map [N or 1, 1, r, r] for each
        of `layers`, None standing for the stored one.
        size: less than the resolution gives the mean over squares of its pixels; this costs less
        than to render the image and to reduce it, and gives the same.

        ValueError: a size that does not divide the resolution.
        """
        size = size or self.resolution
        if size < 1 or self.resolution % size:
            raise ValueError(f"Images of {self.resolution} px cannot be reduced to {size} px: "
                             "the size must divide the resolution.")
        x = self.const.expand(len(w), -1, -1, -1)
        for i, layer in enumerate(self.layers):
            if i % 2:  # the first of a block
                x = InverseHaar.apply(x * self.up[i // 2](w[:, i]).to(x.dtype)[:, :, None, None])
            x = layer(x, w[:, i], layer_noise(layer.noise, noise, i, len(w)))
        return self.image(x, w[:, -1], size)

    def image(self, x: Tensor, w: Tensor, size: int) -> Tensor:
        """Images [N, 3, size, size] of the last features [N, C, r/2, r/2], and codes [N, D]."""
        with torch.autocast(x.device.type, enabled=False):
            weight = self.to_bands * self.to_bands_style(w)[:, None]
            if size == self.resolution:
                bands = pixels(x.to(weight.dtype)) @ weight.transpose(1, 2) + self.to_bands_bias
                return InverseHaar.apply(image_of(bands, x.shape[2:])).contiguous()
            # Twice the mean of 2x2 pixels is the first band; the mean passes through the matrix
            x = F.avg_pool2d(x, self.resolution // 2 // size).to(weight.dtype)
            low = pixels(x) @ (weight[:, :3] / 2).transpose(1, 2) + self.to_bands_bias[:3] / 2
            return image_of(low, x.shape[2:]).contiguous()

    def forward(self, z: Tensor, noise: Noise = "fixed") -> Tensor:
        """Images [N, 3, r, r] of latents z [N, Z], without truncation."""
        return self.synthesis(self.mapping(z), noise)
