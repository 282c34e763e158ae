"""Previews of what a large generator renders, where the whole one would take too long.

A MobileStyleGAN is cut at its features of half the wanted size, and a linear map of them to the
bands of a Haar transform is fitted to images. The map fitted to one image gives images of codes
nearby, in less than half the time: a page shows such a preview of an edit, and then goes on from
the features to the true image. Its gradients are useless, as it knows no other images. Eq. (4) is
minimised for another preview, without detail, whose map is fitted to many images; plus an `offset`,
the difference of the true image at an earlier code, which is renewed every few steps. Where codes
rest, the sum is the true image.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import onnx.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from idinvert.codes import render
from idinvert.inversion.model import Model
from idinvert.nn.mobilestylegan import Generator, Haar, InverseHaar
from idinvert.nn.stylegan import layer_noise

from . import export
from .export import Network, gradient_of

SAMPLES = 24  # images to which the map of Eq. (4) is fitted
RIDGE = 0.01  # of each feature's square, that is added to the normal equations
EVERY = 2  # pixels in each direction, of which the map is fitted to one
# Inputs and outputs of the parts into which the graph of `Halves.generator` is cut
PARTS = {"coarse": (["codes"], ["features"]), "preview": (["features", "map"], ["preview"]),
         "fine": (["features", "codes"], ["image", "offset", "squares", "products"])}


class Halves:
    """A model's generator, cut at its features of half the size of its images.

    ValueError: it is no MobileStyleGAN.
    """

    def __init__(self, model: Model):
        if not isinstance(model.whole, Generator):
            raise ValueError(f"{model.name} has no preview, which only a MobileStyleGAN has.")
        self.model, self.whole, self.size = model, model.whole, model.generator.resolution
        self.seen = 2 * ((self.size // 8).bit_length() - 1) + 1  # layers of the first half

    def features(self, w: Tensor) -> Tensor:
        """Codes [N, L, D] -> what the second half takes, [N, C, size / 2, size / 2]."""
        return self.through(self.whole.const.expand(len(w), -1, -1, -1), w, 0, self.seen)

    def through(self, x: Tensor, w: Tensor, first: int, end: int) -> Tensor:
        """Features after some of the layers, scaled for the block that follows."""
        layers, up = self.whole.layers, self.whole.up
        for i in range(first, end):
            if i % 2:  # the first of a block
                x = InverseHaar.apply(x)
            x = layers[i](x, w[:, i], layer_noise(layers[i].noise, "fixed", i, len(w)))
            if i % 2 == 0 and i // 2 < len(up):
                x = x * up[i // 2](w[:, i + 1])[:, :, None, None]
        return x

    def image(self, features: Tensor, w: Tensor) -> Tensor:
        """The generator's image [N, 3, size, size] of codes that have these features."""
        x = self.through(features, w, self.seen, len(self.whole.layers))
        return self.whole.image(x, w[:, -1], self.size)

    @torch.no_grad()
    def map_of(self, codes: Tensor) -> Tensor:
        """The map [12, C + 1] fitted to the images of codes [N, L, D]."""
        found = []
        for code in codes.split(1):
            features = self.features(code)
            found.append(normal_equations(features, self.image(features, code)))
        squares, products = map(sum, zip(*found))
        return fitted(squares, products)

    @cached_property
    def common(self) -> Tensor:
        """The map of Eq. (4): it gives means of 2 x 2 pixels alone."""
        linear = self.map_of(self.model.sample(SAMPLES, seed=5))
        linear[3:] = 0
        return linear

    def generator(self) -> Network:
        """Codes [1, L, D] and a map -> what the parts of it give that `cut` makes of its graph."""
        common = self.common

        def rendered(codes: Tensor, linear: Tensor) -> tuple[Tensor, ...]:
            features = self.features(codes)
            image = self.image(features, codes)
            return (image, preview(features, linear), features,
                    image - preview(features, common), *normal_equations(features, image))

        codes = self.model.sample(1)
        return Network(rendered, {"codes": codes, "map": self.map_of(codes)},
                       ("image", "preview", "features", "offset", "squares", "products"))

    def equation4(self) -> Network:
        """As `export.equation4`, for previews plus one more input, `offset`, which has the size of
        images."""
        common, encoder = self.common, self.model.encoder

        def gradient(codes: Tensor, target: Tensor, mask: Tensor, lambda_dom: Tensor,
                     offset: Tensor) -> tuple[Tensor, ...]:
            return gradient_of(lambda w: preview(self.features(w), common) + offset, encoder,
                               codes, target, mask, lambda_dom)

        codes = self.model.sample(1)
        image = render(self.model.generator, codes)
        whole = export.equation4(self.model, codes, image)
        return replace(whole, function=gradient,
                       inputs=whole.inputs | {"offset": torch.zeros_like(image)})


def preview(features: Tensor, linear: Tensor) -> Tensor:
    """The image [N, 3, 2h, 2w] that a map [12, C + 1] sees in features [N, C, h, w]."""
    return InverseHaar.apply(F.conv2d(features, linear[:, :-1, None, None], linear[:, -1]))


def normal_equations(features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Squares [C + 1, C + 1] of the features [1, C, h, w] and products [12, C + 1] with the bands
    of an image [1, 3, 2h, 2w], from which `fitted` has its map."""
    x, y = (part[0, :, ::EVERY, ::EVERY].flatten(1) for part in (features, Haar.apply(image)))
    x = torch.cat([x, torch.ones_like(x[:1])])
    return x @ x.T, y @ x.T


def fitted(squares: Tensor, products: Tensor) -> Tensor:
    """The map of least squares; worker.js solves the same equations."""
    squares = squares.double() + RIDGE * squares.double().diagonal().diag()
    return torch.linalg.solve(squares, products.double().T).T.float()


def cut(whole: bytes) -> dict[str, tuple[dict[str, list[int]], bytes]]:
    """The parts of a file of `Halves.generator`, no weight twice: the shapes of their inputs, and
    the files."""
    extractor = onnx.utils.Extractor(onnx.load_from_string(whole))
    found = {}
    for name, ends in PARTS.items():
        part = extractor.extract_model(*ends)
        shapes = {given.name: [d.dim_value for d in given.type.tensor_type.shape.dim]
                  for given in part.graph.input}
        found[name] = shapes, part.SerializeToString()
    return found
