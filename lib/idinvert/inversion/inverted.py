"""Codes that `idinvert invert` has written, by the rows of losses.csv."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .results import read_row


class MixedError(ValueError):
    """Files of a folder that are missing, damaged, or not of one inversion; the message is one
    sentence."""


def inverted_codes(folder: Path) -> tuple[Tensor, list[str]]:
    """Codes [N, L, D] and names of the images in a folder of results.

    Those that diverged are left out. The code of an image is read from its own file, so that rows
    may have been sorted; where such files are missing, codes.npy has to be in the rows' order.
    ValueError: the folder is none of those, or a code is of another image than its row.
    """
    try:
        table = pd.read_csv(folder / "losses.csv", dtype=str, keep_default_na=False)
        table = table[table["state"] != "unreadable"].reset_index()
        codes = torch.from_numpy(np.stack([own_code(folder, row) for _, row in table.iterrows()])
                                 if (folder / "codes").is_dir() else np.load(folder / "codes.npy"))
        if codes.ndim != 3:
            raise ValueError("no codes")
    except MixedError:
        raise
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, EOFError, TypeError,
            zipfile.BadZipFile) as error:
        raise ValueError(f"{folder} holds no finished inversions.") from error
    if len(table) != len(codes):
        raise ValueError(f"{folder} is not complete: run the inversion again.")
    sound = table.index[table["state"] == "ok"].tolist()
    return codes[sound], list(table.loc[sound, "image"])


def own_code(folder: Path, row: pd.Series) -> np.ndarray:
    """The code [L, D] of a row's image; MixedError: its file is missing, damaged, or of another
    image. OSError as `read_row`."""
    path = folder / "codes" / f"{row['file']}.npz"
    if not path.exists():
        raise MixedError(f"{path} is missing: `idinvert invert` into that folder makes it again.")
    found = read_row(path)
    if found is None:
        raise MixedError(f"{path} is damaged: `idinvert invert` into that folder makes it again.")
    for key in ("image", "sha256"):
        if key in row and key in found and str(found[key]) != row[key]:
            raise MixedError(f"{path} is of another image than its row of losses.csv, as where "
                             "files were copied or renamed: invert the images again, or into "
                             "another folder.")
    return found["code"]
