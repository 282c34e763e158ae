"""Files that appear whole or not at all, and folders that several processes may write to."""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None

PATIENCE = 5  # seconds of waiting for a lock until it is told

swept: set[Path] = set()  # folders from which this process has removed what killed ones left


class BusyError(ValueError):
    """Another command is at work in the same place; the message is one sentence."""


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
    that write the same file at once do not meet: the last one wins. What killed processes have left
    in the folder is removed when this process first writes there. OSError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in swept:
        sweep(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.touch()
        permissions = temporary.stat().st_mode  # some writers leave others
        with locked(temporary):  # which tells others that this process lives
            try:
                yield temporary
                temporary.chmod(permissions)
                with open(temporary, "rb") as file:
                    os.fsync(file.fileno())
            except Exception as error:
                check_space(temporary, path, error)
                raise
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_space(temporary: Path, path: Path, reason: Exception) -> None:
    """OSError if a file whose writer has failed cannot grow: libraries do not always say that the
    disk is full, or say it in words of their own."""
    try:
        with open(temporary, "ab") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as full:
        raise OSError(full.errno, os.strerror(full.errno), str(path)) from reason


def sweep(folder: Path) -> None:
    """Remove what killed processes have left of `replacing` in a folder."""
    swept.add(folder)
    for path in folder.glob(".*.partial"):
        with suppress(OSError), open(path, "rb+") as file:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError: its process lives
                path.unlink()


@contextmanager
def locked(place: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a file, or of a folder, which is made if there is none; a process that ends
    in any way gives it back. Where the system has no locks, nothing is locked.

    BusyError: another process holds the lock, and this one is not to wait for it.
    """
    if not place.exists():
        place.mkdir(parents=True, exist_ok=True)
    handle = os.open(place, os.O_RDONLY) if fcntl else None
    try:
        if fcntl:
            take_lock(handle, place, wait)
        yield
    finally:
        if fcntl:
            os.close(handle)


def take_lock(handle: int, place: Path, wait: bool) -> None:
    """Lock an open file or folder; BusyError as for `locked`."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise BusyError(f"{place} is in use by another command: wait until that has ended, or "
                            "write to another place.") from None
        told = threading.Timer(PATIENCE, warnings.warn, [
            f"waiting for another command that is at work in {place}: let it go on, or end it, if "
            "it was suspended."])
        told.start()
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        finally:
            told.cancel()
    except OSError:  # a file system without locks
        pass


def check_notes(path: Path, notes: dict, options: Mapping[str, str] = {}) -> None:
    """Write what a folder's content depends on into a file of it.

    options: of a command, by the notes that they change, where these have other names.
    ValueError: the file is there and says something else.
    """
    notes = json.loads(json.dumps(notes))
    with locked(path.parent):
        if path.exists():
            found = read_notes(path)
            for key in {**notes, **found}:
                if found.get(key) != notes.get(key):
                    if isinstance(found.get(key), dict) and isinstance(notes.get(key), dict):
                        key = next(part for part in {**notes[key], **found[key]}
                                   if found[key].get(part) != notes[key].get(part))
                        raise ValueError(f"{path.parent} was made with another {key}: take another "
                                         "folder or name.")
                    hint = f", which {options[key]} changes" if key in options else ""
                    raise ValueError(f"{path.parent} was made with {key} {found.get(key)}, not "
                                     f"{notes.get(key)}{hint}: take another folder or name.")
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(notes, indent=1) + "\n")


def read_notes(path: Path) -> dict:
    """What a file of notes says; ValueError: it is damaged."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError):  # of brackets within brackets
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} is damaged: remove it if you know that the folder was made with "
                         "the same settings, or take another folder.")
    return found
