"""State dicts of other projects: read a file, find each of our tensors in it, fill a network."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.nn.architecture import build
from idinvert.nn.layers import check_resolution

from ..codec import MOST
from .records import RecordError, load_torch

State = Mapping[str, Tensor]
Shape = tuple[int, ...]
LARGEST = 4096  # px, and channels
LAYERS = 64
PREFIXES = ("module.", "_orig_mod.", "module.")  # either may be outside of the other


def same(value):
    """What needs no conversion."""
    return value


@dataclass(frozen=True)
class Place:
    """Where a tensor of ours is in a published file."""

    key: str
    read: Callable[[Tensor], Tensor] = same  # the published tensor -> ours
    shape: Callable[[Shape], Shape] = same  # our shape -> the published one


def pair(ours: str, theirs: str, *more: str) -> dict[str, Place]:
    """Places of a weight and a bias, and of `more`, that have the same names in both modules."""
    return {f"{ours}.{name}": Place(f"{theirs}.{name}") for name in ("weight", "bias", *more)}


def read_torch(path: str | Path) -> Any:
    """What a PyTorch file holds, see `records.load_torch`. A prefix of all names, which training on
    several GPUs or compiling leaves, is taken off.

    FileNotFoundError, and ValueError: anything but tensors and plain data.
    """
    try:
        return stripped(load_torch(Path(path).read_bytes()))
    except RecordError as error:
        raise ValueError(f"{path} is not a PyTorch file of plain tensors: it {error}.") from error


def stripped(content: Any, depth: int = 2) -> Any:
    """Dictionaries, to some depth, whose names do not all begin with one of PREFIXES."""
    if not isinstance(content, Mapping) or not depth:
        return content
    for prefix in PREFIXES:
        if content and all(isinstance(key, str) and key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
    return {key: stripped(value, depth - 1) for key, value in content.items()}


def beside(name: str, read: Callable[[], Any], there: bool) -> dict[str, Any]:
    """What is in a file beside the generator, by name; nothing, and a warning, if it is of another
    kind, as projected GANs have a discriminator of their own."""
    try:
        return {name: read()} if there else {}
    except ValueError as error:
        warnings.warn(f"The generator is imported without its discriminator: {error}", stacklevel=2)
        return {}


def is_state(content: Any) -> bool:
    """Whether something is a state dict: names and tensors."""
    return isinstance(content, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())


def check_plain(state: State) -> None:
    """ValueError unless all tensors have their numbers with them: a small file can describe one of
    any size by repeating a number, or without any."""
    for key, value in state.items():
        if (value.layout != torch.strided or value.is_quantized or value.is_nested
                or value.device.type != "cpu"
                or value.numel() * value.element_size() > value.untyped_storage().nbytes()):
            raise ValueError(f"Key '{key:.80}' holds no plain tensor of numbers.")


def check_numbers(key: str, value: Tensor) -> None:
    """ValueError unless a weight has numbers that a network computes with in float32: no whole
    ones, which are codes of some compression, and none that are not finite."""
    if not value.is_floating_point():
        raise ValueError(f"Key '{key}' holds numbers of the type {str(value.dtype)[6:]}, not "
                         "floats: import the network as it was before it was compressed.")
    if not value.is_meta and not value.float().isfinite().all():
        raise ValueError(f"Key '{key}' holds numbers that are not finite in float32: the training "
                         "has diverged, or the file is damaged.")


def check_filters(state: State, ending: str, scaled: bool = False,
                  filter: tuple[int, ...] = (1, 3, 3, 1), axes: int = 2) -> None:
    """ValueError unless images are resampled by one filter of floats, as in all published networks.

    The filters have keys with this ending, and this many axes, of which the last two are theirs.
    scaled: their sum need not be 1.
    """
    taps = torch.tensor(filter) / sum(filter)
    for key, value in state.items():
        if key.endswith(ending) and not value.is_meta:
            check_numbers(key, value)
            found = value.float() / (value.float().sum() if scaled else 1)
            if (found.ndim != axes or found.shape[-2:] != 2 * taps.shape
                    or not torch.allclose(found, torch.outer(taps, taps))):
                raise ValueError(f"Key '{key}' holds another filter than {list(filter)}.")


def last_index(state: State, pattern: str, example: str, largest: int = LAYERS) -> int:
    """The largest number among the keys of this pattern; ValueError if there is no such key, or the
    number is above any that a network has."""
    found = [match[1] for key in state if (match := re.fullmatch(pattern, key))]
    if not found:
        raise ValueError(f"Not a checkpoint of this kind: '{example}' is missing.")
    for digits in found:
        if len(digits) > 9 or int(digits) > largest:
            raise ValueError(f"A key like '{example}' has the number {digits:.9}, not one up to "
                             f"{largest}.")
    return max(map(int, found))


def resolution_of(blocks: int) -> int:
    """Pixels of a network with so many blocks of twice the last one's size, from 4 px on;
    ValueError: more than any network has, or too few."""
    resolution = 2 << blocks
    if resolution > LARGEST:
        raise ValueError(f"The networks are of {resolution} px, larger than {LARGEST}.")
    check_resolution(resolution)
    return resolution


def shape_of(state: State, key: str, dimensions: int) -> Shape:
    """Shape of a tensor that tells the architecture; ValueError unless it has that many axes."""
    if key not in state:
        raise ValueError(f"Not a checkpoint of this kind: '{key}' is missing.")
    shape = tuple(state[key].shape)
    if len(shape) != dimensions:
        raise ValueError(f"Key '{key}' has shape {list(shape)}, expected {dimensions} dimensions.")
    if not all(0 < size <= LARGEST * LAYERS for size in shape):
        raise ValueError(f"Key '{key}' has shape {list(shape)}, which no network has.")
    return shape


def outline(architecture: str, **settings: Any) -> nn.Module:
    """A network of shapes alone, which takes no memory: `convert` builds it once all keys fit."""
    with torch.device("meta"):
        return build(architecture, settings)


def convert(network: nn.Module, state: State, places: dict[str, Place], ignored: str,
            kind: str) -> nn.Module:
    """Fill the network, or the one of an outline, from the file, after checking every key; keys
    like `ignored` are skipped. Returns it, in eval mode."""
    own = network.state_dict()
    known = {place.key for place in places.values()}
    for key in state:
        if key not in known and not re.fullmatch(ignored, key):
            shape = list(state[key].shape)
            raise ValueError(f"Unknown key '{key:.80}' of shape {shape} in the published {kind}.")
    for name, place in places.items():
        expected = list(place.shape(tuple(own[name].shape)))
        if place.key not in state:
            raise ValueError(f"Key '{place.key}' of shape {expected} is missing from the {kind}.")
        found = list(state[place.key].shape)
        if found != expected:
            raise ValueError(f"Key '{place.key}' has shape {found}, expected {expected}.")
        check_numbers(place.key, state[place.key])
    if any(value.is_meta for value in own.values()):
        count = sum(value.numel() for value in own.values())
        if count > MOST:  # a smaller file may have them, as one tensor under many names
            raise ValueError(f"The {kind} has {count:.3g} numbers, more than the {MOST:.3g} that a "
                             "model can have.")
        network = build(network.architecture, network.settings)
        own = network.state_dict()
    own |= {name: place.read(state[place.key].float()) for name, place in places.items()}
    network.load_state_dict(own)
    return network.eval()
