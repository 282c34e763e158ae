"""Inversion of many image files into a folder, in batches, resumable, shared by processes.

    codes/NAME.npz     code [L, D] float32, MSE, whether it diverged, every term of the loss before
                       each step, and which image it is of; the weights of the image's generator if
                       it was tuned
    images/NAME.png    the inverted image
    codes.npy          all codes [N, L, D], in the order of the table's rows that have one
    losses.csv         one row per image: the name of its files, the size and SHA-256 of what was
                       inverted, status, MSE of the inversion, terms of the last step
    settings.json      what the folder was made with

Images of a later run with the same settings join those that are there. An image is finished when
its .npz is there; images that could not be read are tried again. Each process takes its share of
the images; the last one to end leaves the whole table. Which images are inverted together depends
on their places in the list alone, so a run that was interrupted ends with the very numbers of one
that was not.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from idinvert.codes import device_of
from idinvert.data import ImageError, Source, write_image
from idinvert.data.sources import text
from idinvert.files import check_notes, locked, replacing
from idinvert.losses import squared_error
from idinvert.photographs import Photographs
from idinvert.processes import ALONE, Share
from idinvert.settings import resolved

from .fast import check_fast
from .methods import Method, name_of
from .methods.pivotal_tuning import Tuned
from .model import ENCODERS, Model
from .results import PLACES, TUNED, Results, file_names, identity, read_row

__all__ = ["STATES", "TUNED", "Job", "Results", "file_names", "report", "run"]

STATES = ("ok", "diverged", "unreadable")


@dataclass(frozen=True)
class Job:
    """What is inverted, how, and where the results go."""

    model: Model
    method: Method
    source: Source
    out: Path
    batch: int = 16  # images inverted together
    crop: bool = True  # cut out the centre of an image that is not square, do not squeeze it
    steps: bool = False  # show a bar over the steps of each batch
    fast: bool = False  # compute gradients by networks made ready for it

    def notes(self) -> dict:
        """What the results depend on, for settings.json."""
        roles = ("generator", *self.method.needs)
        notes = {"model": self.model.name, "method": name_of(self.method), **resolved(self.method),
                 "crop": self.crop, "sha256": {role: self.model.digest(role) for role in roles}}
        return notes | {"fast": True} if self.fast else notes  # folders from before know no "fast"


def run(job: Job, share: Share = ALONE, progress: bool = True) -> Counter:
    """Invert what is not finished of this process's share; returns the count of each of STATES.

    ValueError: the folder was made with other settings or weights, has files of other origin where
    results go, or the inversion of another image of the same name, another command is at work in
    it, or results were removed meanwhile.
    """
    with locked(job.out / "codes", wait=False) if share.first else nullcontext():
        return run_share(job, share, progress)


def run_share(job: Job, share: Share, progress: bool) -> Counter:
    """As `run`, of a process that may work in the folder."""
    if job.fast:
        check_fast(job.method)
    notes, path = loaded_notes(job), job.out / "settings.json"
    if (found := first_result(job.out)) and not path.exists():
        raise ValueError(f"{found} is there without {path}, which says what results were made "
                         "with: take another folder, or copy that file from one that the same "
                         "command has made.")
    check_notes(path, notes, {"crop": "--squeeze"})
    results = Results(job.out, job.source.names)
    for damaged in results.damaged:
        report(f"{damaged} was damaged, and its image is inverted again.")
    mine = share.of(list(job.source.names))
    check_shapes(job, results)
    check_images(job, results, mine)
    bar = tqdm(total=len(mine), desc="inverted", unit="img",
               disable=not progress or not share.first)
    with bar:
        invert_all(job, results, mine, bar)
    check_notes(path, notes, {"crop": "--squeeze"})  # it may be gone
    counts, before = Counter(), None
    while before != (before := finished(job.out)):  # another process may have ended meanwhile
        counts = write_table(results, mine)
    if lost := len(set(mine)) - counts.total():
        raise ValueError(f"{lost} results were removed from {job.out} meanwhile: the same command "
                         "makes them again.")
    return counts


def loaded_notes(job: Job) -> dict:
    """The job's notes, of the very weights that its networks were loaded from; ValueError: some
    were replaced meanwhile, or as `check_encoder`."""
    notes = job.notes()
    for role in ("generator", *job.method.needs):
        if role != "features":  # which are no one's to replace, and not always used
            getattr(job.model, role)
    if job.notes() != notes:
        raise ValueError(f"The weights of {job.model.name} were replaced while they were loaded: "
                         "the same command begins with the new ones.")
    check_encoder(job.model, job.method)
    return notes


def check_encoder(model: Model, method: Method) -> None:
    """ValueError if an encoder that a method needs is of another size than the generator."""
    for role in [role for role in ENCODERS if role in method.needs]:
        own, theirs = ((x.resolution, x.num_layers, x.w_dim)
                       for x in (getattr(model, role), model.generator))
        if own != theirs:
            raise ValueError(f"{model.name_of(role)} is for (px, layers, dimensions) {own}, "
                             f"{model.name} has {theirs}: name another --encoder, or --method.")


def view(source: Source) -> str:
    """What of an image is inverted, where it is another part than usual: another face than the
    largest, or all of it."""
    if not isinstance(source, Photographs):
        return ""
    return f"face {source.face}" * (source.face > 1) if source.align else "whole"


def check_shapes(job: Job, results: Results) -> None:
    """ValueError if a file of a code was copied from results of a model of another size."""
    shape = tuple(job.model.generator.w_avg.shape)
    for name, found in results.found.items():
        if found.shape != shape:
            raise ValueError(f"{results.code(name)} has a code of {found.shape} layers and "
                             f"dimensions, but those of {job.model.name} are {shape}: it is of "
                             "another model and has to be moved to another folder.")


def check_images(job: Job, results: Results, names: list[str]) -> None:
    """ValueError if the results under one of the names are of another image."""
    for name in names:
        if name in results.found:
            try:
                content = job.source.content(name)
            except ImageError:
                continue  # what was inverted can no longer be read
            results.check(name, content, view(job.source))


def invert_all(job: Job, results: Results, names: list[str], bar: tqdm) -> None:
    """Invert batch by batch."""
    for start in range(0, len(names), job.batch):
        batch = names[start:start + job.batch]
        invert(job, batch, results)
        bar.update(len(batch))


def first_result(out: Path) -> Path | None:
    """A file where results would go, of an inversion or of anybody else; None if there is none."""
    return next((path for place in PLACES for path in (out / place, *(out / place).rglob("*"))
                 if path.is_file() and not path.name.startswith(".")), None)


def finished(out: Path) -> set[Path]:
    """Files of the images that are done."""
    return set((out / "codes").rglob("*.npz"))


def invert(job: Job, batch: list[str], results: Results) -> None:
    """Invert a batch of which some images are not finished, all together, and save those."""
    unfinished = [name for name in batch if not results.code(name).exists()]
    images = {name: image for name in unfinished
              if (image := read(job, name, results)) is not None}
    if not images:
        return
    wanted = list(images)
    images |= {name: image for name in batch if name not in unfinished
               if (image := read(job, name, results)) is not None}
    names = [name for name in batch if name in images]
    targets = torch.stack([images[name][0] for name in names]).to(device_of(job.model.generator))
    found = job.model.inverted(targets, job.method, fast=job.fast, progress=job.steps)
    errors = squared_error(found.images, targets)
    # In full size; of an image that has diverged, the code or what it shows may not be finite
    rendered = job.model.render(found.codes.nan_to_num(0, 0, 0), found)
    rendered = rendered.nan_to_num(0, 0, 0).clamp(-1, 1)
    for i, name in enumerate(names):
        if name in wanted:
            losses = {f"loss_{term}": values[i] for term, values in found.losses.items()}
            row = {"code": found.codes[i], "mse": errors[i], "diverged": found.diverged[i]}
            if isinstance(found, Tuned):
                row |= {f"{TUNED}{key}": value for key, value in found.weights(i).items()}
            save(results, name, rendered[i], row | losses, images[name][1])
            if found.diverged[i]:
                report(f"{name} has diverged and kept its start.")


def read(job: Job, name: str, results: Results) -> tuple[Tensor, dict[str, np.ndarray]] | None:
    """An image [3, r, r] and what its code tells of it; None, reported and noted, if it cannot be
    read. Its file is read once: it may change or vanish meanwhile."""
    note = results.failure(name)
    try:
        content = job.source.content(name)
        source = replace(job.source, encoded=lambda _: content)
        image = source.read(name, job.model.generator.resolution, job.crop)
    except ImageError as error:
        report(str(error))
        with replacing(note) as temporary:
            temporary.write_text(f"{error}\n", "utf-8")
        return None
    note.unlink(missing_ok=True)
    return image, identity(name, content, view(job.source))


def save(results: Results, name: str, image: Tensor, row: dict[str, Tensor],
         told: dict[str, np.ndarray]) -> None:
    """Write the image and then the code of one image, which makes it finished."""
    write_image(results.image(name), image)
    with replacing(results.code(name)) as temporary, open(temporary, "wb") as handle:
        np.savez(handle, **told, **{key: value.cpu().numpy() for key, value in row.items()})


def write_table(results: Results, mine: list[str]) -> Counter:
    """Write losses.csv and codes.npy of all that is finished; counts the states of `mine`."""
    rows, codes = [], []
    for name in results.names:
        path, note = results.code(name), results.failure(name)
        if path.exists() and (row := read_row(path)) is not None:
            codes.append(row["code"])
            rows.append({"image": name, "file": results.files[name]} | summary(row))
        elif note.exists():
            rows.append({"image": name, "state": "unreadable",
                         "note": note.read_text("utf-8").strip()})
    columns = dict.fromkeys(key for row in rows for key in row)
    with replacing(results.out / "losses.csv") as temporary, \
            open(temporary, "w", newline="", encoding="utf-8") as handle:
        table = csv.DictWriter(handle, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    if codes:
        with replacing(results.out / "codes.npy") as temporary, open(temporary, "wb") as handle:
            np.save(handle, np.stack(codes))
    else:
        (results.out / "codes.npy").unlink(missing_ok=True)
    own = set(mine)
    return Counter(row["state"] for row in rows if row["image"] in own)


def summary(row: dict) -> dict:
    """The part of a table's row that a file of a code tells."""
    last = {key[5:]: float(row[key][-1]) for key in row if key.startswith("loss_")}
    return {"bytes": int(row["bytes"]), "sha256": str(row["sha256"]),
            "state": "diverged" if row["diverged"] else "ok", "mse": float(row["mse"]), **last}


def report(sentence: str) -> None:
    """One line on standard error, above the progress bar, that no terminal obeys."""
    tqdm.write(f"idinvert invert: {text(sentence)}", file=sys.stderr)
