"""Inversion of many image files into a folder, in batches, resumable, shared by processes.

    codes/NAME.npz     code [L, D] float32, MSE, whether it diverged, and every term of the loss
                       before each step; the weights of the image's generator if it was tuned
    images/NAME.png    the inverted image
    codes.npy          all codes [N, L, D], in the order of the table's rows that have one
    losses.csv         one row per image: status, MSE of the inversion, terms of the last step
    settings.json      what the folder was made with

An image is finished when its .npz is there; images that could not be read are tried again. Each
process takes its share of the images; the last one to end leaves the whole table. Which images are
inverted together depends on their places in the list alone, so a run that was interrupted ends with
the very numbers of one that was not.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from idinvert.codes import device_of
from idinvert.data import ImageError, Source, write_image
from idinvert.files import check_notes, locked, replacing
from idinvert.losses import squared_error
from idinvert.processes import ALONE, Share
from idinvert.settings import resolved

from .methods import Method, name_of
from .methods.pivotal_tuning import Tuned
from .model import Model

STATES = ("ok", "diverged", "unreadable")
TUNED = "tuned_"  # begins the names of tuned weights in a file of a code


@dataclass(frozen=True)
class Job:
    """What is inverted, how, and where the results go."""

    model: Model
    method: Method
    source: Source
    out: Path
    batch: int = 16  # images inverted together
    crop: bool = True  # cut out the centre of an image that is not square, do not squeeze it

    def notes(self) -> dict:
        """What the results depend on, for settings.json."""
        roles = ("generator", *self.method.needs)
        return {"model": self.model.name, "method": name_of(self.method), **resolved(self.method),
                "crop": self.crop, "sha256": {role: self.model.digest(role) for role in roles}}


def run(job: Job, share: Share = ALONE, progress: bool = True) -> Counter:
    """Invert what is not finished of this process's share; returns the count of each of STATES.

    ValueError: the folder was made with other settings or weights, or another command is at work
    in it.
    """
    with locked(job.out / "codes", wait=False) if share.first else nullcontext():
        return run_share(job, share, progress)


def run_share(job: Job, share: Share, progress: bool) -> Counter:
    """As `run`, of a process that may work in the folder."""
    check_notes(job.out / "settings.json", job.notes())
    files = file_names(job.source.names)
    mine = share.of(list(job.source.names))
    bar = tqdm(total=len(mine), desc="inverted", unit="img",
               disable=not progress or not share.first)
    with bar:
        for start in range(0, len(mine), job.batch):
            batch = mine[start:start + job.batch]
            invert(job, batch, files)
            bar.update(len(batch))
    counts, before = Counter(), None
    while before != (before := finished(job.out)):  # another process may have ended meanwhile
        counts = write_table(job.out, job.source.names, files, mine)
    return counts


def finished(out: Path) -> set[Path]:
    """Files of the images that are done."""
    return set((out / "codes").rglob("*.npz"))


def file_names(names: Sequence[str]) -> dict[str, str]:
    """For each image the name of its results: without its suffix unless others share it."""
    stems = {name: str(PurePosixPath(name).with_suffix("")) if "." in name else name
             for name in names}
    shared = Counter(stem.lower() for stem in stems.values())
    return {name: name if shared[stem.lower()] > 1 else stem for name, stem in stems.items()}


def invert(job: Job, batch: list[str], files: dict[str, str]) -> None:
    """Invert a batch of which some images are not finished, all together, and save those."""
    unfinished = [name for name in batch if not code_path(job.out, files[name]).exists()]
    images = {name: image for name in unfinished
              if (image := read(job, name, files[name])) is not None}
    if not images:
        return
    wanted = list(images)
    images |= {name: image for name in batch if name not in unfinished
               if (image := read(job, name, files[name])) is not None}
    names = [name for name in batch if name in images]
    targets = torch.stack([images[name] for name in names]).to(device_of(job.model.generator))
    found = job.method.invert(job.model, targets)
    errors = squared_error(found.images, targets)
    for i, name in enumerate(names):
        if name in wanted:
            losses = {f"loss_{term}": values[i] for term, values in found.losses.items()}
            row = {"code": found.codes[i], "mse": errors[i], "diverged": found.diverged[i]}
            if isinstance(found, Tuned):
                row |= {f"{TUNED}{key}": value for key, value in found.weights(i).items()}
            save(job.out, files[name], found.images[i], row | losses)
            if found.diverged[i]:
                report(f"{name} has diverged and kept its start.")


def read(job: Job, name: str, file: str) -> Tensor | None:
    """An image [3, r, r]; None, reported and noted, if it cannot be read."""
    note = job.out / "failed" / f"{file}.txt"
    try:
        image = job.source.read(name, job.model.generator.resolution, job.crop)
    except ImageError as error:
        report(str(error))
        with replacing(note) as temporary:
            temporary.write_text(f"{error}\n")
        return None
    note.unlink(missing_ok=True)
    return image


def code_path(out: Path, file: str) -> Path:
    """Where the code of an image is."""
    return out / "codes" / f"{file}.npz"


def save(out: Path, file: str, image: Tensor, row: dict[str, Tensor]) -> None:
    """Write the image and then the code of one image, which makes it finished."""
    write_image(out / "images" / f"{file}.png", image)
    with replacing(code_path(out, file)) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **{key: value.cpu().numpy() for key, value in row.items()})


def write_table(out: Path, names: Sequence[str], files: dict[str, str], mine: list[str]) -> Counter:
    """Write losses.csv and codes.npy of all that is finished; counts the states of `mine`."""
    rows, codes = [], []
    for name in names:
        path, note = code_path(out, files[name]), out / "failed" / f"{files[name]}.txt"
        if path.exists():
            with np.load(path) as row:
                row = {key: row[key] for key in row if not key.startswith(TUNED)}
            codes.append(row["code"])
            last = {key[5:]: float(row[key][-1]) for key in row if key.startswith("loss_")}
            state = "diverged" if row["diverged"] else "ok"
            rows.append({"image": name, "state": state, "mse": float(row["mse"]), **last})
        elif note.exists():
            rows.append({"image": name, "state": "unreadable", "note": note.read_text().strip()})
    columns = dict.fromkeys(key for row in rows for key in row)
    with replacing(out / "losses.csv") as temporary, open(temporary, "w", newline="") as handle:
        table = csv.DictWriter(handle, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    if codes:
        with replacing(out / "codes.npy") as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.stack(codes))
    own = set(mine)
    return Counter(row["state"] for row in rows if row["image"] in own)


def report(sentence: str) -> None:
    """One line on standard error, above the progress bar."""
    tqdm.write(f"idinvert invert: {sentence}", file=sys.stderr)
