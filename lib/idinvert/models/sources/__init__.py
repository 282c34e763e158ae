"""Models that are not stored here but fetched: from a package, at set-up or when first used.

Each is one file with one registered entry, a `FetchedModel`, which says where the model comes from,
under which licences, and how its files are read. What was fetched is kept in the cache as any other
model is, weights and card; a SHA-256 over the tensors is checked whenever a process loads it.

`python -m idinvert.models.pretrained` fetches all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from idinvert.files import cache_folder, locked, replacing, stamp
from idinvert.registry import Registry

from ..packages import Package, State, tensors_sha256


@dataclass(frozen=True, kw_only=True)
class FetchedModel(Package):
    """Where a model comes from, what is known about it, and how its files are read."""

    network: Callable[[], nn.Module]  # untrained
    complete: Callable[[State], State] = dict  # adds `computed` tensors, which no hash covers
    computed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # of the card: role, licence, origin, ..
    kept_in: str = "fetched"


SOURCES: Registry[FetchedModel] = Registry(
    "fetched model", "idinvert.models.sources", lambda entry: isinstance(entry, FetchedModel),
    "it needs to be a `FetchedModel`")


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
    paths = [folder() / f"{name}.json", SOURCES[name].path(name)]
    return all(map(Path.is_file, paths)) and intact(name, *paths, *map(stamp, paths))


@lru_cache(64)
def intact(name: str, card_path: Path, weights: Path, *unchanged: tuple) -> bool:
    """Whether files that have these stamps are a model's card and weights; of its tensors, those
    that were computed are not compared."""
    source, content = SOURCES[name], weights.read_bytes()
    try:
        recorded = json.loads(card_path.read_text())["sha256"]
        state = safetensors.torch.load(content)
    except (ValueError, TypeError, KeyError, safetensors.SafetensorError):
        return False
    read = {key: value for key, value in state.items() if key not in source.computed}
    return (recorded == hashlib.sha256(content).hexdigest()
            and tensors_sha256(read) == source.sha256)


def fetch(name: str) -> None:
    """Put a model into the cache; errors as `provide`."""
    source = SOURCES[name]
    content = safetensors.torch.save(source.complete(source.fetch()))
    card = described(name) | {"sha256": hashlib.sha256(content).hexdigest()}
    with replacing(source.path(name)) as path:
        path.write_bytes(content)
    with replacing(folder() / f"{name}.json") as path:
        path.write_text(json.dumps(card, indent=1) + "\n")
