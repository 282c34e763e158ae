"""StyleGAN generator and discriminator (Karras et al. 2019), as in the published inversion code.

`layerwise=True` is the paper's retrained generator (section 6.2): the mapping network yields one
code per layer. Images grow with training through `lod`, the level of detail: 0 is the full
resolution, 1 half of it, and a fraction blends the two.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .architecture import network
from .layers import (
    EqualConv,
    EqualLinear,
    blur,
    channels_at,
    check_resolution,
    leaky_relu,
    minibatch_stddev,
    pixel_norm,
)
from .protocols import Noise

LARGE_MEAN = 5  # in deviations; shipped generators stay below


class Mapping(nn.Module):
    """Mapping network: z [N, Z] -> codes [N, L, D], repeated or one per layer."""

    def __init__(self, z_dim: int, w_dim: int, layers: int, layerwise: bool, depth: int = 8,
                 hidden: int | None = None, lr_multiplier: float = 0.01,
                 gain: float = math.sqrt(2), activation_gain: float = 1.0):
        super().__init__()
        self.layers, self.w_dim, self.layerwise = layers, w_dim, layerwise
        self.activation_gain = activation_gain
        outputs = w_dim * layers if layerwise else w_dim
        sizes = [z_dim] + [hidden or w_dim] * (depth - 1) + [outputs]
        self.dense = nn.ModuleList(
            EqualLinear(a, b, gain, lr_multiplier) for a, b in pairwise(sizes)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Codes [N, L, D] of latents [N, Z]; the length of a latent does not matter."""
        x = pixel_norm(z)
        for layer in self.dense:
            x = leaky_relu(layer(x)) * self.activation_gain
        if self.layerwise:
            return x.unflatten(1, (self.layers, self.w_dim))
        return x.unsqueeze(1).expand(-1, self.layers, -1)


class StyledLayer(nn.Module):
    """Convolution (or the learned constant), then noise, bias, leaky ReLU, AdaIN."""

    def __init__(self, inputs: int, outputs: int, w_dim: int, resolution: int, upsample: bool):
        super().__init__()
        self.upsample = upsample
        self.conv = EqualConv(inputs, outputs, bias=False) if inputs else None
        self.noise_weight = nn.Parameter(torch.zeros(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = EqualLinear(w_dim, 2 * outputs, gain=1.0)
        self.register_buffer("noise", torch.randn(1, 1, resolution, resolution))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """x [N, C, r, r], w [N, D] -> [N, outputs, r or 2r, ..]; noise broadcasts over channels."""
        if self.conv is not None:
            x = blur(self.conv.upsampled(x)) if self.upsample else self.conv(x)
        x = x + self.bias.reshape(1, -1, 1, 1).to(x.dtype)
        if noise is not None:
            weight = self.noise_weight.reshape(1, -1, 1, 1)
            x = torch.addcmul(x, noise.to(x.dtype), weight.to(x.dtype))
        return adain(leaky_relu(x), self.style(w))


def adain(x: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """Normalise every channel of every image [N, C, H, W], then scale and shift it.

    style: [N, 2 C], scales minus 1, then shifts.
    """
    # Statistics over pixels in [N, H * W, C]: on CPUs several times as fast as over H and W.
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    scale, shift = style.to(statistics_type(x)).unflatten(1, (2, 1, -1)).unbind(1)
    pixels = NormaliseAndScale.apply(pixels, scale + 1, shift, eps)
    return pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def statistics_type(x: Tensor) -> torch.dtype:
    """What statistics of a tensor are summed in: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)


def mean_square(x: Tensor) -> Tensor:
    """Mean over the pixels of x^2 [N, P, C], [N, 1, C], at least in float32."""
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=statistics_type(x))
    return norm.square() / x.shape[1]


class NormaliseAndScale(torch.autograd.Function):
    """(x - mean) / deviation * scale + shift over pixels [N, P, C], scale and shift [N, 1, C].

    Memory bounds a generator's speed. The gradient is therefore written out, with sums and products
    of whole tensors only: three times as fast as by automatic differentiation. It takes mean and
    deviation from the forward pass as constants, so it has no derivative itself: a second one is
    an error. The variance is E[x^2] - mean^2, one pass over the pixels, unless a mean is so much
    larger than its deviation that float32 would lose it; then it takes a second pass. On a GPU it
    always does, where asking would make the processor wait.
    """

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
        dtype = statistics_type(x)
        mean = x.mean(1, keepdim=True, dtype=dtype)
        variance = mean_square(x) - mean.square()
        if x.device.type != "cpu" or (mean.square() > LARGE_MEAN**2 * variance).any():
            variance = mean_square(x - mean)
        inverse = torch.rsqrt(variance.clamp_min(0) + eps)
        ctx.save_for_backward(x, mean, inverse, scale)
        scale = scale * inverse
        return torch.addcmul((shift - mean * scale).to(x.dtype), x, scale.to(x.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, inverse, scale = ctx.saved_tensors
        d_shift = gradient.sum(1, keepdim=True, dtype=mean.dtype)
        d_scale = ((gradient * x).sum(1, keepdim=True, dtype=mean.dtype) - mean * d_shift) * inverse
        # d_x = scale / deviation (g - mean of g - y mean of g y), y being normalised x
        scale = scale * inverse
        of_x = -scale * inverse * d_scale / x.shape[1]
        constant = -scale * d_shift / x.shape[1] - of_x * mean
        d_x = torch.addcmul(constant.to(x.dtype), x, of_x.to(x.dtype))
        return torch.addcmul(d_x, gradient, scale.to(x.dtype)), d_scale, d_shift, None


@network("stylegan.Generator")
class Generator(nn.Module):
    """StyleGAN generator.

    Args:
        resolution: image size in pixels, a power of two; there are 2 log2(resolution) - 2 layers.
        z_dim, w_dim: dimension of the latent and of the code of one layer.
        channel_base, channel_max: a layer at r px has min(base / r, max) channels.
        mapping_hidden: width of the mapping network; None: w_dim.
        layerwise: the mapping network yields one code per layer (section 6.2).
        tanh: whether a hyperbolic tangent bounds the image, as in the published face generator.
    """

    grows = True  # has images of lower resolution, by `lod`

    def __init__(self, resolution: int = 64, z_dim: int = 64, w_dim: int = 64,
                 channel_base: int = 2048, channel_max: int = 128,
                 mapping_hidden: int | None = None, layerwise: bool = False, tanh: bool = False):
        super().__init__()
        blocks = check_resolution(resolution)
        self.resolution, self.num_layers, self.tanh = resolution, 2 * blocks, tanh
        self.z_dim, self.w_dim, self.layerwise = z_dim, w_dim, layerwise
        channels = [channels_at(4 << b, channel_base, channel_max) for b in range(blocks)]
        self.mapping = Mapping(z_dim, w_dim, self.num_layers, layerwise, hidden=mapping_hidden)
        self.register_buffer("w_avg", torch.zeros(self.num_layers, w_dim))
        self.const = nn.Parameter(torch.ones(1, channels[0], 4, 4))
        self.layers = nn.ModuleList()
        for b, width in enumerate(channels):
            inputs = channels[b - 1] if b else 0
            self.layers.append(StyledLayer(inputs, width, w_dim, 4 << b, upsample=True))
            self.layers.append(StyledLayer(width, width, w_dim, 4 << b, upsample=False))
        self.to_rgb = nn.ModuleList(EqualConv(c, 3, kernel=1, gain=1.0) for c in channels)

    def truncate(self, w: Tensor, psi: float | Tensor = 0.7, layers: int = 8) -> Tensor:
        """Pull the first `layers` codes towards the average: w_avg + psi (w - w_avg)."""
        pulled = torch.lerp(self.w_avg.expand_as(w), w, psi)
        return torch.cat([pulled[:, :layers], w[:, layers:]], 1)

    def synthesis(self, w: Tensor, noise: Noise = "fixed", lod: float = 0.0) -> Tensor:
        """Render codes [N, L, D] to images [N, 3, r, r], nominally in [-1, 1].

        noise: "fixed" (the stored maps), "random", "none", or one map [N or 1, 1, r, r] a layer,
            None standing for the stored one.
        lod: level of detail; at k, the image has r / 2^k px.
        """
        x = self.const.expand(len(w), -1, -1, -1)
        blocks = len(self.to_rgb)
        top = blocks - 1 - math.floor(lod)
        image = None
        for i, layer in enumerate(self.layers[: 2 * top + 2]):
            x = layer(x, w[:, i], layer_noise(layer.noise, noise, i, len(w)))
            if i == 2 * top - 1 and lod % 1:
                image = upsample(self.to_rgb[top - 1](x))
        current = self.to_rgb[top](x)
        image = current if image is None else torch.lerp(current, image, lod % 1)
        return (image.tanh() if self.tanh else image).float()

    def forward(self, z: Tensor, noise: Noise = "fixed", lod: float = 0.0) -> Tensor:
        """Images [N, 3, r, r] of latents z [N, Z], without truncation."""
        return self.synthesis(self.mapping(z), noise, lod)


def upsample(image: Tensor) -> Tensor:
    """Double the pixels of [N, C, H, W]."""
    return F.interpolate(image, scale_factor=2, mode="nearest")


def layer_noise(stored: Tensor, noise: Noise, index: int, batch: int) -> Tensor | None:
    """The noise map of one layer for the choices of `Generator.synthesis`."""
    if not isinstance(noise, str):
        return stored if noise[index] is None else noise[index]
    if noise == "fixed":
        return stored
    if noise == "random":
        return torch.randn(batch, *stored.shape[1:], device=stored.device)
    if noise == "none":
        return None
    raise ValueError(f'noise must be "fixed", "random", "none" or a list of maps, not {noise!r}')


class DiscriminatorBlock(nn.Module):
    """Two convolutions; the second one blurs first and halves the resolution."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = EqualConv(inputs, inputs)
        self.conv_down = EqualConv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / 2, W / 2]."""
        x = leaky_relu(self.conv(x))
        return leaky_relu(self.conv_down.downsampled(blur(x)))


@network("stylegan.Discriminator")
class Discriminator(nn.Module):
    """StyleGAN discriminator: images [N, 3, r, r] in [-1, 1] -> logits [N]."""

    minibatch_group = 4  # images over which the deviation is taken
    grows = True  # judges images of lower resolution, by `lod`

    def __init__(self, resolution: int = 64, channel_base: int = 2048, channel_max: int = 128):
        super().__init__()
        blocks = check_resolution(resolution)
        self.resolution = resolution
        channels = [channels_at(4 << b, channel_base, channel_max) for b in range(blocks)]
        self.from_rgb = nn.ModuleList(EqualConv(3, c, kernel=1) for c in channels)
        self.blocks = nn.ModuleList(
            DiscriminatorBlock(channels[b], channels[b - 1]) for b in range(1, blocks)
        )
        self.conv = EqualConv(channels[0] + 1, channels[0])
        self.dense = EqualLinear(channels[0] * 16, channels[0])
        self.output = EqualLinear(channels[0], 1, gain=1.0)

    def forward(self, image: Tensor, lod: float = 0.0) -> Tensor:
        """Logits [N] of images [N, 3, r / 2^lod, r / 2^lod]; `lod` as in the generator."""
        top = len(self.blocks) - math.floor(lod)
        x = leaky_relu(self.from_rgb[top](image))
        for b in range(top - 1, -1, -1):
            x = self.blocks[b](x)
            if b == top - 1 and lod % 1:
                small = leaky_relu(self.from_rgb[b](F.avg_pool2d(image, 2)))
                x = torch.lerp(x, small.to(x.dtype), lod % 1)
        x = leaky_relu(self.conv(minibatch_stddev(x, self.minibatch_group)))
        x = leaky_relu(self.dense(x.flatten(1)))
        return self.output(x).squeeze(1).float()
