"""What the library asks of a network: its attributes and methods, with shapes.

N images of r x r px, RGB in [-1, 1]; codes of L layers of D numbers; latents of Z numbers. Any
class that has these members will do, whatever it inherits from; `missing` tells what one lacks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, get_type_hints

from torch import Tensor, nn

# How an image is rendered: with the "fixed" (stored) noise, "random" noise, "none", or one map
# [N or 1, 1, r, r] a layer, None standing for the stored one.
Noise = str | Sequence[Tensor | None]


class Network(Protocol):
    """A `torch.nn.Module`."""

    training: bool

    def __call__(self, *arguments: Tensor) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def modules(self) -> Iterator[nn.Module]: ...

    def train(self, mode: bool = True) -> nn.Module: ...

    def eval(self) -> nn.Module: ...

    def requires_grad_(self, requires_grad: bool = True) -> nn.Module: ...


class Generator(Network, Protocol):
    """Latents -> codes -> images.

    w_avg: the average code, [L, D]. layerwise: whether the layers of a sampled code differ.
    """

    resolution: int
    num_layers: int
    z_dim: int
    w_dim: int
    layerwise: bool
    w_avg: Tensor

    def mapping(self, z: Tensor) -> Tensor:
        """Codes [N, L, D] of latents [N, Z], which are standard normal."""

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        """Images [N, 3, r, r] float32 of codes [N, L, D]; each depends on its own code alone."""

    def truncate(self, w: Tensor, psi: float | Tensor = 0.7, layers: int = 8) -> Tensor:
        """Codes [N, L, D], the first `layers` drawn to the average: w_avg + psi (w - w_avg)."""


class Encoder(Network, Protocol):
    """Images [N, 3, r, r] -> codes [N, L, D], when called.

    w_avg, w_std: [L, D], what is added to the output of the last layer and what it is scaled by.
    """

    resolution: int
    num_layers: int
    w_dim: int
    w_avg: Tensor
    w_std: Tensor

    def with_noise(self, image: Tensor) -> tuple[Tensor, Noise]:
        """Codes [N, L, D], and the noise to render them with (section 6.3)."""


class Discriminator(Network, Protocol):
    """Images [N, 3, r, r] -> logits [N] or [N, P] of P patches, high for real ones, when called.

    minibatch_group: number of images that are judged together.
    """

    resolution: int
    minibatch_group: int


class Classifier(Network, Protocol):
    """Images [N, 3, r, r] -> logits [N, A] of A binary attributes, when called."""

    resolution: int
    attributes: int


class FeatureNetwork(Network, Protocol):
    """Images [N, 3, H, W] of any size -> features, [N, F] or [N, C, h, w], when called."""


def missing(network: object, protocol: type) -> list[str]:
    """Names of the members of a protocol that a network lacks.

    `isinstance` would not do: since Python 3.12 it does not see the buffers of a module.
    """
    methods = [name for name in dir(protocol) if not name.startswith("_")]
    wanted = dict.fromkeys([*get_type_hints(protocol), *methods])
    return [name for name in wanted if not hasattr(network, name)]
