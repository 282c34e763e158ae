"""The embedded domains as data sets: test images from archives, training images rendered.

Image `i` of a domain depends only on (domain, seed 0, i); the last 1,000 are the test set. Rendered
sets lie in the cache in the format of `worlds.dataset`, so that a folder rendered elsewhere can be
linked there: `$IDINVERT_CACHE/worlds/face-64`.
"""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm
from worlds import dataset

from idinvert.files import cache_folder, locked, replacing, sweep
from idinvert.settings import Pixels, Whole, checked

from . import archive

TRAIN_COUNTS = {"face": 10_000, "tower": 6_000, "church": 6_000, "bedroom": 6_000}
TEST_COUNT = 1_000
DOMAINS = tuple(TRAIN_COUNTS)
SPLITS = ("train", "test")
ARCHIVE_SIZE = 64  # px
SEED = 0


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one domain with everything that is known about them."""

    images: Tensor  # uint8 [N, 3, H, W], RGB; may be a memory-mapped file
    labels: pd.DataFrame  # every attribute of the images; the index is the image index
    domain: str
    split: str  # "train" or "test"

    def __len__(self) -> int:
        return len(self.images)


@checked
def load(
    domain: str,
    split: str = "test",
    count: Whole | None = None,
    size: Pixels = ARCHIVE_SIZE,
    progress: bool = True,
) -> Split:
    """The first `count` images (default: all) of a split of "face", "tower", "church" or "bedroom".

    The test split (1,000 images) is read from the package at 64 px. The training split (10,000
    faces, 6,000 of each other domain) and other sizes in pixels (powers of two: faces up to 256,
    scenes up to 128) are rendered once into the cache with a progress bar; an interrupted rendering
    goes on at the next call. The same images always come in the same order.

    ValueError: unknown domain or split, a count or size that is not available.
    ImportError: images have to be rendered and numba (faces) or mitsuba (scenes) is missing.
    """
    start, count = _check(domain, split, count)
    if split == "test" and size == ARCHIVE_SIZE:
        images, labels = archive.read(archive.archive_path(domain), count)
        return Split(images, labels, domain, split)
    suffix = "-test" if split == "test" else ""
    folder = cache_folder("worlds") / f"{domain}-{size}{suffix}"
    render(folder, dataset.Settings(domain, size, SEED, count, start=start), progress)
    labels = archive.read_attributes(folder / "attributes.csv").iloc[:count]
    return Split(_decoded(folder, count, size, progress), labels, domain, split)


def render(folder: Path, settings: dataset.Settings, progress: bool = True) -> None:
    """Render what is missing of a set, with all processors; ImportError names a missing extra. A
    second process waits for the first."""
    workers = min(os.cpu_count() or 1, settings.count)
    try:
        with locked(folder):
            sweep(folder)
            dataset.write(folder, settings, workers, progress)
    except ImportError as error:
        raise ImportError(
            f"Rendering {settings.domain} images needs {error.name}: "
            "install it with pip install 'idinvert[worlds]'."
        ) from error


def _check(domain: str, split: str, count: int | None) -> tuple[int, int]:
    """Index of the first image of the split, and the number of images wanted."""
    if domain not in DOMAINS:
        raise ValueError(f"Unknown domain {domain!r}: expected one of {', '.join(DOMAINS)}.")
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}: expected one of {', '.join(SPLITS)}.")
    start, available = 0, TRAIN_COUNTS[domain]
    if split == "test":
        start, available = available, TEST_COUNT
    if count is not None and not 1 <= count <= available:
        raise ValueError(f"The {split} split of {domain} has {available} images, so count cannot "
                         f"be {count}.")
    return start, available if count is None else count


def _decoded(folder: Path, count: int, size: int, progress: bool) -> Tensor:
    """The first images of a set [count, 3, size, size], from the decoded copy beside it.

    The copy holds the checksum of each encoded image, so that one of other images is never used.
    """
    path = folder.with_name(f"{folder.name}.npy")
    encoded = list(dataset.read_encoded(folder, count))
    checksums = np.array([zlib.crc32(data) for data in encoded], np.uint32)
    kind = np.dtype([("crc", np.uint32), ("image", np.uint8, (3, size, size))])
    rows = _mapped(path, kind, checksums)
    if rows is None:
        rows = np.empty(count, kind)
        rows["crc"] = checksums
        bar = tqdm(encoded, desc=f"{folder.name} decoded", unit="img", disable=not progress)
        for index, data in enumerate(bar):
            rows["image"][index] = archive.decode(data)
        # A full or read-only disk costs only the time that the copy would save.
        with suppress(OSError), replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, rows)
    return torch.from_numpy(rows["image"][:count])


def _mapped(path: Path, kind: np.dtype, checksums: np.ndarray) -> np.ndarray | None:
    """The decoded copy in a file, if it begins with the images of these checksums, else None.
    Changes to it are not written back."""
    try:
        rows = np.load(path, mmap_mode="c")
    except (OSError, ValueError, EOFError):
        return None
    fits = rows.dtype == kind and np.array_equal(rows["crc"][: len(checksums)], checksums)
    return rows if fits else None
