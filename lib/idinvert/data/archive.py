"""Test archives: one zip per domain with sheets of images, lossless WebP, and attributes.csv."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).resolve().parent / "archives"
TIMESTAMP = (2026, 1, 1, 0, 0, 0)  # fixed, so that the same images make the same file
DIGITS = 4  # significant ones of an attribute
SHEET = 16  # images below one another in a file, which are an eighth smaller than one by one


def archive_path(domain: str) -> Path:
    """The archive of a domain's test images that travels with the package."""
    return FOLDER / f"{domain}-test.zip"


def write(path: Path, indices: Sequence[int], images: Iterable[bytes], attributes: TextIO) -> None:
    """Pack encoded square `images` of one size, and their rows of the csv file `attributes`.

    A sheet of SHEET images has the name of the first one.
    """
    with zipfile.ZipFile(path, "w") as archive:
        table = zipfile.ZipInfo("attributes.csv", TIMESTAMP)
        table.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(table, compact_rows(attributes, set(indices)))
        named = list(zip(indices, images, strict=True))
        for part in (named[i : i + SHEET] for i in range(0, len(named), SHEET)):
            name = zipfile.ZipInfo(f"{part[0][0]:08d}.webp", TIMESTAMP)
            archive.writestr(name, encode([decode(image) for _, image in part]))


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
        sheets = [decode(archive.read(f"{index:08d}.webp")) for index in labels.index[::SHEET]]
    size = sheets[0].shape[2]
    images = [sheet.reshape(3, -1, size, size).transpose(1, 0, 2, 3) for sheet in sheets]
    return torch.from_numpy(np.concatenate(images)[: len(labels)]), labels


def read_attributes(source: Path | BinaryIO) -> pd.DataFrame:
    """An attributes.csv (path or open file), one row per image, indexed by image index."""
    return pd.read_csv(source, index_col="index", keep_default_na=False)


def decode(data: bytes) -> np.ndarray:
    """An encoded image as uint8 (3, H, W)."""
    return np.asarray(Image.open(io.BytesIO(data))).transpose(2, 0, 1)


def encode(images: Sequence[np.ndarray]) -> bytes:
    """Images uint8 (3, H, W) below one another as the smallest lossless WebP."""
    file = io.BytesIO()
    sheet = Image.fromarray(np.concatenate(images, axis=1).transpose(1, 2, 0))
    sheet.save(file, "WEBP", lossless=True, quality=100, method=6)
    return file.getvalue()
