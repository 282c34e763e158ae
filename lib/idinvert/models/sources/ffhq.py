"""`ffhq`: photograph-like faces at 1024 px, the MobileStyleGAN of FFHQ from `random-face`.

The package carries two networks in OpenVINO's format: the mapping network of NVIDIA's StyleGAN2 of
FFHQ, and the synthesis network that S. Belousov distilled from it (arXiv 2104.04767), in which the
demodulation is a part of the pointwise convolutions and the strength of the noise one of its maps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from idinvert.nn.mobilestylegan import Generator

from ..openvino import constants
from . import SOURCES, FetchedModel, network_of

BLOCKS = 7
SAMPLES = 10_000  # mapped latents of which `w_avg` is the mean


def read(contents: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The state of the network but for `w_avg`; ValueError, KeyError or IndexError: other files.

    Computed in float64, so that every machine gets the same float32 numbers, and the same hash.
    """
    state = mapping(contents) | synthesis(contents)
    return {key: value.float().contiguous() for key, value in state.items()}


def tensors(contents: Mapping[str, bytes], network: str) -> list[tuple[str, Tensor]]:
    """Name and value, float64, of each constant of a network, in the order of its file."""
    found = constants(contents[f"{network}.xml"], contents[f"{network}.bin"])
    return [(name, torch.from_numpy(value).double()) for name, value in found]


def mapping(contents: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The state of the mapping network, whose matrices are stored as they are applied: with the
    factors of `EqualLinear`."""
    found = [value for _, value in tensors(contents, "MappingNetwork") if value.numel() >= 512]
    state = {}
    for i, layer in enumerate(network_of(Generator).mapping.dense):
        state[f"mapping.dense.{i}.weight"] = found[2 * i] / layer.scale
        state[f"mapping.dense.{i}.bias"] = found[2 * i + 1] / layer.lr_multiplier
    return state


def synthesis(contents: Mapping[str, bytes]) -> dict[str, Tensor]:
    """The state of the synthesis network."""
    found = tensors(contents, "SynthesisNetwork")
    named, order = dict(found), [name for name, _ in found]

    def after(name: str, count: int) -> list[Tensor]:
        at = order.index(name) + 1
        return [value for _, value in found[at : at + count]]

    def style(ours: str, theirs: str, scale: float, channels: Tensor | slice = slice(None)
              ) -> dict[str, Tensor]:
        """The modulation, with the constant that its result is multiplied by."""
        weight, bias = (named[f"m.{theirs}.modulation.{what}"] for what in ("weight", "bias"))
        return {f"{ours}.weight": (weight * scale)[channels],
                f"{ours}.bias": (bias.flatten() * scale)[channels]}

    def noise(ours: str, maps: Tensor) -> dict[str, Tensor]:
        strength = maps.std()
        return {f"{ours}.noise": maps / strength, f"{ours}.noise_strength": strength}

    weight, maps, bias = after("m.input.input", 3)
    channels = band_order(len(weight))
    state = {"const": named["m.input.input"], "layers.0.weight": weight[channels],
             "layers.0.bias": bias.flatten()[channels]}
    state |= style("layers.0.style", "conv1.conv", 1 / math.sqrt(9 * weight.shape[1]))
    state |= noise("layers.0", maps)
    for block in range(BLOCKS):
        theirs = f"layers.{block}"
        state |= style(f"up.{block}", f"{theirs}.up", 1.0, channels)
        for half in (1, 2):
            ours, conv = f"layers.{2 * block + half}", f"{theirs}.conv{half}"
            depthwise = named[f"m.{conv}.conv.weight_dw"]
            weight, maps, bias = after(f"m.{conv}.conv.weight_dw", 3)
            transformed = half == 2 and block < BLOCKS - 1
            channels = band_order(len(weight)) if transformed else torch.arange(len(weight))
            state |= {f"{ours}.depthwise": depthwise[:, 0], f"{ours}.weight":
                      weight[channels, :, 0, 0], f"{ours}.bias": bias.flatten()[channels]}
            state |= style(f"{ours}.style", f"{conv}.conv", 1 / math.sqrt(9 * len(depthwise)))
            state |= noise(ours, maps)
    last, channels = f"layers.{BLOCKS - 1}.to_img", band_order(12)
    weight = named[f"m.{last}.conv.weight"]
    state |= {"to_bands": weight[channels, :, 0, 0],
              "to_bands_bias": named[f"m.{last}.bias"].flatten()[channels]}
    state |= style("to_bands_style", f"{last}.conv", 1 / math.sqrt(weight.shape[1]))
    return state


def band_order(channels: int) -> Tensor:
    """Where the channels of our bands are in theirs: after the first quarter, the low band, theirs
    have three numbers a channel, ours three bands."""
    quarter = channels // 4
    high = quarter + torch.arange(3 * quarter).reshape(quarter, 3).T.flatten()
    return torch.cat([torch.arange(quarter), high])


def with_average(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state with `w_avg`, the mean code of latents that are the same everywhere.

    In float64 as well.
    """
    with torch.random.fork_rng(devices=[]):
        network = Generator()
    network.load_state_dict(state, strict=False)
    latents = torch.from_numpy(np.random.RandomState(0).standard_normal((SAMPLES, network.z_dim)))
    with torch.no_grad():
        network.mapping.double()
        mean = sum(network.mapping(part)[:, 0].sum(0) for part in latents.split(2000)) / SAMPLES
    return state | {"w_avg": mean.float().expand_as(network.w_avg).contiguous()}


FFHQ = SOURCES.register("ffhq")(FetchedModel(
    title="MobileStyleGAN of FFHQ (faces, 1024 px, for research)",
    requirement="random-face==2021.7.21.1",
    wheel_sha256="e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
    megabytes=38,
    variable="IDINVERT_FFHQ",
    members=tuple(f"random_face/data/{network}Network.{ending}"
                  for network in ("Mapping", "Synthesis") for ending in ("xml", "bin")),
    network=Generator,
    read=read,
    sha256="a45542cb989cf81678c3b007e6294e0ed5d9301a378d875970139c99c2460cd9",
    complete=with_average,
    computed=("w_avg",),
    facts={
        "role": "generator",
        "domain": "photograph",
        "format": "MobileStyleGAN",
        "data": "FFHQ",
        "inversion": {"resolution": 256, "feature_resolution": 128, "batch": 1, "bf16": True,
                      "learning_rate": 0.03,
                      "backbone": "pooled.Encoder"},
        "origin": "S. Belousov, MobileStyleGAN, arXiv 2104.04767, distilled from NVIDIA's "
                  "StyleGAN2 of FFHQ",
        "licence": "for research: package Apache-2.0; the teacher's weights under NVIDIA's "
                   "non-commercial source code licence; FFHQ under CC BY-NC-SA 4.0",
    },
))
