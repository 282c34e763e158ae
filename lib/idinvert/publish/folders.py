"""Folders whose content a build replaces."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

MARK = ".idinvert"  # a file in those that are ours to empty


def emptied(folder: Path, kept: Collection[str] = (), signs: Collection[str] = ()) -> None:
    """Make a folder, or remove what an earlier build left in it, but for what is `kept`.

    signs: names of which any one tells that the build of an earlier version made the folder.
    ValueError: it holds other files.
    """
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if names - set(kept) and names.isdisjoint({MARK, *signs}):
        raise ValueError(f"{folder} holds other files, which would be removed: name an empty "
                         "folder or a new one.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    for path in folder.iterdir():
        if path.name not in {MARK, *kept}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
