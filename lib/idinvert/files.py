"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder of what can be made or fetched again: `$IDINVERT_CACHE/NAME`, by default under
    ~/.cache/idinvert."""
    root = os.environ.get("IDINVERT_CACHE") or "~/.cache/idinvert"
    return Path(root).expanduser() / name


def present(path: Path, what: str) -> Path:
    """The path; FileNotFoundError, in a sentence that helps, if there is nothing."""
    if path.exists():
        return path
    unset = [part for part in path.parts if part.startswith("$")]
    hint = f"set {unset[0][1:]} to the folder they are in" if unset else "put them there"
    raise FileNotFoundError(f"The {what} are expected at {path}, where nothing is: {hint}, or "
                            "change the profile.")


@contextmanager
def replacing(path: Path):
    """Give a temporary path that replaces `path` only if the block succeeds.

    Processes that write the same file at once do not meet: the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_notes(path: Path, notes: dict) -> None:
    """Write what a folder's content depends on into a file of it.

    ValueError: the file is there and says something else.
    """
    notes = json.loads(json.dumps(notes))
    if path.exists():
        found = json.loads(path.read_text())
        for key in {**notes, **found}:
            if found.get(key) != notes.get(key):
                raise ValueError(f"{path.parent} was made with {key} {found.get(key)}, not "
                                 f"{notes.get(key)}: take another folder or name.")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(notes, indent=1) + "\n")
