"""Images of the user's own: a folder, a zip, or an LMDB as LSUN has it, read one by one.

Every source is a list of names in a fixed order and a way to read one of them; nothing is unpacked.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .images import SUFFIXES, ImageError, decode_image, to_uint8

SPLITS = ("ffhq", "lsun", "all")
LARGEST_FILE = 1 << 28  # bytes of one encoded image


@dataclass(frozen=True)
class Source:
    """Names of images, relative to where they are, and a function that gives one encoded."""

    names: Sequence[str]
    encoded: Callable[[str], bytes]

    def read(self, name: str, size: int, crop: bool = True) -> Tensor:
        """One image [3, size, size] in [-1, 1], as `read_image`; ImageError names it."""
        try:
            data = self.encoded(name)
        except ImageError:
            raise
        except Exception as error:  # archives raise many types on damaged entries
            reason = str(error).rstrip(".") or type(error).__name__
            raise ImageError(f"{name} cannot be read: {reason}.") from error
        return decode_image(data, name, size, crop)


def open_source(*paths: str | Path) -> Source:
    """The images of a folder (with its subfolders, in natural order), a zip, an LMDB or a file.

    Of several such paths the images come one after the other; their names begin with what tells
    the paths apart ("photos/1.png", "more.zip/1.png").
    ValueError: there are none, a zip has names that leave its folder, or the file is damaged.
    ImportError: an LMDB, and the package `lmdb` is missing. FileNotFoundError.
    """
    sources = [source_at(Path(path)) for path in paths]
    if len(sources) == 1:
        return sources[0]
    absolute = [Path(path).absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in absolute])
    found = {}
    for path, source in zip(absolute, sources):
        place = (path.parent if path.is_file() and source.names == [path.name] else path)
        prefix = place.relative_to(common).as_posix()
        for name in source.names:
            found[name if prefix == "." else f"{prefix}/{name}"] = (source, name)

    def encoded(name: str) -> bytes:
        source, own = found[name]
        return source.encoded(own)

    return Source(list(found), encoded)


def source_at(path: Path) -> Source:
    """The images of one path; errors as `open_source`."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if (path / "data.mdb").exists():
        source = lmdb_source(path)
    elif path.is_dir():
        source = folder_source(path)
    elif zipfile.is_zipfile(path):
        source = zip_source(path)
    elif path.suffix.lower() in SUFFIXES:
        source = Source([path.name], lambda name: limited(path))
    else:
        raise ValueError(f"{path} is no folder, zip, LMDB or image file.")
    if not source.names:
        raise ValueError(f"{path} holds no image files.")
    return source


def natural(name: str) -> list:
    """Sorting key: numbers in a name count as numbers, "9.png" before "10.png"."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)] + [name]


def is_image(name: str) -> bool:
    """Whether a file name has a suffix of an image format and is none of those that Macs add."""
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")


def folder_source(folder: Path) -> Source:
    """Image files of a folder and its subfolders."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return Source(sorted(filter(is_image, files), key=natural),
                  lambda name: limited(folder / name))


def limited(path: Path) -> bytes:
    """A file's content; ImageError if it is too large for an image."""
    if path.stat().st_size > LARGEST_FILE:
        raise ImageError(f"{path} has more than {LARGEST_FILE >> 20} MB.")
    return path.read_bytes()


def zip_source(path: Path) -> Source:
    """Image files of a zip; ValueError if one of its names leaves its folder."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ValueError(f"{path} is no readable zip file.") from error
    names = [name for name in archive.namelist() if not name.endswith("/")]
    for name in names:
        if leaves(name):
            raise ValueError(f"{path} has the name {name[:80]!r}, which leaves its folder.")
    names = sorted(set(filter(is_image, names)), key=natural)

    def encoded(name: str) -> bytes:
        with archive.open(name) as file:  # a header may understate the size
            data = file.read(LARGEST_FILE + 1)
        if len(data) > LARGEST_FILE:
            raise ImageError(f"{name} has more than {LARGEST_FILE >> 20} MB.")
        return data

    return Source(names, encoded)


def leaves(name: str) -> bool:
    """Whether a name in an archive points out of the folder it would be unpacked to."""
    parts = re.split(r"[/\\]", name)
    return (name.startswith(("/", "\\")) or ".." in parts or "\0" in name
            or re.match(r"[A-Za-z]:", name) is not None)


def lmdb_source(folder: Path) -> Source:
    """Values of an LMDB in the order of their keys, as LSUN has its images (WebP)."""
    try:
        import lmdb
    except ImportError as error:
        raise ImportError(f"Reading {folder} needs lmdb: install it with pip install lmdb."
                          ) from error
    try:
        database = lmdb.open(str(folder), readonly=True, lock=False, readahead=False, meminit=False)
        with database.begin() as transaction:
            keys = list(transaction.cursor().iternext(values=False))
    except lmdb.Error as error:
        raise ValueError(f"{folder} is no readable LMDB.") from error
    by_name = {key_name(key): key for key in keys}

    def encoded(name: str) -> bytes:
        with database.begin() as transaction:
            return bytes(transaction.get(by_name[name]))

    return Source(list(by_name), encoded)


def key_name(key: bytes) -> str:
    """The name of an image: its key if that can name a file, else in hexadecimal."""
    text = key.decode("ascii", "replace")
    return text if re.fullmatch(r"[\w.-]*\w[\w.-]*", text, re.ASCII) else key.hex()


def split(count: int, kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test images among `count`, as the paper has them.

    "ffhq": the first 65,000 and the last 5,000. "lsun": 100,000 drawn by `seed` from the first
    600,000 and 5,000 from the rest, in increasing order. "all": all, and none.
    ValueError: unknown kind, or fewer images.
    """
    needed = {"ffhq": 70_000, "lsun": 605_000, "all": 0}
    if kind not in needed:
        raise ValueError(f"Unknown split {kind!r}: expected one of {', '.join(SPLITS)}.")
    if count < needed[kind]:
        raise ValueError(f"The split {kind} needs {needed[kind]} images, but there are {count}.")
    if kind == "all":
        return np.arange(count), np.arange(0)
    if kind == "ffhq":
        return np.arange(65_000), np.arange(count - 5_000, count)
    rng = np.random.default_rng(seed)
    train = rng.choice(600_000, 100_000, replace=False)
    test = 600_000 + rng.choice(count - 600_000, 5_000, replace=False)
    return np.sort(train), np.sort(test)


def load_images(source: Source, size: int, names: Sequence[str] | None = None, crop: bool = True,
                progress: bool = True) -> tuple[Tensor, list[str], list[ImageError]]:
    """Images uint8 [N, 3, size, size], their names, and an error for each that is left out.

    They are held in memory: 65,000 of 256 px take 13 GB.
    """
    names = list(source.names if names is None else names)
    images = torch.empty(len(names), 3, size, size, dtype=torch.uint8)
    kept, errors = [], []
    for name in tqdm(names, desc="images", unit="img", disable=not progress):
        try:
            images[len(kept)] = to_uint8(source.read(name, size, crop))
            kept.append(name)
        except ImageError as error:
            errors.append(error)
    return images[: len(kept)], kept, errors
