"""Write and read image sets on disk.

A set is a folder with `dataset.json` (the settings), `attributes.csv` (one row per image) and
`shard-00000.zip`, ...: uncompressed zip files of lossless WebP images named by index. A shard
appears only when complete, so an interrupted run continues at the first missing one.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image
from tqdm import tqdm

from . import check_size, render, sample_attributes

SHARD_LENGTH = 250
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Settings:
    """What determines the images of a set; `count` may grow later."""

    domain: str
    size: int  # px
    seed: int
    count: int  # images
    shard_length: int = SHARD_LENGTH  # images
    start: int = 0  # index of the first image

    def indices(self) -> range:
        """Index of every image."""
        return range(self.start, self.start + self.count)

    def shards(self) -> list[range]:
        """Image indices of every shard."""
        indices = self.indices()
        starts = range(0, self.count, self.shard_length)
        return [indices[i : i + self.shard_length] for i in starts]


@contextmanager
def replacing(path: Path):
    """Give a temporary path that replaces `path` only if the block succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def encode(index: int, settings: Settings) -> bytes:
    """Render one image to lossless WebP."""
    image, _ = render(settings.domain, index, settings.size, settings.seed)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "webp", lossless=True)
    return buffer.getvalue()


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.zip"


def image_name(index: int) -> str:
    return f"{index:08d}.webp"


def is_complete(path: Path, indices: range) -> bool:
    """Whether the shard holds exactly these images."""
    try:
        with zipfile.ZipFile(path) as shard:
            return shard.namelist() == [image_name(i) for i in indices]
    except (FileNotFoundError, zipfile.BadZipFile):
        return False


def read_settings(folder: Path) -> Settings | None:
    """The settings of the set in a folder; None where there is none."""
    path = folder / "dataset.json"
    return Settings(**json.loads(path.read_text())) if path.exists() else None


def merged_settings(folder: Path, wanted: Settings) -> Settings:
    """The settings of the folder's set once it holds `wanted`; ValueError if it cannot."""
    old = read_settings(folder)
    if old is None:
        return wanted
    for name, value in asdict(old).items():
        if name != "count" and value != getattr(wanted, name):
            raise ValueError(f"{folder} already holds a set with {name} {value}")
    return replace(wanted, count=max(old.count, wanted.count))


def missing_shards(folder: Path, settings: Settings, count: int) -> list[tuple[int, range]]:
    """Number and image indices of the shards that the first `count` images still lack."""
    needed = [s for s in settings.shards() if s.start < settings.start + count]
    return [
        (number, indices)
        for number, indices in enumerate(needed)
        if not is_complete(shard_path(folder, number), indices)
    ]


def write_description(folder: Path, settings: Settings) -> None:
    """Write attributes.csv, which needs no rendering, and then dataset.json."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "attributes.csv") as temporary, open(temporary, "w", newline="") as f:
        writer = None
        for index in settings.indices():
            attributes = asdict(sample_attributes(settings.domain, index, settings.seed))
            if writer is None:
                writer = csv.DictWriter(f, ["index", *attributes])
                writer.writeheader()
            writer.writerow({"index": index, **attributes})
    with replacing(folder / "dataset.json") as temporary:
        temporary.write_text(json.dumps(asdict(settings), indent=1) + "\n")


@contextmanager
def for_children():
    """Start processes that compute in one thread and do not run the caller's script again."""
    main, environment = sys.modules["__main__"], dict(os.environ)
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        os.environ.clear()
        os.environ.update(environment)


@contextmanager
def ordered_map(workers: int):
    """A map over images, in order, by this process or by a pool of single-threaded ones."""
    if workers == 1:
        yield map
        return
    ignore_interrupt = (signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    spawn = multiprocessing.get_context("spawn")
    with for_children():
        pool = spawn.Pool(workers, signal.signal, ignore_interrupt)
    with pool:
        yield partial(pool.imap, chunksize=2)


def write(folder: Path, settings: Settings, workers: int = 1, progress: bool = True) -> None:
    """Render what is missing of a set; one that is complete, or larger, is left untouched.

    Raises ValueError where the folder holds a set with other settings.
    """
    merged = merged_settings(folder, settings)
    missing = missing_shards(folder, merged, settings.count)
    described = merged == read_settings(folder)
    if described and not missing:
        return
    check_size(settings.domain, settings.size)
    if not described:
        write_description(folder, merged)
    wanted = [index for _, indices in missing for index in indices]
    total = max(settings.count, len(wanted))
    bar = tqdm(
        total=total, initial=total - len(wanted), unit="img", desc=settings.domain,
        disable=not progress,
    )  # fmt: skip
    with bar, ordered_map(workers if wanted else 1) as image_map:
        images = image_map(partial(encode, settings=settings), wanted)
        for number, indices in missing:
            write_shard(shard_path(folder, number), indices, images, bar)


def write_shard(path: Path, indices: range, images: Iterator[bytes], bar: tqdm) -> None:
    """Take the next images from the iterator into one zip file."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as shard:
        for index in indices:
            shard.writestr(image_name(index), next(images))
            bar.update()


def read_encoded(folder: Path, count: int | None = None) -> Iterator[bytes]:
    """WebP bytes of the first `count` images, or of all; those shards must be complete."""
    settings = read_settings(folder)
    left = settings.count if count is None else count
    for number, indices in enumerate(settings.shards()):
        if left <= 0:
            return
        with zipfile.ZipFile(shard_path(folder, number)) as shard:
            yield from (shard.read(image_name(index)) for index in indices[:left])
        left -= len(indices)


def read(folder: Path) -> tuple[np.ndarray, list[dict[str, str]]]:
    """All images (N, size, size, 3) uint8 of a complete set and their attribute rows."""
    images = [np.asarray(Image.open(io.BytesIO(data))) for data in read_encoded(folder)]
    with open(folder / "attributes.csv", newline="") as f:
        return np.array(images), list(csv.DictReader(f))
