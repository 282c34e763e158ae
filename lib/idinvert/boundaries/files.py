"""Files of boundaries: safetensors, exact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from idinvert.files import replacing

from .boundary import Boundary


def save(boundaries: Iterable[Boundary], path: str | Path) -> None:
    """Write boundaries to a safetensors file, exactly: tensors by name, the rest as metadata.

    ValueError: two boundaries share a name.
    """
    boundaries = list(boundaries)
    tensors = {b.name: b.normal.contiguous().cpu() for b in boundaries}
    if len(tensors) < len(boundaries):
        raise ValueError("Boundaries saved to one file must have different names.")
    notes = {b.name: {"intercept": b.intercept, "layers": b.layers, "accuracy": b.accuracy,
                      "space": b.space} for b in boundaries}
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(serialised(tensors, {"boundaries": json.dumps(notes)}))


def load(path: str | Path) -> dict[str, Boundary]:
    """Boundaries by name from a file written by `save`, in the order they were saved in.

    FileNotFoundError: no such file. ValueError: a file of another kind, or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["boundaries"])
            return {name: boundary(name, file.get_tensor(name), note)
                    for name, note in notes.items()}
    except (OSError, MemoryError):
        raise
    except Exception as error:  # notes that are damaged raise many types
        raise ValueError(f"{path} is not a file of boundaries, or damaged: remove it, then fetch, "
                         "import or fit them again.") from error


def boundary(name: str, normal: Tensor, note: dict[str, Any]) -> Boundary:
    """A boundary of its normal and notes; ValueError, TypeError, KeyError: they do not fit."""
    return Boundary(name, normal.float(), float(note["intercept"]), tuple(note["layers"]),
                    float(note["accuracy"]), note["space"])
