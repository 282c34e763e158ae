"""The list of models, zoo.yml: what the study trains, and how."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from idinvert.registry import nearest
from idinvert.settings import SettingsError, read

from .entries import TASKS, Entry

ZOO_FILE = Path(__file__).with_name("zoo.yml")


def entries(device: str = "cpu") -> dict[str, Entry]:
    """All entries, by model name, in the order in which they can be trained, as they are on a
    device: a GPU has settings of its own. SettingsError names an entry and what is wrong there."""
    return dict(read_entries(torch.device(device).type == "cuda"))


def entry(name: str, device: str = "cpu") -> Entry:
    """One entry; SettingsError names the nearest ones if there is none."""
    known = entries(device)
    if name not in known:
        raise SettingsError(f"Unknown model {name!r}: {nearest(name, known)}")
    return known[name]


@cache
def read_entries(gpu: bool) -> dict[str, Entry]:
    """The entries of the list, read once."""
    return parse(yaml.safe_load(ZOO_FILE.read_text()), gpu)


def parse(listed: dict[str, dict], gpu: bool = False) -> dict[str, Entry]:
    """The entries that a list describes; names that begin with a dot are parts of others."""
    found: dict[str, Entry] = {}
    for name, values in listed.items():
        if not name.startswith("."):
            found[name] = parse_entry(name, values, gpu, found)
    return found


def parse_entry(name: str, values: dict[str, Any], gpu: bool, before: dict[str, Entry]) -> Entry:
    """One entry; what it does not say of its domain is what its generator, among the entries before
    it, says."""
    where = f"{ZOO_FILE.name}, {name}"
    if not (isinstance(values, dict) and isinstance(values.get("gpu", {}), dict)):
        raise SettingsError(f"{where} should be a list of settings, not {values!r:.40}.")
    values = dict(values)
    faster = values.pop("gpu", {})
    kind = values.pop("kind", None)
    if kind not in TASKS:
        raise SettingsError(f"{where}: unknown kind {kind!r}: {nearest(str(kind), TASKS)}")
    if gpu:
        recipe = values.get("recipe", {}) | faster.get("recipe", {})
        values |= faster | {"recipe": recipe}
    if values.get("generator") in before:
        values.setdefault("domain", before[values["generator"]].domain)
    return read(TASKS[kind], {"name": name, **values}, where)
