"""Files that appear whole or not at all, and folders that several processes may write to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None


def cache_folder(name: str) -> Path:
    """A folder of what can be made or fetched again: `$IDINVERT_CACHE/NAME`, by default under
    ~/.cache/idinvert."""
    root = os.environ.get("IDINVERT_CACHE") or "~/.cache/idinvert"
    return Path(root).expanduser() / name


def present(path: Path, what: str) -> Path:
    """The path; FileNotFoundError, in a sentence that says what to do, if nothing is there."""
    if path.exists():
        return path
    unset = [part for part in path.parts if part.startswith("$")]
    hint = f"set {unset[0][1:]} to the folder they are in" if unset else "put them there"
    raise FileNotFoundError(f"There are no {what} at {path}: {hint}, or change the profile.")


def stamp(path: Path) -> tuple[int, int, int]:
    """Time of change, size and number of a file: another one means that it has changed."""
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path that replaces `path` only if the block succeeds.

    The file is on the disk before it takes its place, with the permissions of a new file. Processes
    that write the same file at once do not meet: the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode  # some writers leave others
        yield temporary
        temporary.chmod(permissions)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, for which other processes that ask for it wait; a process that ends in
    any way gives it back. Where the system has no locks, nothing is locked."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        with suppress(OSError):
            if fcntl:
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        if fcntl:
            os.close(handle)


def check_notes(path: Path, notes: dict) -> None:
    """Write what a folder's content depends on into a file of it.

    ValueError: the file is there and says something else.
    """
    notes = json.loads(json.dumps(notes))
    with locked(path.parent):
        if path.exists():
            found = json.loads(path.read_text())
            for key in {**notes, **found}:
                if found.get(key) != notes.get(key):
                    raise ValueError(f"{path.parent} was made with {key} {found.get(key)}, not "
                                     f"{notes.get(key)}: take another folder or name.")
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(notes, indent=1) + "\n")
