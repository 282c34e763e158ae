"""Test archives: one zip per domain with lossless WebP images and attributes.csv."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).resolve().parent / "archives"
TIMESTAMP = (2026, 1, 1, 0, 0, 0)  # fixed, so that the same images make the same file
DIGITS = 4  # significant ones of an attribute


def archive_path(domain: str) -> Path:
    """The archive of a domain's test images that travels with the package."""
    return FOLDER / f"{domain}-test.zip"


def write(path: Path, indices: Sequence[int], images: Iterable[bytes], attributes: TextIO) -> None:
    """Pack encoded `images` byte for byte, and their rows of the csv file `attributes`."""
    with zipfile.ZipFile(path, "w") as archive:
        table = zipfile.ZipInfo("attributes.csv", TIMESTAMP)
        table.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(table, compact_rows(attributes, set(indices)))
        for index, image in zip(indices, images, strict=True):
            archive.writestr(zipfile.ZipInfo(f"{index:08d}.webp", TIMESTAMP), image)


def compact_rows(attributes: TextIO, indices: set[int]) -> str:
    """The header and the rows of `indices` of a csv file, with rounded fractions."""
    rows = csv.reader(attributes)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(next(rows))
    writer.writerows(map(compact, row) for row in rows if int(row[0]) in indices)
    return out.getvalue()


def compact(value: str) -> str:
    """A number with a fraction, rounded to DIGITS; anything else as it is."""
    try:
        return value if value.isdigit() else str(float(f"{float(value):.{DIGITS}g}"))
    except ValueError:
        return value


def read(path: Path, count: int | None = None) -> tuple[Tensor, pd.DataFrame]:
    """The first `count` images uint8 [N, 3, H, W] of an archive, or all, and their attributes."""
    with zipfile.ZipFile(path) as archive:
        labels = read_attributes(io.BytesIO(archive.read("attributes.csv"))).iloc[:count]
        images = np.stack([decode(archive.read(f"{index:08d}.webp")) for index in labels.index])
    return torch.from_numpy(images), labels


def read_attributes(source) -> pd.DataFrame:
    """An attributes.csv (path or open file), one row per image, indexed by image index."""
    return pd.read_csv(source, index_col="index", keep_default_na=False)


def decode(data: bytes) -> np.ndarray:
    """An encoded image as uint8 (3, H, W)."""
    return np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1)
