"""Warnings where codes, or an encoder, are of another model than the one that takes them, or of one
tuned to an image: of the same size, they are taken without an error, but mean other images."""

from __future__ import annotations

import warnings
from contextlib import suppress
from pathlib import Path

from idinvert import models
from idinvert.data.sources import from_root, holds_results
from idinvert.files import read_notes
from idinvert.inversion.methods import METHODS


def warn_of_codes(path: Path, model: str, alone: bool = False) -> None:
    """Warn if a file or a folder that `idinvert invert` wrote has codes of another generator, or
    has them alone, without the generators that were tuned to their images."""
    notes = notes_on(path)
    method = notes.get("method")
    if alone and isinstance(method, str) and getattr(METHODS.get(method), "tunes", False):
        warnings.warn(f"{path} has codes alone, but {method} tuned the generator to each image: "
                      "without that it makes other images; name the .npz files in codes/.",
                      stacklevel=2)
    digests = notes.get("sha256")
    own = digests.get("generator") if isinstance(digests, dict) else None
    if own not in (None, models.digest(model)):
        made = notes.get("model")
        was = f"{model} as it was before" if made == model else f"the model {made}"
        warnings.warn(f"{path} has codes of {was}, of which {model} makes other images.",
                      stacklevel=2)


def warn_of_encoder(encoder: str, model: str) -> None:
    """Warn if an encoder was trained for another generator."""
    known = models.card(encoder).get("generator")
    if known not in (None, model):
        warnings.warn(f"{encoder} was trained for the codes of {known}, of which {model} makes "
                      "other images.", stacklevel=2)


def notes_on(path: Path) -> dict:
    """What a folder of results that has a path notes; nothing if there is none."""
    path = from_root(path)
    for folder in (path, *path.parents):
        if holds_results(folder):
            with suppress(ValueError, OSError):
                return read_notes(folder / "settings.json")
    return {}
