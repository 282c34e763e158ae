"""State dicts of other projects: read a file, find each of our tensors in it, fill a network."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]
Shape = tuple[int, ...]


def same(value):
    """What needs no conversion."""
    return value


@dataclass(frozen=True)
class Source:
    """Where a tensor of ours is in a published file."""

    key: str
    read: Callable[[Tensor], Tensor] = same  # the published tensor -> ours
    shape: Callable[[Shape], Shape] = same  # our shape -> the published one


def read_torch(path: str | Path) -> Any:
    """What a PyTorch file holds, tensors on the CPU, without running code in it.

    The command line of a training script (argparse.Namespace), which many checkpoints carry, is
    plain data and let through. Raises FileNotFoundError, and ValueError if there is anything else.
    """
    with open(path, "rb") as file, torch.serialization.safe_globals([argparse.Namespace]):
        try:
            return torch.load(file, weights_only=True, map_location="cpu")
        except Exception as error:  # damaged files raise many types
            raise ValueError(f"{path} is not a PyTorch file of plain tensors.") from error


def last_index(state: State, pattern: str, example: str) -> int:
    """The largest number among the keys of this pattern; ValueError if there is no such key."""
    found = [int(match[1]) for key in state if (match := re.fullmatch(pattern, key))]
    if not found:
        raise ValueError(f"Not a checkpoint of this kind: '{example}' is missing.")
    return max(found)


def shape_of(state: State, key: str, dimensions: int) -> Shape:
    """Shape of a tensor that tells the architecture; ValueError unless it has that many axes."""
    if key not in state:
        raise ValueError(f"Not a checkpoint of this kind: '{key}' is missing.")
    shape = tuple(state[key].shape)
    if len(shape) != dimensions:
        raise ValueError(f"Key '{key}' has shape {list(shape)}, expected {dimensions} dimensions.")
    return shape


def load(network: nn.Module, state: State, sources: dict[str, Source], ignored: str,
         kind: str) -> nn.Module:
    """Fill the network from the file after checking every key; keys like `ignored` are skipped."""
    own = network.state_dict()
    known = {source.key for source in sources.values()}
    for key in state:
        if key not in known and not re.fullmatch(ignored, key):
            shape = list(state[key].shape)
            raise ValueError(f"Unknown key '{key}' of shape {shape} in the published {kind}.")
    for name, source in sources.items():
        expected = list(source.shape(tuple(own[name].shape)))
        if source.key not in state:
            raise ValueError(f"Key '{source.key}' of shape {expected} is missing from the {kind}.")
        found = list(state[source.key].shape)
        if found != expected:
            raise ValueError(f"Key '{source.key}' has shape {found}, expected {expected}.")
        own[name] = source.read(state[source.key].float())
    network.load_state_dict(own)
    return network.eval()
