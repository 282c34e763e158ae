"""Files of boundaries: safetensors, exact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor

from idinvert.files import replacing

from .boundary import Boundary


def save(boundaries: Iterable[Boundary], path: str | Path) -> None:
    """Write boundaries to a safetensors file, exactly: tensors by name, the rest as metadata.

    ValueError: as `by_name`.
    """
    named = by_name(boundaries)
    tensors = {name: b.normal.contiguous().cpu() for name, b in named.items()}
    notes = {name: {"intercept": b.intercept, "layers": b.layers, "accuracy": b.accuracy,
                      "space": b.space} for name, b in named.items()}
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(serialised(tensors, {"boundaries": json.dumps(notes)}))


def by_name(boundaries: Iterable[Boundary]) -> dict[str, Boundary]:
    """Boundaries by their names; ValueError: two share one, one has a name that files cannot have,
    or something else is among them."""
    named = {}
    for found in boundaries:
        if not (isinstance(found, Boundary) and isinstance(found.name, str)):
            raise ValueError(f"Expected boundaries with names, not {found!r:.60}.")
        if found.name == "__metadata__":  # which means something else in a safetensors file
            raise ValueError("'__metadata__' is none of the names that a boundary can have.")
        if found.name in named:
            raise ValueError("Boundaries saved to one file must have different names.")
        named[found.name] = found
    return named


def load(path: str | Path) -> dict[str, Boundary]:
    """Boundaries by name from a file written by `save`, in the order they were saved in.

    FileNotFoundError: no such file. ValueError: a file of another kind, or damaged.
    """
    try:
        with safe_open(path, "np") as file:  # "pt" takes no path that is not UTF-8
            notes = json.loads(file.metadata()["boundaries"])
        normals = deserialised(Path(path).read_bytes())
        return {name: boundary(name, normals[name], note) for name, note in notes.items()}
    except (OSError, MemoryError):
        raise
    except Exception as error:  # notes that are damaged raise many types
        raise ValueError(f"{path} is not a file of boundaries, or damaged: remove it, then fetch, "
                         "import or fit them again.") from error


def boundary(name: str, normal: Tensor, note: dict[str, Any]) -> Boundary:
    """A boundary of its normal and notes; ValueError, TypeError, KeyError: they do not fit."""
    return Boundary(name, normal.float(), float(note["intercept"]), tuple(note["layers"]),
                    float(note["accuracy"]), note["space"])
