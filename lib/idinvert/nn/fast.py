"""Frozen networks whose passes there and back, to the gradient of their input, cost less.

`accelerated` gives the equivalent of a network. Whatever depends on its weights alone is computed
once: kernels merged, scaled, cast to bfloat16 and laid out for the processor, batch norms folded
into convolutions, noise and bias added up. A class of networks of which nothing is known runs as it
is, in bfloat16; `accelerated.register` adds one, as at the end of this file.
"""

from __future__ import annotations

import copy
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from . import stylegan
from .encoder import CodeEncoder, ConvNorm
from .layers import blur, widen
from .protocols import Noise
from .reduced import ReducedFeatures
from .vgg import CONVOLUTIONS, POOLED_BEFORE, VGG16Features


class Accelerated(nn.Module):
    """Stands in for a frozen network, of which it has all attributes.

    Where gradients are wanted, the equivalent network computes, in `dtype`; elsewhere the network
    itself does, so that codes to start from and images to keep are exact. Weights that change
    later are not seen.
    """

    def __init__(self, network: nn.Module, equivalent: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.network, self.equivalent, self.dtype = network, equivalent, dtype

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.network, name)

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        """Images of codes, as the network's; fast with the stored noise."""
        if not torch.is_grad_enabled() or noise != "fixed":
            return self.network.synthesis(w, noise)
        with self.autocast(w):
            return self.equivalent.synthesis(w).float()

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return self.network(x)
        with self.autocast(x):
            return self.equivalent(x).float()

    def autocast(self, x: Tensor) -> torch.autocast:
        """Products in `dtype`, where that is not float32."""
        return torch.autocast(x.device.type, torch.bfloat16, enabled=self.dtype != torch.float32)


def accelerated(network: nn.Module, dtype: torch.dtype = torch.bfloat16) -> Accelerated:
    """A frozen network in eval mode, equivalent but for rounding, which costs less.

    dtype: of convolutions; float32 gives the network's numbers but for the order of sums.
    """
    with torch.no_grad():
        return Accelerated(network, equivalent(network, dtype), dtype).eval()


@singledispatch
def equivalent(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network that an `Accelerated` one of a class runs; by default the network itself."""
    return network


class Features(nn.Sequential):
    """`VGG16Features` whose ReLUs write over what they read."""

    def __init__(self, network: VGG16Features):
        layers = []
        for number in CONVOLUTIONS:
            if number in POOLED_BEFORE:
                layers.append(nn.MaxPool2d(2))
            layers += [getattr(network, f"layer{number}"), nn.ReLU(inplace=True)]
        super().__init__(*layers)
        self.register_buffer("means", network.means)

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, 512, H // 8, W // 8] of images [N, 3, H, W]."""
        return super().forward((images.flip(1) + 1) * 127.5 - self.means)


@equivalent.register
def of_features(network: VGG16Features, dtype: torch.dtype) -> nn.Module:
    """VGG-16 with weights cast once."""
    return cast(Features(copy.deepcopy(network)), dtype)


@equivalent.register
def of_reduced_features(network: ReducedFeatures, dtype: torch.dtype) -> nn.Module:
    """The same of smaller images."""
    return ReducedFeatures(equivalent(network.network, dtype), network.factor)


@equivalent.register
def of_encoder(network: CodeEncoder, dtype: torch.dtype) -> nn.Module:
    """An encoder whose batch norms are part of its convolutions and of its last layer."""
    network = copy.deepcopy(network).eval()
    for part in network.modules():
        if isinstance(part, ConvNorm):
            part.conv, part.norm = fuse_conv_bn_eval(part.conv, part.norm), nn.Identity()
    network.fc, network.norm = fuse_linear_bn_eval(network.fc, network.norm), nn.Identity()
    cast(network, dtype)
    network.fc = TwoWayLinear(network.fc)
    return network


def cast(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network, its convolutions and linear layers in a type and laid out by pixels."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            part.to(dtype=dtype, memory_format=torch.channels_last)
        elif isinstance(part, nn.Linear):
            part.to(dtype)
    return network.requires_grad_(False)


class TwoWayLinear(nn.Module):
    """A linear layer that has its weight in the order of memory that either direction reads best.

    With few images, reading the weights of the published encoder is all that it costs.
    """

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.register_buffer("weight", layer.weight.detach())
        self.register_buffer("transposed", layer.weight.detach().T.contiguous())
        self.register_buffer("bias", layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs] -> [N, outputs]."""
        return LinearThereAndBack.apply(x, self.weight, self.bias, self.transposed)


class LinearThereAndBack(torch.autograd.Function):
    """`F.linear`, with the transposed weight for the gradient of its input."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, transposed: Tensor) -> Tensor:
        ctx.save_for_backward(transposed)
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        transposed, = ctx.saved_tensors
        return F.linear(gradient.to(transposed.dtype), transposed), None, None, None


# --- StyleGAN -------------------------------------------------------------------------------------


class StyledLayer(nn.Module):
    """`stylegan.StyledLayer` with its stored noise; what does not depend on the code is ready."""

    def __init__(self, layer: stylegan.StyledLayer, dtype: torch.dtype):
        super().__init__()
        self.upsample, kernel = layer.upsample, None
        if layer.conv is not None:
            kernel = layer.conv.weight * layer.conv.scale
            if layer.upsample:
                kernel = widen(kernel.flip(2, 3)).transpose(0, 1)
            kernel = by_pixels(kernel, dtype)
        weight, bias = (x.reshape(1, -1, 1, 1) for x in (layer.noise_weight, layer.bias))
        self.register_buffer("kernel", kernel)
        self.register_buffer("added", by_pixels(bias + layer.noise * weight, dtype))
        self.register_buffer("style", layer.style.weight * layer.style.scale)
        self.register_buffer("style_bias", layer.style.bias * layer.style.lr_multiplier)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, C, r, r], w [N, D] -> [N, outputs, r or 2r, ..]."""
        if self.kernel is None:
            x = x + self.added
        elif self.upsample:
            x = blur(F.conv_transpose2d(x, self.kernel, stride=2, padding=1)).add_(self.added)
        else:
            x = F.conv2d(x, self.kernel, padding=1).add_(self.added)
        with torch.autocast(w.device.type, enabled=False):
            return adain(F.leaky_relu_(x, 0.2), F.linear(w, self.style, self.style_bias))


def by_pixels(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor [.., .., H, W] in a type, the channels of a pixel side by side."""
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def adain(x: Tensor, style: Tensor, eps: float = 1e-8) -> Tensor:
    """`stylegan.adain` by the batch norm of each image, which reads its pixels less often."""
    scale, shift = style.unflatten(1, (2, -1)).unbind(1)
    # `split` and `cat` keep the layout of pixels in both directions, `unbind` and `stack` do not
    return torch.cat([F.batch_norm(image, None, None, own_scale + 1, own_shift, True, 0, eps)
                      for image, own_scale, own_shift in zip(x.split(1), scale, shift)])


class Synthesis(nn.Module):
    """The synthesis network of `stylegan.Generator`, at full resolution with the stored noise."""

    def __init__(self, generator: stylegan.Generator, dtype: torch.dtype):
        super().__init__()
        self.tanh = generator.tanh
        self.register_buffer("const", generator.const.clone())
        first, *others = generator.layers
        self.layers = nn.ModuleList([StyledLayer(first, torch.float32),
                                     *(StyledLayer(layer, dtype) for layer in others)])
        to_rgb = generator.to_rgb[-1]
        self.register_buffer("to_rgb", (to_rgb.weight * to_rgb.scale).flatten(1).to(dtype))
        self.register_buffer("to_rgb_bias", to_rgb.bias.to(dtype))

    def synthesis(self, w: Tensor) -> Tensor:
        """Images [N, 3, r, r] of codes [N, L, D]."""
        x = self.const.expand(len(w), -1, -1, -1)
        for layer, code in zip(self.layers, w.unbind(1)):
            x = layer(x, code)
        pixels = F.linear(x.permute(0, 2, 3, 1), self.to_rgb, self.to_rgb_bias)
        image = pixels.permute(0, 3, 1, 2).float()
        return image.tanh() if self.tanh else image


@equivalent.register
def of_stylegan(network: stylegan.Generator, dtype: torch.dtype) -> nn.Module:
    """The generator's synthesis network with kernels, noise and bias made ready."""
    return Synthesis(network, dtype)
