"""Reader of the StyleGAN2 checkpoints (.pt) of rosinality/stylegan2-pytorch: `g_ema`, `d` and
`latent_avg`, which also many other projects use and write.

Layers and gains are ours; the mapping network's learning-rate multiplier is 0.01, which the file
does not tell. The mapping network has as many layers as the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from idinvert.nn.layers import check_resolution
from idinvert.nn.stylegan2 import Discriminator, Generator

from .states import Source, State, last_index, load, read_torch, shape_of

IGNORED = r".*\.kernel"  # resampling filters, checked
AVERAGED = 10_000  # latents


def read_file(path: str | Path) -> dict[str, State | Tensor]:
    """`g_ema`, and `d` and `latent_avg` where the file has them; no code in it is run.

    FileNotFoundError, and ValueError if the file is damaged or of another kind.
    """
    found = read_torch(path)
    if not isinstance(found, Mapping) or "g_ema" not in found:
        raise ValueError(f"{path} holds no g_ema, the averaged generator.")
    return parts(found, str(path))


def parts(found: Mapping, path: str) -> dict[str, State | Tensor]:
    """What is used of a checkpoint; ValueError if it is not of tensors."""
    kept = {name: found[name] for name in ("g_ema", "d") if found.get(name) is not None}
    for name, state in kept.items():
        if not isinstance(state, Mapping) or not all(
                isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            raise ValueError(f"{path} holds no state dict under {name}.")
    average = found.get("latent_avg")
    return kept if not isinstance(average, Tensor) else kept | {"latent_avg": average}


def generator(state: State, latent_avg: Tensor | None = None) -> Generator:
    """The generator of `g_ema`, in eval mode.

    latent_avg: average code [D] or [1, D]; without it that of 10,000 latents of seed 0 is taken.
    ValueError naming the first key that is missing, unknown or of another shape.
    """
    last = last_index(state, r"to_rgbs\.(\d+)\.bias", "to_rgbs.0.bias")
    blocks, depth = last + 2, last_index(state, r"style\.(\d+)\.weight", "style.1.weight")
    resolution = 2 << blocks
    check_resolution(resolution)
    hidden, z_dim = shape_of(state, "style.1.weight", 2)
    w_dim = shape_of(state, f"style.{depth}.weight", 2)[0]
    network = Generator(
        resolution, z_dim, w_dim,
        channel_base=shape_of(state, f"to_rgbs.{last}.conv.weight", 5)[2] * resolution,
        channel_max=shape_of(state, "input.input", 4)[1],
        mapping_hidden=hidden if depth > 1 else None, mapping_depth=depth,
    )  # fmt: skip
    check_filters(state)
    sources = generator_sources(blocks, depth)
    given = {"latent_avg": torch.zeros(w_dim) if latent_avg is None else latent_avg.reshape(-1)}
    load(network, {**state, **given}, sources, IGNORED, "generator")
    if latent_avg is None:
        network.w_avg.copy_(average_code(network))
    return network


@torch.no_grad()
def average_code(network: Generator) -> Tensor:
    """Mean code [L, D] of 10,000 latents of seed 0."""
    z = torch.randn(AVERAGED, network.z_dim, generator=torch.Generator().manual_seed(0))
    return network.mapping(z).mean(0)


def generator_sources(blocks: int, depth: int) -> dict[str, Source]:
    """For each key of `Generator` with so many blocks and mapping layers, where it is."""
    sources = {"const": Source("input.input"),
               "w_avg": Source("latent_avg", lambda w: w.expand(2 * blocks, -1), lambda s: s[1:])}
    for i in range(depth):
        for x in ("weight", "bias"):
            sources[f"mapping.dense.{i}.{x}"] = Source(f"style.{i + 1}.{x}")
    for i in range(2 * blocks - 1):
        theirs = f"convs.{i - 1}" if i else "conv1"
        sources |= modulated(f"layers.{i}", theirs) | {
            f"layers.{i}.bias": Source(f"{theirs}.activate.bias"),
            f"layers.{i}.noise": Source(f"noises.noise_{i}"),
            f"layers.{i}.noise_strength": Source(f"{theirs}.noise.weight", lambda x: x.reshape(()),
                                                 lambda s: (1,)),
        }
    for b in range(blocks):
        theirs = f"to_rgbs.{b - 1}" if b else "to_rgb1"
        sources |= modulated(f"to_rgb.{b}", theirs) | {
            f"to_rgb.{b}.bias": Source(f"{theirs}.bias", lambda x: x.reshape(3),
                                       lambda s: (1, 3, 1, 1))
        }
    return sources


def modulated(ours: str, theirs: str) -> dict[str, Source]:
    """Sources of a modulated convolution."""
    return {
        f"{ours}.conv.weight": Source(f"{theirs}.conv.weight", lambda x: x[0], lambda s: (1, *s)),
        f"{ours}.conv.style.weight": Source(f"{theirs}.conv.modulation.weight"),
        f"{ours}.conv.style.bias": Source(f"{theirs}.conv.modulation.bias"),
    }


def check_filters(state: State) -> None:
    """ValueError unless images are resampled by [1, 3, 3, 1]."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    for key, value in state.items():
        if key.endswith(".kernel") and not (
                value.shape == (4, 4)
                and torch.allclose(value / value.sum(), torch.outer(taps, taps))):
            raise ValueError(f"Key '{key}' holds another filter than [1, 3, 3, 1].")


def discriminator(state: State) -> Discriminator:
    """The discriminator `d`, in eval mode; ValueError as for `generator`."""
    blocks = 1 + last_index(state, r"convs\.(\d+)\.conv1\.0\.weight", "convs.1.conv1.0.weight")
    resolution = 2 << blocks
    check_resolution(resolution)
    check_filters(state)
    network = Discriminator(
        resolution,
        channel_base=shape_of(state, "convs.0.0.weight", 4)[0] * resolution,
        channel_max=shape_of(state, "final_conv.0.weight", 4)[0],
    )
    sources = activated("from_rgb", "convs.0", 0) | activated("conv", "final_conv", 0)
    for b in range(blocks - 1):
        block = f"convs.{b + 1}"
        sources |= activated(f"blocks.{b}.conv", f"{block}.conv1", 0)
        sources |= activated(f"blocks.{b}.conv_down", f"{block}.conv2", 1)
        sources[f"blocks.{b}.skip.weight"] = Source(f"{block}.skip.1.weight")
    for ours, theirs in (("dense", "final_linear.0"), ("output", "final_linear.1")):
        sources |= {f"{ours}.{x}": Source(f"{theirs}.{x}") for x in ("weight", "bias")}
    return load(network, state, sources, IGNORED, "discriminator")


def activated(ours: str, theirs: str, first: int) -> dict[str, Source]:
    """Sources of a convolution, the module `first`, whose bias is that of the activation."""
    return {f"{ours}.weight": Source(f"{theirs}.{first}.weight"),
            f"{ours}.bias": Source(f"{theirs}.{first + 1}.bias")}
