"""Boundaries from images of one's own with labels in a CSV file.

The file has a column `image`, the name of an image in its folder, zip or LMDB (or that name without
its suffix), and a column of 0 and 1 for each attribute; -1 counts as 0, empty fields are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert.codes import encode
from idinvert.data import ImageError, Source

from .boundary import Boundary
from .svm import fit


def read_labels(path: str | Path) -> pd.DataFrame:
    """Labels 1, 0 or NaN, a column for each attribute, indexed by the names of images.

    FileNotFoundError. ValueError: no table, no column `image`, a name twice, other values.
    """
    try:
        table = pd.read_csv(path, dtype={"image": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable CSV file.") from error
    if "image" not in table or len(table.columns) < 2:
        raise ValueError(f"{path} needs a column 'image' and one for each attribute.")
    table = table.set_index("image")
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"{path} has the image {twice!r} twice.")
    for name in table:
        values = pd.to_numeric(table[name], errors="coerce").replace(-1, 0)
        if (table[name].notna() & ~values.isin([0, 1])).any():
            raise ValueError(f"{path} has other values than 0 and 1 in the column {name!r}.")
        table[name] = values
    return table.astype(float)


def match(labels: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Name in the source -> name in the labels, for images that are in both.

    ValueError: there is none.
    """
    known = set(labels.index)
    pairs = {}
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        found = next((x for x in (name, stem, PurePosixPath(name).name) if x in known), None)
        if found is not None:
            pairs[name] = found
    if not pairs:
        raise ValueError(f"None of the images has a label: they are named like {names[0]!r}, "
                         f"the labels like {labels.index[0]!r}.")
    return pairs


def encoded_codes(encoder: nn.Module, source: Source, names: Sequence[str], batch: int = 32,
                  progress: bool = True) -> tuple[Tensor, list[str], list[ImageError]]:
    """Codes E(x) [N, L, D] of the images that can be read, their names, and the errors."""
    device = next(encoder.parameters()).device
    codes, kept, errors = [], [], []
    for start in tqdm(range(0, len(names), batch), desc="encoded", disable=not progress):
        images = []
        for name in names[start : start + batch]:
            try:
                images.append(source.read(name, encoder.resolution))
                kept.append(name)
            except ImageError as error:
                errors.append(error)
        if images:
            codes.append(encode(encoder, torch.stack(images).to(device)).cpu())
    return torch.cat(codes) if codes else torch.empty(0, 1, 1), kept, errors


def inverted_codes(folder: Path) -> tuple[Tensor, list[str]]:
    """Codes [N, L, D] and names of the images in a folder of `idinvert.inversion`.

    Those that diverged are left out. ValueError: the folder is none of those.
    """
    try:
        table = pd.read_csv(folder / "losses.csv", dtype={"image": str})
        codes = torch.from_numpy(np.load(folder / "codes.npy"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no finished inversions.") from error
    table = table[table["state"] != "unreadable"].reset_index()
    if len(table) != len(codes):
        raise ValueError(f"{folder} is not complete: run the inversion again.")
    sound = table.index[table["state"] == "ok"].tolist()
    return codes[sound], list(table.loc[sound, "image"])


def fit_labels(codes: Tensor, labels: pd.DataFrame, space: str = "whole",
               layers: Sequence[int] | None = None, seed: int = 0) -> list[Boundary]:
    """A boundary for each column of labels [N], from as many positive as negative codes [N, L, D].

    ValueError names an attribute with fewer than 4 images of either kind.
    """
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    boundaries = []
    for name in labels:
        values = torch.tensor(labels[name].tolist(), dtype=torch.float64)
        index = order[values[order].isfinite()]
        positive = int(values[index].sum())
        fewer = min(positive, len(index) - positive)
        if fewer < 4:
            raise ValueError(f"Attribute {name!r} has {positive} positive and "
                             f"{len(index) - positive} negative images: 4 of each are needed.")
        boundaries.append(fit(codes[index], values[index], fewer / len(index), space, layers,
                              seed=seed, name=name))
    return boundaries
