"""Files of boundaries: safetensors, exact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor

from idinvert.files import replacing

from .boundary import Boundary

METADATA = "__metadata__"  # what the notes in such a file are called, and no tensor can be


def save(boundaries: Iterable[Boundary], path: str | Path) -> None:
    """Write boundaries to a safetensors file, exactly: tensors by name, the rest as metadata.

    ValueError: as `by_name`.
    """
    named = by_name(boundaries)
    # The format takes no tensors that share memory
    tensors = {name: b.normal.detach().cpu().contiguous().clone() for name, b in named.items()}
    notes = {name: {"intercept": b.intercept, "layers": b.layers, "accuracy": b.accuracy,
                    "space": b.space, "generator": b.generator} for name, b in named.items()}
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(serialised(tensors, {"boundaries": json.dumps(notes)}))


def by_name(boundaries: Iterable[Boundary]) -> dict[str, Boundary]:
    """Boundaries by their names; ValueError: two share one, one has a name that no file can hold,
    or something else is among them."""
    named = {}
    for found in boundaries:
        if not (isinstance(found, Boundary) and isinstance(found.name, str)):
            raise ValueError(f"Expected boundaries with names, not {found!r:.60}.")
        if found.name in named:
            raise ValueError("Boundaries saved to one file must have different names.")
        if found.name == METADATA:
            raise ValueError(f"No boundary in a file can be called {METADATA!r}.")
        named[found.name] = found
    return named


def load(path: str | Path) -> dict[str, Boundary]:
    """Boundaries by name from a file written by `save`, in the order they were saved in.

    FileNotFoundError: no such file. ValueError: a file of another kind, or damaged.
    """
    content = Path(path).read_bytes()  # once, for another command may replace the file
    try:
        normals = deserialised(content)
        header = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])
        notes = json.loads(header[METADATA]["boundaries"])
        return {name: boundary(name, normals[name], note) for name, note in notes.items()}
    except MemoryError:
        raise
    except Exception as error:  # notes that are damaged raise many types
        raise ValueError(f"{path} is not a file of boundaries, or damaged: remove it, then fetch, "
                         "import or fit them again.") from error


def boundary(name: str, normal: Tensor, note: dict[str, Any]) -> Boundary:
    """A boundary of its normal and notes; ValueError, TypeError, KeyError: they do not fit."""
    return Boundary(name, normal.float(), float(note["intercept"]), tuple(note["layers"]),
                    float(note["accuracy"]), note["space"], note.get("generator"))
