"""Inversion of many image files into a folder, in batches, resumable, shared by processes.

    codes/NAME.npz     code [L, D] float32, and every term of the loss before each step
    images/NAME.png    the inverted image
    codes.npy          all codes [N, L, D], in the order of the table's rows that have one
    losses.csv         one row per image: status, MSE of the inversion, terms of the last step
    settings.json      what the folder was made with

An image is finished when its .npz is there; images that could not be read are tried again. Each
process takes its share of the images; the last one to end leaves the whole table.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from idinvert.codes import encode
from idinvert.data import ImageError, Source, write_image
from idinvert.files import check_notes, replacing
from idinvert.losses import squared_error
from idinvert.processes import Share

from . import Inversion, Networks, Settings, optimise

STATES = ("ok", "diverged", "unreadable")


@dataclass(frozen=True)
class Job:
    """What is inverted, how, and where the results go."""

    source: Source
    networks: Networks
    settings: Settings
    out: Path
    batch: int = 16
    crop: bool = True

    def start(self, images: Tensor) -> Tensor:
        """Codes to begin with: E(x), or the average code where there is no encoder."""
        if self.networks.encoder is None:
            return self.networks.generator.w_avg.expand(len(images), -1, -1)
        return encode(self.networks.encoder, images)


def run(job: Job, notes: dict, share: Share, progress: bool = True) -> Counter:
    """Invert what is not finished of this process's share; returns the count of each of STATES.

    notes: what the results depend on; ValueError if the folder was made with others.
    """
    check_notes(job.out / "settings.json", notes)
    files = file_names(job.source.names)
    mine = share.of(list(job.source.names))
    open_names = [name for name in mine if not (job.out / "codes" / f"{files[name]}.npz").exists()]
    bar = tqdm(total=len(mine), initial=len(mine) - len(open_names), desc="inverted", unit="img",
               disable=not progress or not share.first)
    with bar:
        for names, images in batches(job, open_names, files):
            for name, row in zip(names, invert(job, images)):
                save(job.out, files[name], name, row)
            bar.update(len(names))
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


def batches(job: Job, names: list[str], files: dict[str, str]
            ) -> Iterator[tuple[list[str], Tensor]]:
    """Readable images [N, 3, r, r] with their names; the others are reported and noted."""
    size = job.networks.generator.resolution
    kept, images = [], []
    for name in names:
        note = job.out / "failed" / f"{files[name]}.txt"
        try:
            images.append(job.source.read(name, size, job.crop))
            kept.append(name)
            note.unlink(missing_ok=True)
        except ImageError as error:
            report(str(error))
            with replacing(note) as temporary:
                temporary.write_text(f"{error}\n")
        if len(kept) == job.batch or (kept and name == names[-1]):
            yield kept, torch.stack(images)
            kept, images = [], []


def invert(job: Job, images: Tensor) -> list[dict[str, np.ndarray]]:
    """Code, image, MSE and loss history of each image of a batch."""
    networks, settings = job.networks, job.settings
    images = images.to(next(networks.generator.parameters()).device)
    found: Inversion = optimise(
        networks.generator, images, job.start(images), networks.features, networks.encoder,
        settings.lambda_dom, settings.lambda_vgg, settings.iterations, settings.learning_rate,
        batch_size=len(images), bf16=settings.bf16,
    )
    mse = squared_error(found.images, images)
    return [
        {"code": found.codes[i].cpu().numpy(), "image": found.images[i].cpu(),
         "mse": mse[i].cpu().numpy(),
         **{f"loss_{k}": v[i].float().cpu().numpy() for k, v in found.losses.items()}}
        for i in range(len(images))
    ]


def save(out: Path, file: str, name: str, row: dict) -> None:
    """Write the image and then the code of one image; says if it has diverged."""
    write_image(out / "images" / f"{file}.png", row.pop("image"))
    with replacing(out / "codes" / f"{file}.npz") as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **row)
    if state(row) == "diverged":
        report(f"{name} has diverged and kept its start.")


def state(row: dict) -> str:
    """ "diverged" if a term of the loss ceased to be finite, else "ok"."""
    finite = all(np.isfinite(row[key]).all() for key in row)
    return "ok" if finite else "diverged"


def write_table(out: Path, names: Sequence[str], files: dict[str, str], mine: list[str]) -> Counter:
    """Write losses.csv and codes.npy of all that is finished; counts the states of `mine`."""
    rows, codes = [], []
    for name in names:
        path, note = out / "codes" / f"{files[name]}.npz", out / "failed" / f"{files[name]}.txt"
        if path.exists():
            with np.load(path) as row:
                row = dict(row)
            codes.append(row["code"])
            last = {key[5:]: float(row[key][-1]) for key in row if key.startswith("loss_")}
            rows.append({"image": name, "state": state(row), "mse": float(row["mse"]), **last})
        elif note.exists():
            rows.append({"image": name, "state": "unreadable", "note": note.read_text().strip()})
    with replacing(out / "losses.csv") as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    if codes:
        with replacing(out / "codes.npy") as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.stack(codes))
    own = set(mine)
    return Counter(row["state"] for row in rows if row["image"] in own)


def report(sentence: str) -> None:
    """One line on standard error, above the progress bar."""
    tqdm.write(f"idinvert.inversion: {sentence}", file=sys.stderr)
