"""Files of boundaries: safetensors, exact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save as serialised

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

    FileNotFoundError: no such file. ValueError: a file of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["boundaries"])
            return {name: Boundary(name, file.get_tensor(name),
                                   **note | {"layers": tuple(note["layers"])})
                    for name, note in notes.items()}
    except OSError:
        raise
    except Exception as error:  # damaged files raise many types
        raise ValueError(f"{path} is not a file of boundaries.") from error
