"""Codes: sampling, encoding and rendering them; editing them by interpolation, by moving them along
a direction (Eq. 5) and by style mixing (section 4.3).

Images are [N, 3, r, r] in [-1, 1], codes [N, L, D]: L layers of D numbers. Large inputs are taken
in batches, whose size changes no result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from idinvert.nn.protocols import Encoder, Generator, Network, Noise
from idinvert.settings import Count, Seed, Whole, checked

# --- sampling -------------------------------------------------------------------------------------


@torch.no_grad()
@checked
def sample_codes(generator: Generator, count: Whole, seed: Seed = 0, batch: Count = 1000) -> Tensor:
    """Codes [count, L, D] float32 of random latents, without truncation.

    The seed alone chooses the latents, whatever the batch size and the device.
    """
    rng = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, generator.z_dim, generator=rng, dtype=torch.float32)
    latents = latents.to(device_of(generator))
    return torch.cat([generator.mapping(z).float() for z in latents.split(batch)])


class CodeStatistics(NamedTuple):
    """Mean and standard deviation of sampled codes, [L, D] each."""

    mean: Tensor
    std: Tensor


def code_statistics(generator: Generator, count: int = 10_000, seed: int = 0) -> CodeStatistics:
    """Mean and standard deviation of `count` sampled codes, on the generator's device.

    The standard error of a mean of 10,000 is 0.01 standard deviations.
    """
    codes = sample_codes(generator, count, seed)
    return CodeStatistics(codes.mean(0), codes.std(0))


# --- encoding and rendering -----------------------------------------------------------------------


@torch.no_grad()
def encode(encoder: Encoder, images: Tensor, batch_size: int = 64) -> Tensor:
    """Codes E(x) [N, L, D] of images [N, 3, r, r]; in eval mode, whichever mode E is in.

    ValueError: images of another size or type, or on another device than the encoder.
    """
    check_images(images, encoder)
    with frozen([encoder]):
        return torch.cat([encoder(part) for part in images.split(batch_size)])


@torch.no_grad()
def render(generator: Generator, codes: Tensor, batch_size: int = 64) -> Tensor:
    """Images G(w) [N, 3, H, W] of codes [N, L, D], with the stored noise."""
    return torch.cat([generator.synthesis(part) for part in codes.split(batch_size)])


@torch.no_grad()
def encode_with_noise(encoder: Encoder, images: Tensor, batch_size: int = 64
                      ) -> tuple[Tensor, Noise]:
    """Codes as `encode` gives them, and the noise to render them with (section 6.3).

    The noise is one map [N, 1, r, r] a layer, None where the stored one is used; or "fixed", the
    stored ones, of an encoder that predicts none. Errors as `encode`.
    """
    check_images(images, encoder)
    with frozen([encoder]):
        parts = [encoder.with_noise(part) for part in images.split(batch_size)]
    codes, noise = zip(*parts)
    if isinstance(noise[0], str):
        return torch.cat(codes), noise[0]
    return torch.cat(codes), [None if m[0] is None else torch.cat(m) for m in zip(*noise)]


@torch.no_grad()
def render_with_noise(generator: Generator, codes: Tensor, noise: Noise,
                      batch_size: int = 64) -> Tensor:
    """Images [N, 3, H, W] of codes [N, L, D] and noise as `encode_with_noise` gives them."""
    if isinstance(noise, str):
        return torch.cat([generator.synthesis(part, noise) for part in codes.split(batch_size)])
    maps = zip(*([None] * len(codes) if m is None else m.split(batch_size) for m in noise))
    return torch.cat([generator.synthesis(part, part_maps)
                      for part, part_maps in zip(codes.split(batch_size), maps)])


# --- editing --------------------------------------------------------------------------------------


@checked
def manipulate(codes: Tensor, direction: Tensor, alpha: float | Tensor) -> Tensor:
    """Codes [N, L, D] moved by alpha along a direction [L, D] (Eq. 5), as `Boundary.direction`.

    alpha: a number, or one for each code [N]; positive values add to the attribute. Along the
    direction of a boundary in the space "whole" it is the distance moved, in units of codes; in the
    space "layer", the distance in each layer (the published scripts go from -3 to 3).

    ValueError: codes, direction or alpha of another shape, codes that are no floats, or an alpha
    that is not finite.

    >>> manipulate(torch.zeros(2, 1, 3), torch.tensor([[0., 1., 0.]]), torch.tensor([3., -3.]))
    tensor([[[ 0.,  3.,  0.]],
            [[ 0., -3.,  0.]]])
    """
    if codes.ndim != 3 or codes.shape[1:] != direction.shape:
        raise ValueError(f"codes must be [N, {', '.join(map(str, direction.shape))}] as the "
                         f"direction is, not {list(codes.shape)}.")
    if not codes.is_floating_point():
        raise ValueError(f"codes must be floats, not {codes.dtype}.")
    alpha = finite("alpha", alpha, codes)
    return codes + alpha.reshape(-1, 1, 1) * direction.to(codes)


@checked
def interpolate(a: Tensor, b: Tensor, steps: Count = 5, ends: bool = False) -> Tensor:
    """Codes [N, steps, L, D] evenly spaced on the way from `a` to `b`, both [N, L, D].

    Without `ends` these are the inner points, at 1 / (steps + 1), 2 / (steps + 1) and so on: five
    of them in the published code; one is the point halfway. With `ends` the first is `a` and the
    last `b`.

    ValueError: different shapes or types, or less than one step (two with `ends`).

    >>> interpolate(torch.zeros(1, 1, 1), torch.ones(1, 1, 1), steps=3).flatten()
    tensor([0.2500, 0.5000, 0.7500])
    """
    check_pair(a, b)
    if steps < 1 + ends:
        raise ValueError(f"Interpolation takes at least {1 + ends} steps, not {steps}.")
    inner = torch.linspace(0, 1, steps if ends else steps + 2, dtype=a.dtype, device=a.device)
    weights = (inner if ends else inner[1:-1]).reshape(1, -1, 1, 1)
    return torch.lerp(a.unsqueeze(1), b.unsqueeze(1), weights)


@checked
def mix(content: Tensor, style: Tensor, layers: Sequence[int]) -> Tensor:
    """Codes `content` [N, L, D] with the given layers of `style` [N, L, D].

    The published code takes the last four of 14, `range(10, 14)`: colours and light are then those
    of `style`, shapes those of `content`. IndexError: there is no such layer.
    """
    check_pair(content, style)
    known, layers = range(content.shape[1]), list(layers)
    if any(layer not in known for layer in layers):
        raise IndexError(f"Layers {layers} are not all within 0..{known[-1]}.")
    layers = [int(layer) for layer in layers]
    mixed = content.clone()
    mixed[:, layers] = style[:, layers]
    return mixed


# --- what the above share -------------------------------------------------------------------------


def finite(name: str, strength: float | Tensor, codes: Tensor) -> Tensor:
    """A strength [], or one for each code [N], as a tensor like the codes; ValueError: they are of
    another shape, or no finite numbers."""
    try:
        if hasattr(strength, "__array__") and not isinstance(strength, Tensor):
            strength = np.array(strength)  # of a column of pandas torch takes rows by their names
        values = torch.as_tensor(strength)
        sound = not values.is_complex() and values.to(codes).isfinite().all()
    except (TypeError, ValueError, RuntimeError):
        sound = False
    if not sound:
        raise ValueError(f"{name} is {' '.join(repr(strength).split()):.60}, but should be a "
                         "finite number, or one for each code.")
    if values.ndim and values.shape != codes.shape[:1]:
        raise ValueError(f"{name} must be a number or [{len(codes)}], not {list(values.shape)}.")
    return values.to(codes)


@contextmanager
def frozen(networks: Sequence[Network]) -> Iterator[None]:
    """Inside the block, networks are in eval mode and their weights have no gradients; both are as
    before afterwards."""
    modes = [(module, module.training) for n in networks for module in n.modules()]
    flags = [(parameter, parameter.requires_grad) for n in networks for parameter in n.parameters()]
    for network in networks:
        network.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def check_images(images: Tensor, network: Generator | Encoder) -> None:
    """ValueError unless images are floats [N, 3, r, r] of the network's size, on its device."""
    r = network.resolution
    if images.ndim != 4 or tuple(images.shape[1:]) != (3, r, r):
        raise ValueError(f"images must have shape [N, 3, {r}, {r}], not {list(images.shape)}")
    if not images.is_floating_point():
        raise ValueError(f"images must be floats in [-1, 1], not {images.dtype}: see data.to_float")
    device = device_of(network)
    if images.device != device:
        raise ValueError(f"images are on {images.device}, but the networks are on {device}")


def check_count(name: str, values: Tensor, images: Tensor) -> None:
    """ValueError unless there is one value for each image."""
    if len(values) != len(images):
        raise ValueError(f"{name} has {len(values)} items, but there are {len(images)} images")


def check_pair(a: Tensor, b: Tensor) -> None:
    """ValueError unless both codes are floats [N, L, D] alike, on one device."""
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(
            f"Both codes must be [N, L, D] alike, not {list(a.shape)} and {list(b.shape)}."
        )
    first, second = (f"{x.dtype} on {x.device}" for x in (a, b))
    if first != second or not a.is_floating_point():
        raise ValueError("Both codes must be floats alike, on one device, not "
                         f"{first} and {second}.")


def device_of(network: Network) -> torch.device:
    """Device of the first parameter."""
    return next(network.parameters()).device
