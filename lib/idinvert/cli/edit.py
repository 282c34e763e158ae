"""Edit photographs: make somebody older, or smile less.

    idinvert edit photo.jpg age=+3 smile=-2 --out older.png
    idinvert edit inverted/codes/photo.npz eyeglasses=2

inverts the photograph, or reads a code that `idinvert invert` wrote, moves the code across the
boundary of each attribute, and writes the edited image to edited.png or --out. Positive numbers add
the attribute, negative ones remove it; 1 changes little, 3 much. Several photographs become one
image each in the folder --out. A wrong attribute is answered with those that the model has.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import torch
import tyro
from torch import Tensor
from tyro.conf import Positional

import idinvert
from idinvert import devices
from idinvert.data import load_images, open_source, to_float, write_image
from idinvert.inversion import Inversion, Tuned, files
from idinvert.inversion.methods import Method
from idinvert.inversion.methods.pivotal_tuning import with_weights

from . import UsageError
from .invert import Common, read_method

CODES = (".npz", ".npy")


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    words: Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="PHOTO.. NAME=NUMBER..")]]
    """images, folders, zips or LMDBs, or .npz and .npy files of codes; then each attribute and how
    far to move it"""
    out: Path | None = None
    """image to write, or folder for several; edited.png or edited/ if not given"""


def main(arguments: list[str]) -> None:
    """Edit, and say where the result is."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    paths, strengths = sorted_words(options.words)
    model = options.loaded(devices.pick(options.device))
    model.edit(model.generator.w_avg[None], **strengths)  # refuses wrong attributes early
    if all(path.suffix.lower() in CODES for path in paths):
        names, found = read_codes(paths, model)
    else:
        names, found = inverted(paths, model, method, options)
    images = [model.render(model.edit(part.codes, **strengths), part) for part in found]
    for path, image in zip(targets(names, options.out), torch.cat(images)):
        write_image(path, image)
        print(path)


def sorted_words(words: Sequence[str]) -> tuple[list[Path], dict[str, float]]:
    """The files among the words, and by how much to move each attribute; UsageError."""
    paths, strengths = [], {}
    for word in words:
        name, is_edit, number = word.rpartition("=")
        if not is_edit or Path(word).exists():
            paths.append(Path(word))
            continue
        try:
            strengths[name] = float(number)
        except ValueError:
            raise UsageError(f"{word!r} should be NAME=NUMBER, as age=+3.") from None
        if not math.isfinite(strengths[name]):
            raise UsageError(f"{word!r} should have a finite number.")
    if not paths or not strengths:
        raise UsageError("name an image and what to change: idinvert edit photo.jpg age=+3.")
    return paths, strengths


def read_codes(paths: Sequence[Path], model: idinvert.Model
               ) -> tuple[list[str], list[Inversion]]:
    """Names of images, and their codes as the files of `idinvert invert` hold them, an inversion
    for each file; ValueError names a bad one."""
    names, parts = [], []
    shape = tuple(model.generator.w_avg.shape)
    for path in paths:
        try:
            found = np.load(path, allow_pickle=False)
            values = found if path.suffix.lower() == ".npy" else found["code"]
            values = values.astype(np.float32).reshape(-1, *values.shape[-2:])
        except (ValueError, KeyError, EOFError, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(f"{path} holds no codes.") from error
        if values.shape[1:] != shape:
            raise ValueError(f"{path} has codes of {values.shape[1:]} layers and dimensions, but "
                             f"{model.name} takes {shape}.")
        several = [f"{path.stem}-{i}" for i in range(len(values))]
        names += several if len(several) > 1 else [path.stem]
        codes = torch.from_numpy(values).to(model.device)
        weights = {} if path.suffix.lower() == ".npy" else {
            key.removeprefix(files.TUNED): torch.from_numpy(found[key])
            for key in found if key.startswith(files.TUNED)}
        parts.append(inversion_of(codes, model, weights))
    return names, parts


def inversion_of(codes: Tensor, model: idinvert.Model, weights: Mapping[str, Tensor]) -> Inversion:
    """The inversion whose codes [N, L, D], and weights if the generator was tuned, a file holds."""
    kept = codes, model.render(codes[:0]), {}, torch.zeros(len(codes), dtype=torch.bool)
    return Tuned(*kept, (with_weights(model.generator, weights),)) if weights else Inversion(*kept)


def inverted(paths: Sequence[Path], model: idinvert.Model, method: Method, options: Command
             ) -> tuple[list[str], list[Inversion]]:
    """Names of photographs and their inversion; those that cannot be read are named and left out.
    """
    source = open_source(*paths)
    images, names, errors = load_images(source, model.generator.resolution,
                                        crop=not options.squeeze, progress=False)
    if not names:
        raise errors[0]
    if source.others:
        print(f"idinvert edit: {source.left_out()}", file=sys.stderr)
    for error in errors:
        print(f"idinvert edit: left out: {error}", file=sys.stderr)
    found = model.invert(to_float(images), method, batch=options.batch, progress=True)
    for name, diverged in zip(names, found.diverged.tolist()):
        if diverged:
            print(f"idinvert edit: {name} has diverged and kept its start.", file=sys.stderr)
    return names, [found]


def targets(names: Sequence[str], out: Path | None) -> list[Path]:
    """Where the edited images go: one to `out`, several into the folder `out`."""
    if len(names) == 1:
        return [out or Path("edited.png")]
    folder = out or Path("edited")
    if folder.suffix:
        raise UsageError(f"--out {folder} should be a folder, for there are {len(names)} images.")
    return [folder / PurePosixPath(name).with_suffix(".png") for name in names]
