"""Reader of NVIDIA's StyleGAN2-ADA files (.pkl), also those that StyleGAN3's code wrote for
StyleGAN2: the averaged generator `G_ema` and the discriminator `D`.

Such a file carries the source code of its networks, which NVIDIA's loader runs. Here it is read as
data (`records`): attributes tell the architecture, tensors fill our networks. Where ours compute
differently, it is settled here:
- a convolution's weight is scaled by 1 / sqrt(fan-in) in ours and not in theirs; demodulation
  takes any scale out again, up to its epsilon (relative 1e-8 for weights of unit variance);
- learning-rate multipliers of the mapping network other than 0.01 are folded into the weights;
- values are clipped as in the file; everything is computed in float32, where theirs takes float16
  at the highest resolutions on a GPU.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.nn.layers import check_resolution
from idinvert.nn.stylegan2 import Discriminator, Generator

from . import IMPORTERS, File
from .records import Call, Record, RecordError, number, read, tensor
from .states import (
    LARGEST,
    Place,
    beside,
    check_filters,
    convert,
    last_index,
    outline,
    pair,
    shape_of,
)

LR_MULTIPLIER = 0.01  # of our mapping network
MODULES = 10_000  # more are taken for a file that refers to itself
DERIVED = r".*resample_filter|num_batches_tracked"  # buffers that are checked, not loaded


@IMPORTERS.register("nvidia")
class Nvidia:
    """Generator, and discriminator if there is one."""

    title, suffix = "NVIDIA", ".pkl"

    @staticmethod
    def recognises(file: File) -> bool:
        return file.beginning[:1] == pickle.PROTO and not file.is_torch

    @staticmethod
    def read(file: File) -> dict[str, nn.Module]:
        found = read_file(file.path)
        networks = {"generator": generator(found["G_ema"])}
        return networks | beside("discriminator", lambda: discriminator(found["D"]), "D" in found)


@dataclass(frozen=True)
class Network:
    """A network of a file: its tensors and its plain attributes, both by dotted name."""

    state: dict[str, Tensor]
    facts: dict[str, Any]

    def fact(self, name: str, expected: tuple, default: Any = None) -> Any:
        """An attribute; ValueError unless it is one of `expected`."""
        value = self.facts.get(name, default)
        if value not in expected:
            raise ValueError(f"Networks with {name} {value!r:.40} cannot be read, only "
                             f"{' or '.join(map(repr, expected))}.")
        return value

    def check_activations(self) -> None:
        """ValueError unless every layer has the one that its place in our networks has."""
        for name in self.facts:
            if (layer := name.removesuffix(".activation")) != name:
                plain = layer.rpartition(".")[2] in ("skip", "out", "affine")
                self.fact(name, ("linear",) if plain else ("lrelu",))


def read_file(path: str | Path) -> dict[str, Network]:
    """The networks of a file by name ("G_ema", "D", ..); nothing in the file is run.

    FileNotFoundError, and ValueError if the file is damaged or of another kind.
    """
    path = Path(path)
    with open(path, "rb") as file:
        try:
            found = read(io.BytesIO(file.read()))  # which reserves no more than there is
            if not isinstance(found, dict):
                raise RecordError("holds no networks")
            if "G_ema" not in found:
                raise RecordError("holds no network G_ema")

            def read_network(name: str) -> Network:
                return network(Record.of(found[name]), path.stat().st_size)

            networks = {"G_ema": read_network("G_ema")}
            networks |= beside("D", lambda: read_network("D"), found.get("D") is not None)
        except (RecordError, RecursionError) as error:
            if "dnnlib.tflib" in str(error):
                raise ValueError(f"{path} is a network of TensorFlow: convert it by legacy.py of "
                                 "NVIDIA's stylegan2-ada-pytorch, and import that.") from error
            reason = "is too deep" if isinstance(error, RecursionError) else error
            raise ValueError(f"{path} is no readable NVIDIA file: it {reason}.") from error
    return networks


def network(record: Record, most: int) -> Network:
    """Tensors and attributes of a record and of its modules; RecordError: the tensors have more
    than `most` bytes, as one that is named again and again."""
    state, facts, left = {}, {}, most
    for count, (prefix, part) in enumerate(modules(record, "")):
        if count > MODULES:
            raise RecordError("refers to itself")
        for group in ("_parameters", "_buffers"):
            for key, node in part.part(group).items():
                if node is not None:
                    state[prefix + key] = tensor(node)
                    left -= state[prefix + key].nbytes
                    if left < 0:
                        raise RecordError("says that it holds more numbers than it has bytes")
        for key, value in part.attributes.items():
            if isinstance(key, str) and not key.startswith("_"):
                value = number(value)
                if value is None or isinstance(value, bool | int | float | str):
                    facts[prefix + key] = value
    return Network(state, facts)


def modules(record: Record, prefix: str) -> Iterator[tuple[str, Record]]:
    """A record and those of its modules, with the beginning of their dotted names."""
    yield prefix, record
    for name, node in record.part("_modules").items():
        if isinstance(node, Call):
            yield from modules(Record.of(node), f"{prefix}{name}.")


def generator(found: Network) -> Generator:
    """The generator of `G_ema`, in eval mode.

    ValueError: a conditional network, another architecture than the default ("skip"), or the first
    key that is missing, unknown or of another shape.
    """
    if any(key.startswith(("synthesis.L0_", "synthesis.input.")) for key in found.state):
        raise ValueError("The generator is one of StyleGAN3: only StyleGAN and StyleGAN2 are "
                         "imported.")
    check_unconditional(found)
    state = with_noise(found.state)
    resolution = last_index(state, r"synthesis\.b(\d+)\.conv1\.weight", "synthesis.b4.conv1.weight",
                            LARGEST)
    blocks = check_resolution(resolution)
    check_generator(found, resolution)
    depth = 1 + last_index(state, r"mapping\.fc(\d+)\.weight", "mapping.fc0.weight")
    hidden, z_dim = shape_of(state, "mapping.fc0.weight", 2)
    w_dim = shape_of(state, f"mapping.fc{depth - 1}.weight", 2)[0]
    network = outline(
        "stylegan2.Generator", resolution=resolution, z_dim=z_dim, w_dim=w_dim,
        channel_base=shape_of(state, f"synthesis.b{resolution}.conv1.weight", 4)[0] * resolution,
        channel_max=shape_of(state, "synthesis.b4.conv1.weight", 4)[0],
        mapping_hidden=hidden if depth > 1 else None, mapping_depth=depth,
        clamp=clamp(found, "synthesis.b4.conv1"),
    )  # fmt: skip
    return convert(network, state, generator_places(found, blocks, depth), DERIVED, "generator")


def check_unconditional(found: Network) -> None:
    """ValueError if a network takes classes beside images or latents, wherever it says so."""
    told = [value for name, value in found.facts.items() if name.rpartition(".")[2] == "c_dim"]
    embedded = any(".embed." in f".{key}" for key in found.state)
    if embedded or any(value not in (0, None) for value in told):
        classes = next((value for value in told if value), "some")
        raise ValueError(f"The network is conditional (on {classes!r:.20} classes), which is not "
                         "supported.")


def check_generator(found: Network, resolution: int) -> None:
    """ValueError unless our generator computes what the file's does."""
    found.fact("img_channels", (3,), 3)
    for size in (4 << b for b in range(check_resolution(resolution))):
        block = f"synthesis.b{size}"
        found.fact(f"{block}.architecture", ("skip",), "skip")
        for layer in ("conv0", "conv1", "torgb")[size == 4:]:
            found.fact(f"{block}.{layer}.conv_clamp", (clamp(found, "synthesis.b4.conv1"),))
    found.check_activations()
    check_filters(found.state, "resample_filter")


def generator_places(found: Network, blocks: int, depth: int) -> dict[str, Place]:
    """For each key of `Generator` with so many blocks and mapping layers, where it is."""
    places = {"const": Place("synthesis.b4.const", lambda x: x[None], lambda s: s[1:]),
               "w_avg": Place("mapping.w_avg", lambda w: w.expand(2 * blocks, -1),
                               lambda s: s[1:])}
    for i in range(depth):
        weight, bias = mapping_gains(found, f"mapping.fc{i}")
        places[f"mapping.dense.{i}.weight"] = Place(
            f"mapping.fc{i}.weight", lambda x, gain=weight: x * gain)
        places[f"mapping.dense.{i}.bias"] = Place(
            f"mapping.fc{i}.bias", lambda x, gain=bias: x * gain)
    for b in range(blocks):
        block = f"synthesis.b{4 << b}"
        for name in ("conv0", "conv1")[b == 0:]:
            i = max(2 * b - 1, 0) + (b > 0 and name == "conv1")
            places |= layer_places(f"layers.{i}", f"{block}.{name}")
        places |= modulated(f"to_rgb.{b}", f"{block}.torgb")
    return places


def layer_places(ours: str, theirs: str) -> dict[str, Place]:
    """Places of a `StyledLayer`."""
    return modulated(ours, theirs) | {
        f"{ours}.noise": Place(f"{theirs}.noise_const", lambda x: x[None, None], lambda s: s[2:]),
        f"{ours}.noise_strength": Place(f"{theirs}.noise_strength"),
    }


def modulated(ours: str, theirs: str) -> dict[str, Place]:
    """Places of a modulated convolution and its bias."""
    return pair(f"{ours}.conv.style", f"{theirs}.affine") | {
        f"{ours}.conv.weight": Place(f"{theirs}.weight"), f"{ours}.bias": Place(f"{theirs}.bias")}


def mapping_gains(found: Network, layer: str) -> tuple[float, float]:
    """Factors for weight and bias of a mapping layer: 1 with the usual learning-rate multiplier."""
    inputs = shape_of(found.state, f"{layer}.weight", 2)[1]
    usual = (LR_MULTIPLIER / math.sqrt(inputs), LR_MULTIPLIER)
    gains = [found.facts.get(f"{layer}.{name}", default)
             for name, default in zip(("weight_gain", "bias_gain"), usual)]
    if not all(isinstance(gain, int | float) and abs(gain) < 1e30 for gain in gains):
        raise ValueError(f"{layer} has no gains that are numbers.")
    return tuple(1.0 if math.isclose(gain, default, rel_tol=1e-6) else gain / default
                 for gain, default in zip(gains, usual))


def with_noise(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state, with noise of strength 0 in layers that have none."""
    added = {}
    for key in state:
        if match := re.fullmatch(r"(synthesis\.b(\d+)\.conv[01]\.)weight", key):
            layer, size = match[1], int(match[2])
            if f"{layer}noise_strength" not in state and size <= 4096:
                added |= {f"{layer}noise_strength": torch.zeros(()),
                          f"{layer}noise_const": torch.zeros(1, 1).expand(size, size)}
    return state | added


def clamp(found: Network, layer: str) -> float | None:
    """Bound of a layer's values, or None; ValueError unless it is a positive number."""
    value = found.facts.get(f"{layer}.conv_clamp")
    if value is None:
        return None
    if not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{layer} is clamped to {value!r:.40}, which is no positive number.")
    return float(value)


def discriminator(found: Network) -> Discriminator:
    """The discriminator `D`, in eval mode; ValueError as for `generator`."""
    state = found.state
    resolution = last_index(state, r"b(\d+)\.conv0\.weight", "b8.conv0.weight", LARGEST)
    blocks = check_resolution(resolution)
    check_discriminator(found, resolution)
    network = outline(
        "stylegan2.Discriminator", resolution=resolution,
        channel_base=shape_of(state, f"b{resolution}.conv0.weight", 4)[0] * resolution,
        channel_max=shape_of(state, "b4.conv.weight", 4)[0],
        clamp=clamp(found, "b4.conv"), minibatch_group=minibatch_group(found),
    )  # fmt: skip
    places = (pair("from_rgb", f"b{resolution}.fromrgb") | pair("conv", "b4.conv")
              | pair("dense", "b4.fc") | pair("output", "b4.out"))
    for b in range(blocks - 1):
        ours, theirs = f"blocks.{b}", f"b{resolution >> b}"
        places |= pair(f"{ours}.conv", f"{theirs}.conv0")
        places |= pair(f"{ours}.conv_down", f"{theirs}.conv1")
        places[f"{ours}.skip.weight"] = Place(f"{theirs}.skip.weight")
    return convert(network, state, places, DERIVED, "discriminator")


def check_discriminator(found: Network, resolution: int) -> None:
    """ValueError unless our discriminator computes what the file's does."""
    check_unconditional(found)
    found.fact("img_channels", (3,), 3)
    found.fact("b4.mbstd.num_channels", (1,), 1)
    bound = (clamp(found, "b4.conv"),)
    found.fact(f"b{resolution}.fromrgb.conv_clamp", bound)
    for size in (8 << b for b in range(check_resolution(resolution) - 1)):
        found.fact(f"b{size}.architecture", ("resnet",), "resnet")
        for layer in ("conv0", "conv1"):
            found.fact(f"b{size}.{layer}.conv_clamp", bound)
    found.check_activations()
    check_filters(found.state, "resample_filter")


def minibatch_group(found: Network) -> int:
    """Images over which the discriminator takes its deviation; None in the file is all of them."""
    group = found.facts.get("b4.mbstd.group_size", 4)
    if not isinstance(group, int) or not 0 < group <= 1024:
        raise ValueError(f"The discriminator has a group size of {group!r:.40}, not 1 to 1024.")
    return group
