"""Small stand-ins for large generators, where a gradient of the whole one would take too long.

`Preview` renders a MobileStyleGAN as far as the features of the wanted size, and a linear map of
them is fitted to its images. What the map misses is some noise and detail: Eq. (4) is minimised
for the preview plus an `offset`, the difference of the true image at an earlier code, which is
renewed every few steps. Where codes rest, the sum is the true image.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert.codes import render
from idinvert.inversion.model import Model
from idinvert.nn.mobilestylegan import Generator, InverseHaar
from idinvert.nn.stylegan import layer_noise

from . import export
from .export import Network, gradient_of

SAMPLES = 24  # images that the linear map is fitted to
RIDGE = 1e-6  # of the mean square of the features


class Preview(nn.Module):
    """Codes [N, L, D] -> images [N, 3, size, size] close to the generator's; see `fit`."""

    def __init__(self, whole: Generator, size: int):
        super().__init__()
        self.size = size
        self.const, self.block = whole.const, (size // 4).bit_length() - 1
        self.layers, self.up = whole.layers[:2 * self.block + 1], whole.up[:self.block + 1]
        channels = self.up[-1].out_features
        self.register_buffer("weight", torch.zeros(3, channels))
        self.register_buffer("bias", torch.zeros(3))

    def features(self, w: Tensor) -> Tensor:
        """What the generator's next block takes, [N, C, size, size]."""
        x = self.const.expand(len(w), -1, -1, -1)
        for i, layer in enumerate(self.layers):
            if i % 2:
                x = InverseHaar.apply(self.scaled(x, w, i))
            x = layer(x, w[:, i], layer_noise(layer.noise, "fixed", i, len(w)))
        return self.scaled(x, w, len(self.layers))

    def scaled(self, x: Tensor, w: Tensor, layer: int) -> Tensor:
        """Features scaled by the code of the block that begins with a layer."""
        return x * self.up[layer // 2](w[:, layer])[:, :, None, None]

    def forward(self, w: Tensor) -> Tensor:
        """Images of codes."""
        return F.conv2d(self.features(w), self.weight[:, :, None, None], self.bias)

    @torch.no_grad()
    def fit(self, codes: Tensor, images: Tensor) -> Preview:
        """Set the linear map to the least-squares one, from codes and their images of any larger
        size; returns itself."""
        channels = self.weight.shape[1] + 1
        squares = torch.zeros(channels, channels, dtype=torch.float64)
        products = torch.zeros(channels, 3, dtype=torch.float64)
        for code, image in zip(codes.split(1), images.split(1)):
            x = F.pad(self.features(code).flatten(2)[0].T, (0, 1), value=1.0).double()
            y = F.adaptive_avg_pool2d(image, self.size).flatten(2)[0].T.double()
            squares += x.T @ x
            products += x.T @ y
        squares += RIDGE * squares.diagonal().mean() * torch.eye(channels)
        found = torch.linalg.solve(squares, products).float()
        self.weight.copy_(found[:-1].T)
        self.bias.copy_(found[-1])
        return self


def preview_of(model: Model, size: int) -> Preview:
    """The preview of a model; ValueError: its generator is no MobileStyleGAN."""
    if not isinstance(model.whole, Generator):
        raise ValueError(f"{model.name} has no preview, which only a MobileStyleGAN has.")
    codes = model.sample(SAMPLES, seed=5)
    return Preview(model.whole, size).fit(codes, render(model.generator, codes, 1))


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Every pixel of [N, C, H, W] as a square of factor x factor."""
    n, c, height, width = x.shape
    squares = x[:, :, :, None, :, None].expand(-1, -1, -1, factor, -1, factor)
    return squares.reshape(n, c, factor * height, factor * width)


def equation4(model: Model, preview: Preview) -> Network:
    """As `export.equation4`, for the enlarged preview plus one more input, `offset`, which has the
    size of images."""
    factor, encoder = model.generator.resolution // preview.size, model.encoder

    def gradient(codes: Tensor, target: Tensor, mask: Tensor, lambda_dom: Tensor, offset: Tensor):
        return gradient_of(lambda w: enlarged(preview(w), factor) + offset, encoder,
                           codes, target, mask, lambda_dom)

    codes = model.sample(1)
    image = render(model.generator, codes)
    whole = export.equation4(model, codes, image)
    return replace(whole, function=gradient,
                   inputs=whole.inputs | {"offset": torch.zeros_like(image)})
