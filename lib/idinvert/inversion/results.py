"""The folder of an inversion's results: which image each of its files is of.

Every code tells the name of its image, and the size and SHA-256 of its file. Results of an image so
never pass for those of another one of the same name.
"""

from __future__ import annotations

import errno
import hashlib
import math
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib.format import (
    MAGIC_LEN,
    MAGIC_PREFIX,
    read_array_header_1_0,
    read_array_header_2_0,
)

from idinvert.data.sources import is_added, natural

# What a folder of results has, beside what tells how they were made
PLACES = ("codes", "images", "failed", "codes.npy", "losses.csv", "comparison.png")
TUNED = "tuned_"  # begins the names of tuned weights in a file of a code
SUFFIXES = (".npz", ".png", ".txt")
LARGEST = 1 << 30  # bytes of a file of a code
LONGEST = 200  # bytes of a part of a file's name, to which suffixes are added
LONGEST_WHOLE = 2000  # bytes of all parts; systems take 4,095 of a path
DEEPEST = 100  # parts; making and listing folders takes a call of a function for each
RESERVED = r'[<>:"|?*\\]'  # characters that Windows, and its disks elsewhere, have in no name


class Found(NamedTuple):
    """Of which image a code is, by the size and SHA-256 of its file and the part of it that was
    inverted, and the code's shape."""

    bytes: int
    sha256: str
    view: str
    shape: tuple[int, ...]


class Results:
    """The results in a folder, and the names of those to come.

    names: of the images to invert. files: for each image, also for those that the folder has from
    earlier runs, the name of its files. damaged: files of codes that could not be read, as a full
    disk leaves them, and were removed.
    """

    def __init__(self, out: Path, names: Sequence[str]):
        self.out, self.damaged = out, []
        self.found: dict[str, Found] = {}  # by the names of images
        known = {}
        for path in sorted((out / "codes").rglob("*.npz")):
            if is_added(path.name) or path.is_dir():  # of images that lie in a folder "a.npz"
                continue
            row = read_row(path)
            if row is None:
                path.unlink(missing_ok=True)
                self.damaged.append(path)
                continue
            if "image" not in row:
                raise ValueError(f"{out} was made by an older version, which did not note the "
                                 "images: take another folder.")
            name = str(row["image"])
            known[name] = path.relative_to(out / "codes").as_posix().removesuffix(".npz")
            self.found[name] = Found(int(row["bytes"]), str(row["sha256"]),
                                     str(row.get("view", "")), row["code"].shape)
        self.files = file_names(names, known)
        self.names = list(names)
        if not set(known) <= set(names):
            self.names = sorted({*names, *known}, key=natural)

    def code(self, name: str) -> Path:
        """Where the code of an image is."""
        return self.out / "codes" / f"{self.files[name]}.npz"

    def image(self, name: str) -> Path:
        """Where the inverted image is."""
        return self.out / "images" / f"{self.files[name]}.png"

    def failure(self, name: str) -> Path:
        """Where it is noted why an image could not be read."""
        return self.out / "failed" / f"{self.files[name]}.txt"

    def check(self, name: str, content: bytes, view: str = "") -> None:
        """ValueError if the folder has an inversion of another image under this name, or of another
        face of it."""
        found = self.found.get(name)
        if found and found.sha256 != hashlib.sha256(content).hexdigest():
            now = "the same size" if len(content) == found.bytes else f"{len(content)} bytes"
            raise ValueError(f"{self.out} has the inversion of another {name}, of {found.bytes} "
                             f"bytes; this one has {now} and another content: take another folder.")
        if found and found.view != view:
            raise ValueError(f"{self.out} has the inversion of another part of {name}, as --face "
                             "and --no-align choose it: take another folder.")


def identity(name: str, content: bytes, view: str = "") -> dict[str, np.ndarray]:
    """What a code tells of its image."""
    told = {"image": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    told |= {"view": view} if view else {}
    return {key: np.array(value) for key, value in told.items()}


def read_row(path: Path) -> dict[str, Any] | None:
    """What is known of an image, without tuned weights; None if the file is damaged, or if another
    process has found it so and removed it. OSError: it cannot be read, as of another user or on a
    disk that is not there, which says nothing of it."""
    try:
        check_unpacked(path)
        with np.load(path, allow_pickle=False) as file:
            row = {key: file[key] for key in file.files if not key.startswith(TUNED)}
        return row if "image" not in row or is_whole(row) else None
    except MemoryError:
        raise
    except OSError as error:
        if error.errno not in (None, errno.ENOENT):
            raise
        return None
    except Exception:  # zipfile and NumPy raise many types on damaged files
        return None


def check_unpacked(path: Path) -> None:
    """ValueError if a zip of arrays unpacks to more than any image's code and weights have, or an
    array says that it has more numbers than follow, as small files can."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > LARGEST:
                raise ValueError(f"{path} unpacks to more than {LARGEST >> 30} GB.")
            for part in archive.infolist():
                with archive.open(part) as file:
                    if claimed(file) > part.file_size:
                        raise ValueError(f"{path} holds less than it says.")


def claimed(file: IO[bytes]) -> int:
    """The bytes of the numbers that a file of an array says it holds; 0 of another file.
    ValueError: it is damaged, or of a version that holds no numbers."""
    begins = file.read(MAGIC_LEN)
    if not begins.startswith(MAGIC_PREFIX):
        return 0
    read = {b"\1\0": read_array_header_1_0, b"\2\0": read_array_header_2_0}.get(begins[-2:])
    if read is None:
        raise ValueError("this version is for arrays whose columns have names")
    shape, _, kind = read(file)
    return math.prod(shape) * kind.itemsize


def is_whole(row: Mapping[str, Any]) -> bool:
    """Whether a file has all that is said of an image, each of its kind: another program may have
    written it. KeyError: something is missing."""
    losses = [value for key, value in row.items() if key.startswith("loss_")]
    return (row["code"].ndim == 2 and row["code"].dtype.kind == "f"
            and all(row[key].ndim == 0 for key in ("image", "bytes", "sha256", "mse", "diverged"))
            and row["bytes"].dtype.kind in "iu" and row["mse"].dtype.kind == "f"
            and all(value.ndim == 1 and value.size and value.dtype.kind == "f"
                    for value in losses))


def file_names(names: Sequence[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """For each image the name of its results: without its suffix unless others share it.

    known: names that images have already. No two are alike, on systems that do not tell upper from
    lower case either; each is `portable`, and none is that of a folder of others.
    """
    files = dict(known or {})
    everything = list(dict.fromkeys([*files, *names]))
    stems = Counter(place(stem(name)) for name in everything)
    whole = {place(name) for name in everything}
    folders = {place(str(parent)) for name in everything
               for parent in PurePosixPath(portable(name)).parents}
    used = {place(file) for file in files.values()}

    def free(file: str) -> bool:
        return place(file) not in used and not any(
            place(f"{file}{suffix}") in folders for suffix in SUFFIXES)

    for name in everything:
        if name not in files:
            shared = stems[place(stem(name))] > 1 or (
                stem(name) != name and place(stem(name)) in whole)
            numbered = (f"{name}-{number}" for number in count(2))
            tried = map(portable, chain([] if shared else [stem(name)], [name], numbered))
            files[name] = next(filter(free, tried))
            used.add(place(files[name]))
    return files


def stem(name: str) -> str:
    """A name without its suffix."""
    return name.removesuffix(PurePosixPath(name).suffix)


def place(name: str) -> str:
    """A name as file systems compare it that fold letters or accents."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def portable(name: str) -> str:
    """A name that every file system takes: characters that some do not are "_", and what is cut off
    of a name, or of a part of it, that is too long or too deep is told by a hash."""
    parts = re.sub(RESERVED, "_", name).split("/")
    for i, part in enumerate(parts):
        data = part.encode()
        if len(data) > LONGEST:
            kept = data[:LONGEST - 18].decode(errors="ignore")
            parts[i] = f"{kept}~{hashlib.sha256(data).hexdigest()[:16]}"
    whole = "/".join(parts)
    if len(data := whole.encode()) > LONGEST_WHOLE or len(parts) > DEEPEST:
        return f"{hashlib.sha256(data).hexdigest()[:16]}/{parts[-1]}"
    return whole
