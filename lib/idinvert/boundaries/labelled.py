"""Boundaries from images of one's own with labels in a CSV file.

The file has a column `image`, the name of an image in its folder, zip or LMDB (or that name without
its suffix or its folder), and for each attribute a column of 0 and 1, or false and true; -1 counts
as 0, empty fields are left out.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert.codes import encode
from idinvert.data import ImageError, Source

from .boundary import Boundary
from .svm import fit

LARGEST_TABLE = 1 << 27  # bytes
WIDEST_TABLE = 1 << 15  # columns, twice as many as spreadsheets have; each takes a millisecond
UNKNOWN = ("", "na", "n/a", "nan", "null", "none")  # fields without a label
TRUTH = {"true": "1", "false": "0"}  # as spreadsheets and pandas write them


def read_labels(path: str | Path) -> pd.DataFrame:
    """Labels 1, 0 or NaN, a column for each attribute, indexed by the names of images.

    FileNotFoundError. ValueError: no table, no column `image`, a name twice, other values.
    """
    with open(path, "rb") as file:  # pandas itself would open addresses and compressed files
        content = file.read(LARGEST_TABLE + 1)
    if len(content) > LARGEST_TABLE:
        raise ValueError(f"{path} has more than {LARGEST_TABLE >> 20} MB.")
    if re.split(rb"[\r\n]", content.lstrip(), maxsplit=1)[0].count(b",") >= WIDEST_TABLE:
        raise ValueError(f"{path} has more than {WIDEST_TABLE} columns.")
    try:
        # Without a header, for of equal names pandas makes others
        table = pd.read_csv(io.BytesIO(content), header=None, dtype=str, keep_default_na=False,
                            skipinitialspace=True)
    except Exception as error:  # pandas raises many types on damaged files
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise ValueError(f"{path} is no readable CSV file ({reason:.100}): save the table with "
                         "commas between its columns and nowhere else, in UTF-8.") from error
    header, table = table.iloc[0], table.iloc[1:]
    table.columns = [accents(str(name)) for name in header]
    # Programs write commas alone where the table once was wider, or longer
    table = table[(table != "").any(axis=1)]
    table = table.loc[:, [bool(name) or table.iloc[:, i].str.strip().any()
                          for i, name in enumerate(table)]]
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise ValueError(f"{path} has the column {twice!r} twice.")
    if "image" not in table or len(table.columns) < 2:
        found = ", ".join(map(repr, table.columns[:5]))
        raise ValueError(f"{path} needs a column 'image' and one for each attribute, with commas "
                         f"in between, but has {found:.200}.")
    table = table.set_index(table.pop("image").map(plain_name))
    if table.empty:
        raise ValueError(f"{path} has no rows.")
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise ValueError(f"{path} has the image {twice!r} twice.")
    for name in table:
        words = table[name].str.strip().str.lower()
        values = pd.to_numeric(words.replace(TRUTH), errors="coerce").replace(-1, 0)
        wrong = words[~(values.isin([0, 1]) | words.isin(UNKNOWN))]
        if len(wrong):
            raise ValueError(f"{path} has other values than 0 and 1 in the column {name!r}, as "
                             f"{wrong.iloc[0]!r:.40} for {wrong.index[0]!r:.60}.")
        table[name] = values
    return table.astype(float)


def plain_name(name: str) -> str:
    """A name as sources have it: with slashes, and not from the folder on."""
    return name.replace("\\", "/").removeprefix("./")


def match(labels: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """Name in the source -> name in the labels, for images that are in both.

    A label that gives a whole name is for that image alone; one without its suffix, its folder or
    both, or with its accents stored otherwise or spaces around it, for the only image that has such
    a name. ValueError: there are several, or no image has a label.
    """
    if not (len(names) and len(labels)):
        raise ValueError("There is no image, or no label, to find the other of.")
    known = set(labels.index)
    pairs = {name: name for name in names if name in known}
    rest = [name for name in names if name not in pairs]
    for short in (str, without_suffix, bare, lambda name: bare(without_suffix(name))):
        claimed, free = defaultdict(list), composed(known.difference(pairs.values()))
        for name in rest:
            if (label := free.get(accents(short(name)))) is not None:
                claimed[label].append(name)
        for label, several in claimed.items():
            if len(several) > 1:
                raise ValueError(f"The label {label!r} could be for {several[0]} and for "
                                 f"{several[1]}: write whole names into the table.")
            pairs[several[0]] = label
        rest = [name for name in rest if name not in pairs]
    if not pairs:
        raise ValueError(f"None of the images has a label: they are named like {names[0]!r}, "
                         f"the labels like {labels.index[0]!r}.")
    return {name: pairs[name] for name in names if name in pairs}


def composed(labels: set[str]) -> dict[str, str]:
    """The labels by their `accents`; ValueError: two differ in nothing else."""
    found = {accents(label): label for label in labels}
    if len(found) < len(labels):
        twice = next(label for label in labels if found[accents(label)] != label)
        raise ValueError(f"The table has two labels {twice!r} that look alike, but for spaces, or "
                         "accents stored in different ways: leave one of them out.")
    return found


def accents(name: str) -> str:
    """A name without spaces around it, with each accent in one with its letter; some systems store
    both apart."""
    return unicodedata.normalize("NFC", name).strip()


def without_suffix(name: str) -> str:
    """A name without its suffix."""
    return str(PurePosixPath(name).with_suffix(""))


def bare(name: str) -> str:
    """A name without its folder."""
    return PurePosixPath(name).name


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


def fit_labels(codes: Tensor, labels: pd.DataFrame, space: str = "whole",
               layers: Sequence[int] | None = None, seed: int = 0) -> list[Boundary]:
    """A boundary for each column of labels [N], from as many positive as negative codes [N, L, D].

    ValueError names an attribute with fewer than 4 images of either kind, or other values than 1, 0
    and NaN.
    """
    if len(labels) != len(codes):
        raise ValueError(f"{len(labels)} labels cannot be those of {len(codes)} codes.")
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed))
    boundaries = []
    for name in labels:
        if not (labels[name].isin([0, 1]) | labels[name].isna()).all():
            raise ValueError(f"The labels have other values than 0 and 1 in the column {name!r}.")
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
