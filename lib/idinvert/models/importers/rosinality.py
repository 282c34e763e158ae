"""Reader of the StyleGAN2 checkpoints (.pt) of rosinality/stylegan2-pytorch: `g_ema`, `d` and
`latent_avg`, which also many other projects use and write; also of the bare state of `g_ema`, and
of the files of pSp and e4e, whose generator is `decoder.`; their encoder is not read. Where there
is no `g_ema`, the average over the training, `g` is taken, with a warning.

Layers and gains are ours; the mapping network's learning-rate multiplier is 0.01, which the file
does not tell. The mapping network has as many layers as the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.nn.stylegan2 import Discriminator, Generator

from . import IMPORTERS, File, states
from .states import Place, State, pair

IGNORED = r".*\.kernel"  # resampling filters, checked
AVERAGED = 10_000  # latents
MARK = "conv1.conv.modulation.weight"  # a key that generators of this project have


@IMPORTERS.register("rosinality")
class Rosinality:
    """Generator, and discriminator if there is one."""

    title, suffix = "rosinality/stylegan2-pytorch", ".pt"

    @staticmethod
    def recognises(file: File) -> bool:
        return file.holds_torch(Mapping) and "g_ema" in arranged(file.torch_content)

    @staticmethod
    def read(file: File) -> dict[str, nn.Module]:
        found = parts(file.torch_content, file.path)
        networks = {"generator": generator(found["g_ema"], found.get("latent_avg"))}
        return networks | states.beside(
            "discriminator", lambda: discriminator(checked(found["d"], "d", file.path)),
            "d" in found)


def arranged(found: Mapping) -> Mapping:
    """The content of a file with its generator under `g_ema`, wherever it is in the file."""
    if MARK in found:
        return {"g_ema": found}
    state = found.get("state_dict")
    if isinstance(state, Mapping) and f"decoder.{MARK}" in state:
        decoder = {key.removeprefix("decoder."): value for key, value in state.items()
                   if isinstance(key, str) and key.startswith("decoder.")}
        return {"g_ema": decoder, "latent_avg": found.get("latent_avg")}
    trained = found.get("g")
    if found.get("g_ema") is None and isinstance(trained, Mapping) and MARK in trained:
        return {**found, "g_ema": trained}
    return found


def parts(found: Mapping, path: Path) -> dict[str, Any]:
    """`g_ema`, and `latent_avg` where the checkpoint has it; ValueError if they are not of tensors.
    Also `d`, as it is, where there is one."""
    found = arranged(found)
    if found["g_ema"] is found.get("g") is not None:
        warnings.warn(f"{path} has no g_ema, the average over the training, whose images are the "
                      "better ones: the generator is imported as the last step left it, g.",
                      stacklevel=2)
    kept = {"g_ema": checked(found["g_ema"], "g_ema", path)}
    if found.get("d") is not None:
        kept |= {"d": found["d"]}
    average = found.get("latent_avg")
    if not isinstance(average, Tensor):
        return kept
    states.check_plain({"latent_avg": average})
    if not average.ndim:
        raise ValueError("Key 'latent_avg' has shape [], expected [1, D].")
    return kept | {"latent_avg": average}


def checked(found: Any, name: str, path: Path) -> State:
    """What is under a name; ValueError if it is no state dict of plain tensors."""
    if not states.is_state(found):
        raise ValueError(f"{path} holds no state dict under {name}.")
    states.check_plain(found)
    return found


def generator(state: State, latent_avg: Tensor | None = None) -> Generator:
    """The generator of `g_ema`, in eval mode.

    latent_avg: average code [D], [1, D] or [L, D]; without it that of 10,000 latents of seed 0 is
    taken. Noise that the file does not have is drawn, as the original code draws it.
    ValueError naming the first key that is missing, unknown or of another shape.
    """
    last = states.last_index(state, r"to_rgbs\.(\d+)\.bias", "to_rgbs.0.bias")
    blocks, depth = last + 2, states.last_index(state, r"style\.(\d+)\.weight", "style.1.weight")
    resolution = states.resolution_of(blocks)
    hidden, z_dim = states.shape_of(state, "style.1.weight", 2)
    w_dim = states.shape_of(state, f"style.{depth}.weight", 2)[0]
    network = states.outline(
        "stylegan2.Generator", resolution=resolution, z_dim=z_dim, w_dim=w_dim,
        channel_base=states.shape_of(state, f"to_rgbs.{last}.conv.weight", 5)[2] * resolution,
        channel_max=states.shape_of(state, "input.input", 4)[1],
        mapping_hidden=hidden if depth > 1 else None, mapping_depth=depth,
    )  # fmt: skip
    states.check_filters(state, ".kernel", scaled=True)
    average = torch.zeros(1, w_dim) if latent_avg is None else latent_avg
    given = {"latent_avg": average.unsqueeze(0) if average.ndim == 1 else average}
    if not any(key.startswith("noises.") for key in state):
        given |= noises(2 * blocks - 1)
    places = generator_places(blocks, depth, len(given["latent_avg"]))
    network = states.convert(network, {**state, **given}, places, IGNORED, "generator")
    if latent_avg is None:
        network.w_avg.copy_(average_code(network))
    return network


def noises(layers: int) -> State:
    """Noise of so many layers, of seed 0."""
    rng = torch.Generator().manual_seed(0)
    sides = [4 << (i + 1) // 2 for i in range(layers)]
    return {f"noises.noise_{i}": torch.randn(1, 1, side, side, generator=rng)
            for i, side in enumerate(sides)}


@torch.no_grad()
def average_code(network: Generator) -> Tensor:
    """Mean code [L, D] of 10,000 latents of seed 0."""
    z = torch.randn(AVERAGED, network.z_dim, generator=torch.Generator().manual_seed(0))
    return network.mapping(z).mean(0)


def generator_places(blocks: int, depth: int, averages: int) -> dict[str, Place]:
    """For each key of `Generator` with so many blocks and mapping layers, where it is; the file has
    one average code, or one for each layer."""
    places = {"const": Place("input.input"),
              "w_avg": Place("latent_avg", lambda w: w.expand(2 * blocks, -1),
                             lambda s: s if averages > 1 else (1, s[1]))}
    for i in range(depth):
        places |= pair(f"mapping.dense.{i}", f"style.{i + 1}")
    for i in range(2 * blocks - 1):
        theirs = f"convs.{i - 1}" if i else "conv1"
        places |= modulated(f"layers.{i}", theirs) | {
            f"layers.{i}.bias": Place(f"{theirs}.activate.bias"),
            f"layers.{i}.noise": Place(f"noises.noise_{i}"),
            f"layers.{i}.noise_strength": Place(f"{theirs}.noise.weight", lambda x: x.reshape(()),
                                                 lambda s: (1,)),
        }
    for b in range(blocks):
        theirs = f"to_rgbs.{b - 1}" if b else "to_rgb1"
        places |= modulated(f"to_rgb.{b}", theirs) | {
            f"to_rgb.{b}.bias": Place(f"{theirs}.bias", lambda x: x.reshape(3),
                                       lambda s: (1, 3, 1, 1))
        }
    return places


def modulated(ours: str, theirs: str) -> dict[str, Place]:
    """Places of a modulated convolution."""
    weight = Place(f"{theirs}.conv.weight", lambda x: x[0], lambda s: (1, *s))
    return pair(f"{ours}.conv.style", f"{theirs}.conv.modulation") | {f"{ours}.conv.weight": weight}


def discriminator(state: State) -> Discriminator:
    """The discriminator `d`, in eval mode; ValueError as for `generator`."""
    last = states.last_index(state, r"convs\.(\d+)\.conv1\.0\.weight", "convs.1.conv1.0.weight")
    resolution = states.resolution_of(last + 1)
    states.check_filters(state, ".kernel", scaled=True)
    network = states.outline(
        "stylegan2.Discriminator", resolution=resolution,
        channel_base=states.shape_of(state, "convs.0.0.weight", 4)[0] * resolution,
        channel_max=states.shape_of(state, "final_conv.0.weight", 4)[0],
    )
    places = activated("from_rgb", "convs.0", 0) | activated("conv", "final_conv", 0)
    for b in range(last):
        block = f"convs.{b + 1}"
        places |= activated(f"blocks.{b}.conv", f"{block}.conv1", 0)
        places |= activated(f"blocks.{b}.conv_down", f"{block}.conv2", 1)
        places[f"blocks.{b}.skip.weight"] = Place(f"{block}.skip.1.weight")
    places |= pair("dense", "final_linear.0") | pair("output", "final_linear.1")
    return states.convert(network, state, places, IGNORED, "discriminator")


def activated(ours: str, theirs: str, first: int) -> dict[str, Place]:
    """Places of a convolution, the module `first`, whose bias is that of the activation."""
    return {f"{ours}.weight": Place(f"{theirs}.{first}.weight"),
            f"{ours}.bias": Place(f"{theirs}.{first + 1}.bias")}
