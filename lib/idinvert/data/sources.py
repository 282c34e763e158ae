"""Images of the user's own: a folder, a zip, or an LMDB as LSUN has it, read one by one.

Every source is a list of names in a fixed order and a way to read one of them; nothing is unpacked.
"""

from __future__ import annotations

import importlib.util
import os
import posixpath
import re
import struct
import subprocess
import sys
import weakref
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from idinvert.settings import Pixels, checked

from .formats import BEGINNING, is_image
from .images import (
    LARGEST_FILE,
    ImageError,
    file_content,
    open_image,
    read_image,
    squared,
    to_uint8,
)

SPLITS = ("ffhq", "lsun", "all")
UNPACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # of others, Python unpacks any amount
NAMED = 5  # files that were left out


@dataclass(frozen=True)
class Source:
    """Names of images, relative to where they are, and a function that gives one encoded.

    A name is text that can be written and printed, whatever the file's name is made of. Files that
    are no images are in `others`.
    """

    names: Sequence[str]
    encoded: Callable[[str], bytes]
    others: Sequence[str] = ()

    def content(self, name: str) -> bytes:
        """One encoded image; ImageError names it."""
        try:
            return self.encoded(name)
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # archives raise many types on damaged entries
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise ImageError(f"{name} cannot be read: {reason.rstrip('.')}.") from error

    def read(self, name: str, size: int, crop: bool = True) -> Tensor:
        """One image [3, size, size] in [-1, 1], as `read_image`; ImageError names it."""
        return squared(self.open(name), name, size, crop)

    def open(self, name: str) -> Image.Image:
        """One image, upright and RGB, of its own size; ImageError names it."""
        return open_image(name, self.content(name))

    def left_out(self) -> str:
        """A sentence on the files that are no images; empty if there are none."""
        count, named = len(self.others), ", ".join(self.others[:NAMED])
        more = f" and {count - NAMED} more" if count > NAMED else ""
        what = "file is no image and was" if count == 1 else "files are no images and were"
        return f"{count} {what} left out: {named}{more}." if count else ""


class NoImagesError(ValueError):
    """A path without images; the message is one sentence."""


def open_source(*paths: str | Path) -> Source:
    """The images of a folder (with its subfolders, in natural order), a zip, an LMDB or a file.

    Of several such paths the images come one after the other; their names begin with what tells
    the paths apart ("photos/1.png", "more.zip/1.png"). Paths without images are left out, as a
    shell names them where somebody writes photos/*.
    NoImagesError: there are no others. ValueError: a zip has names that leave its folder, or the
    file is damaged. ImportError: an LMDB, and the package `lmdb` is missing. FileNotFoundError.
    """
    sources, without = {}, {}
    for path in map(Path, paths):
        try:
            sources[from_root(path)] = source_at(path)
        except NoImagesError as error:
            without[text(str(path))] = error
    if not sources:
        raise next(iter(without.values()), NoImagesError("Name a folder, zip, LMDB or image file."))
    common = os.path.commonpath([path.parent for path in sources])
    found, others = {}, [*without]
    if len(sources) == 1:
        source, = sources.values()
        return replace(source, others=[*source.others, *others])
    for path, source in sources.items():
        place = (path.parent if path.is_file() and source.names == [text(path.name)] else path)
        prefix = text(place.relative_to(common).as_posix())
        prefix = "" if prefix == "." else f"{prefix}/"
        found |= {prefix + name: (source, name) for name in source.names}
        others += [prefix + name for name in source.others]

    def encoded(name: str) -> bytes:
        source, own = found[name]
        return source.encoded(own)

    return Source(list(found), encoded, others)


def from_root(path: Path) -> Path:
    """A path from the root on, without "..", by which names of results would leave their folder;
    links stay links where they can."""
    if ".." not in path.parts:
        return path.absolute()
    return path.resolve() if path.name == ".." else path.parent.resolve() / path.name


def source_at(path: Path) -> Source:
    """The images of one path; errors as `open_source`."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if path.name == "data.mdb":
        path = path.parent
    if (path / "data.mdb").exists():
        source = lmdb_source(path)
    elif path.is_dir():
        source = folder_source(path)
    elif not path.is_file():  # a device or a pipe, which may have no end
        raise NoImagesError(f"{path} is no folder, zip, LMDB or image file.")
    elif is_image(path.name, lambda: beginning(path)):  # also where a zip follows the image
        source = Source([text(path.name)], lambda name: file_content(path))
    elif zipfile.is_zipfile(path) or beginning(path).startswith(b"PK\3\4"):  # without its end
        source = zip_source(path)
    else:
        raise NoImagesError(f"{path} is no folder, zip, LMDB or image file.")
    if not source.names:
        others = f": {source.left_out()}" if source.others else "."
        raise NoImagesError(f"{path} holds no image files{others}")
    return source


def text(name: str) -> str:
    """A file's name as text on one line; bytes of it that are none are written as \\xe9, and so are
    characters that a terminal would obey."""
    found = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", found)


def natural(name: str) -> tuple[list, str]:
    """Sorting key: numbers in a name count as numbers, "9.png" before "10.png"."""
    parts = re.split(r"([0-9]+)", name)
    numbers = (part.lstrip("0") for part in parts[1::2])
    parts[1::2] = [(len(digits), digits) for digits in numbers]
    return parts, name  # apart: what ends earlier comes first, "scan" before "scan2"


def is_added(name: str) -> bool:
    """Whether a file is one of those that Macs add to images."""
    return name.rpartition("/")[2].startswith("._")


def visible(names: Iterable[str]) -> list[str]:
    """The names that do not begin with a dot, in natural order."""
    return sorted((name for name in names if not name.rpartition("/")[2].startswith(".")),
                  key=natural)


def folder_source(folder: Path) -> Source:
    """Image files of a folder and its subfolders."""
    others = []
    files = image_files(folder, others)
    return Source([*files], lambda name: file_content(files[name]), visible(others))


def image_files(folder: Path, others: list[str]) -> dict[str, Path]:
    """Path of each image file of a folder and its subfolders by its name, in natural order; other
    files are added to `others`, and what `walk` adds."""
    files, found = {}, list(walk(folder, others))
    check_once(folder, (name for name, _ in found))
    for name, path in found:
        if is_image(name, lambda path=path: beginning(path)):
            files[name] = path
        else:
            others.append(name)
    return {name: files[name] for name in sorted(files, key=natural)}


def walk(folder: Path, others: list[str]) -> Iterator[tuple[str, Path]]:
    """Name and path of each file of a folder and its subfolders, linked ones too but for links to
    what the folder lies in; subfolders that cannot be read, and those with results of an inversion
    or a training, are added to `others`."""
    seen = {folder.resolve(), *folder.resolve().parents}

    def unreadable(error: OSError) -> None:
        others.append(f"{text(os.path.relpath(error.filename, folder))}/ ({error.strerror})")

    for place, below, names in os.walk(folder, onerror=unreadable, followlinks=True):
        kept = []
        for name in below:
            path = Path(place, name)
            if not os.access(path, os.R_OK | os.X_OK):
                others.append(f"{text(path.relative_to(folder).as_posix())}/ (no permission)")
            elif holds_results(path) or holds_run(path):
                others.append(f"{text(path.relative_to(folder).as_posix())}/ (results)")
            elif (real := path.resolve()) not in seen:
                seen.add(real)
                kept.append(name)
        below[:] = kept
        for name in names:
            path = Path(place, name)
            own = text(path.relative_to(folder).as_posix())
            if is_added(own):
                continue
            if os.path.isfile(path):
                yield own, path
            else:  # a link to nothing, or a pipe, which may have no end
                others.append(own)


def holds_results(folder: Path) -> bool:
    """Whether `idinvert invert` has written into a folder."""
    return (folder / "settings.json").is_file() and (folder / "codes").is_dir()


def holds_run(folder: Path) -> bool:
    """Whether `idinvert train` has written into a folder, sheets of samples among others."""
    return (folder / "settings.json").is_file() and (folder / "log.jsonl").is_file()


def beginning(path: Path) -> bytes:
    """The first bytes of a file; none of one that says it has none, as those of /proc do, of which
    some never end."""
    if not path.stat().st_size:
        return b""
    with open(path, "rb") as file:
        return file.read(BEGINNING)


def zip_source(path: Path) -> Source:
    """Image files in a zip; ValueError if it is damaged or a name leaves its folder."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{path} is no readable zip file: copy or download it again."
                         ) from error
    names = [name for name in archive.namelist() if posixpath.basename(name) not in ("", ".")]
    for name in names:
        if leaves(name):
            raise ValueError(f"{path} has the name {name[:80]!r}, which leaves its folder.")
    own = [text(posixpath.normpath(name)) for name in names]
    check_once(path, own)

    def unpacked(name: str, most: int) -> bytes:
        if archive.getinfo(name).compress_type not in UNPACKED:
            raise ImageError(f"{name} is compressed in an uncommon way: use plain zip compression.")
        with archive.open(name) as file:
            return file.read(most)

    def encoded(name: str) -> bytes:
        data = unpacked(name, LARGEST_FILE + 1)  # a header may understate the size
        if len(data) > LARGEST_FILE:
            raise ImageError(f"{name} has more than {LARGEST_FILE >> 20} MB.")
        return data

    names = {shown: name for shown, name in zip(own, names) if not is_added(name)}
    taken = {shown for shown, name in names.items()
             if is_image(name, lambda name=name: unpacked(name, BEGINNING))}
    return Source(sorted(taken, key=natural), lambda shown: encoded(names[shown]),
                  visible(names.keys() - taken))


def check_once(place: Path, names: Iterable[str]) -> None:
    """ValueError if two files have the same name, by which one would pass for the other."""
    twice, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ValueError(f"{place} has the name {twice[:80]!r} twice, as names are written: give "
                         "one of the files another name.")


def leaves(name: str) -> bool:
    """Whether a name in an archive points out of the folder it would be unpacked to."""
    parts = re.split(r"[/\\]", name)
    return (name.startswith(("/", "\\")) or ".." in parts or "\0" in name
            or re.match(r"[A-Za-z]:", name) is not None)


def lmdb_source(folder: Path) -> Source:
    """Values of an LMDB in the order of their keys, as LSUN has its images (WebP).

    Another process reads it, because a database that is damaged ends the process that reads it.
    """
    if importlib.util.find_spec("lmdb") is None:
        raise ImportError(f"Reading {folder} needs lmdb: install it with pip install lmdb.")
    reader = LMDBReader(folder)
    keys = reader.start()
    check_once(folder, map(key_name, keys))
    by_name = {key_name(key): key for key in keys}
    return Source(list(by_name), lambda name: reader.value(by_name[name]))


class LMDBReader:
    """The process that reads an LMDB, `lmdb_reader.py`; it is started again when it has ended."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def start(self) -> list[bytes]:
        """Start it; returns the keys. ValueError: they cannot be read."""
        script = Path(__file__).with_name("lmdb_reader.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script), str(self.folder), str(LARGEST_FILE)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        weakref.finalize(self, subprocess.Popen.kill, self.process)
        keys = []
        try:
            while size := self.number("<I"):
                keys.append(self.bytes(size))
        except EOFError:
            raise ValueError(f"{self.folder} is no readable LMDB: it is damaged, or was not "
                             "copied to its end.") from None
        return keys

    def value(self, key: bytes) -> bytes:
        """What a key has; ImageError: the database is damaged there, or the value too large."""
        try:
            if self.process is None:
                self.start()
            self.process.stdin.write(struct.pack("<I", len(key)) + key)
            self.process.stdin.flush()
            size = self.number("<q")
            if size >= 0:
                return self.bytes(size)
        except (EOFError, BrokenPipeError):
            self.process = None
            raise ImageError(f"{key_name(key)} cannot be read: {self.folder} is damaged.") from None
        raise ImageError(f"{key_name(key)} has more than {LARGEST_FILE >> 20} MB.")

    def number(self, form: str) -> int:
        """A number that the process writes; EOFError: it has ended."""
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def bytes(self, size: int) -> bytes:
        """So many bytes that the process writes; EOFError: it has ended."""
        data = self.process.stdout.read(size)
        if len(data) < size:
            self.process.wait()
            raise EOFError
        return data


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


@checked
def read_images(
    source: str | Path | Sequence[str | Path], size: Pixels, crop: bool = True,
    progress: bool = True
) -> tuple[Tensor, list[Path], list[ImageError]]:
    """Every readable image of a folder (with its subfolders, in natural order), a file or a list of
    files.

    Returns float32 images [N, 3, size, size] in [-1, 1], the N paths they come from, and one
    ImageError for each file that could not be read: a bad file never loses the others.
    `progress` shows a bar; `crop` and conversions as in `read_image`.
    ImageError: `source` is a folder without image files.
    """
    images, kept, errors = [], [], []
    for path in tqdm(image_paths(source), desc="images", unit="img", disable=not progress):
        try:
            images.append(read_image(path, size, crop))
            kept.append(path)
        except ImageError as error:
            errors.append(error)
    stacked = torch.stack(images) if images else torch.empty(0, 3, size, size)
    return stacked, kept, errors


def image_paths(source: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that `read_images` reads."""
    if not isinstance(source, str | Path):
        return [Path(path) for path in source]
    source = Path(source)
    if not source.is_dir():
        return [source]
    if files := image_files(source, []):
        return [*files.values()]
    raise ImageError(f"{source} holds no image files.")


@checked
def load_images(source: Source, size: Pixels, names: Sequence[str] | None = None, crop: bool = True,
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
