"""Edit photographs: make somebody older, or smile less.

    idinvert edit photo.jpg age=+3 smile=-2 eyeglasses=off --out older.png
    idinvert edit photo.jpg age=+3 --paste --out older.jpg
    idinvert edit inverted/codes/photo.npz eyeglasses=on

inverts the photograph, or reads a code that `idinvert invert` wrote, moves the code across the
boundary of each attribute, and writes the edited image to edited.png or --out. Positive numbers add
the attribute, negative ones remove it: 1 changes little, 3 much. "on" and "off" go as far as
samples of the generator that clearly have or lack it. --paste puts the edited face back into the
whole photograph. Several photographs become one image each in the folder --out. Codes are kept: the
next edit of the same photograph takes seconds. A wrong attribute is answered with those that the
model has.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from tyro.conf import Positional

import idinvert
from idinvert.boundaries import Boundary
from idinvert.data import ImageError, Source, grid, write_image
from idinvert.data.formats import suffixes
from idinvert.data.sources import from_root, text
from idinvert.inversion import Inversion, files
from idinvert.inversion.cache import cached_codes, cached_tuning
from idinvert.inversion.methods import Method
from idinvert.inversion.methods.pivotal_tuning import Tuned, with_weights
from idinvert.inversion.results import check_unpacked
from idinvert.photographs import Photographs

from . import UsageError, check_image
from ._origins import warn_of_codes
from .invert import SHOWN_SIZE, Common, read_method, refuse_inverting

CODES = (".npz", ".npy")
LARGEST = 20.0  # strength of an edit; beyond it nothing is left of the image
SWITCH = {"on": 0.95, "off": 0.05}  # share of samples that have less of the attribute
SAMPLES = 1000  # of these
WIDEST = 16_383  # px of a picture of several, as WebP has them at most

Strength = float | str  # a number, or a word of SWITCH


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    words: Positional[Annotated[tuple[str, ...], tyro.conf.arg(metavar="PHOTO.. NAME=NUMBER..")]]
    """images, folders, zips or LMDBs, or .npz and .npy files of codes; then each attribute and how
    far to move it, or on or off"""
    out: Path | None = None
    """image to write, or folder for several; edited.png or edited/ if not given"""
    paste: bool = False
    """put the edited face back into the whole photograph"""
    sheet: Path | None = None
    """picture to write as well: a row of photograph, inversion and edited image for each"""


def main(arguments: list[str]) -> None:
    """Edit, and say where the result is."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    paths, strengths = sorted_words(options.words)
    model, start = options.loaded_here(), time.monotonic()
    model.edit(model.generator.w_avg[None], **dict.fromkeys(strengths, 0.0))  # refuses wrong ones
    codes = [path for path in paths if are_codes([path]) and path.is_file()]
    if codes and not are_codes(paths):
        raise ValueError(f"{codes[0]} is no photograph, as others are: edit codes by themselves.")
    source = None if are_codes(paths) else steady(options.source(*paths))
    if options.paste and not isinstance(source, Photographs):
        raise UsageError("--paste needs photographs, and a model of aligned faces such as ffhq.")
    if options.paste and options.squeeze:
        raise UsageError("--paste puts a square back where it was: leave out --squeeze.")
    if options.sheet and source is None:
        raise UsageError("--sheet shows photographs, and codes have none: leave it out.")
    if source is None:
        refuse_inverting(options)
        names, parts = read_codes(paths, model)
        found = zip(names, singles(parts))
    else:
        names, found = source.names, inverted(source, model, method, options)
    places = dict(zip(names, targets(names, options.out)))
    check_image(*places.values(), *[options.sheet] * bool(options.sheet), read=paths)
    if options.sheet and options.sheet.resolve() in {path.resolve() for path in places.values()}:
        raise UsageError(f"{options.sheet} is to hold an edited image: name another --sheet.")
    most = WIDEST // min(model.whole.resolution, SHOWN_SIZE)
    if options.sheet and len(names) > most:
        raise UsageError(f"a sheet of {len(names)} images would be too high: edit at most {most} "
                         "at a time, or leave out --sheet.")
    moves = {name: (model.boundaries[name], strengths[name])  # how far to "on", the others tell
             for name in sorted(strengths, key=lambda name: strengths[name] in SWITCH)}
    rows = []
    for name, part in found:
        code = part.codes
        for attribute, move in moves.items():
            code = model.edit(code, **{attribute: step(model, code, *move)})
        image, = model.render(code, part).clamp(-1, 1)
        try:
            write_image(places[name], source.pasted(name, image) if options.paste else image)
            print(places[name], flush=True)
            if options.sheet and source is not None:
                size = min(image.shape[-1], SHOWN_SIZE)
                target = source.read(name, size, not options.squeeze).to(image)
                made = torch.stack([*model.render(part.codes, part), image])
                rows += [target, *F.adaptive_avg_pool2d(made, size)]
        except ImageError as error:  # its photograph is gone, or its code is out of all range
            if len(places) == 1:
                raise
            report(f"left out: {error}")
    if rows:
        write_image(options.sheet, grid(torch.stack(rows), 3))
        print(options.sheet)
    print(f"idinvert edit: {time.monotonic() - start:.0f} s.", file=sys.stderr)


def sorted_words(words: Sequence[str]) -> tuple[list[Path], dict[str, Strength]]:
    """The files among the words, and by how much to move each attribute; UsageError."""
    paths, strengths = [], {}
    for word in words:
        name, is_edit, value = word.rpartition("=")
        if not is_edit or os.path.exists(word):  # Path.exists raises where a word is too long
            paths.append(Path(word))
            continue
        try:
            strength = value if value in SWITCH else float(value)
        except ValueError:
            raise UsageError(f"{word!r} should be NAME=NUMBER, as age=+3, or NAME=on or NAME=off."
                             ) from None
        if name in strengths:
            raise UsageError(f"{name!r} is changed twice: name it once.")
        strengths[name] = strength
        if value not in SWITCH and not abs(strength) <= LARGEST:
            raise UsageError(f"{word!r} should have a number from -{LARGEST:g} to {LARGEST:g}: 1 "
                             "changes little, 3 much, and beyond that images fall apart.")
    if not paths or not strengths:
        raise UsageError("name an image and what to change: idinvert edit photo.jpg age=+3.")
    return paths, strengths


def step(model: idinvert.Model, code: Tensor, boundary: Boundary, strength: Strength) -> float:
    """How far to move a code [1, L, D]: the strength if that is a number; "on" and "off" go to the
    distance beyond which the samples of SWITCH lie, unless the code is beyond it already."""
    if strength not in SWITCH:
        return float(strength)
    samples = boundary.distance(model.sample(SAMPLES))
    missing = float(samples.quantile(SWITCH[strength]) - boundary.distance(code))
    # By how much a step of 1 moves the distance: not as a difference of distances, which may be 0
    gain = boundary.direction.double().square().sum() / boundary.normal.double().norm()
    wanted = max if strength == "on" else min
    return max(-LARGEST, min(LARGEST, wanted(0.0, missing) / float(gain)))


def steady(source: Source) -> Source:
    """A source that is read several times: an image that has changed meanwhile is an ImageError."""
    seen: dict[str, bytes] = {}

    def encoded(name: str) -> bytes:
        content = source.encoded(name)
        digest = hashlib.sha256(content).digest()
        if seen.setdefault(name, digest) != digest:
            raise ImageError(f"{name} has changed meanwhile: edit it again.")
        return content

    return replace(source, encoded=encoded)


def are_codes(paths: Sequence[Path]) -> bool:
    """Whether all files hold codes, not images."""
    return all(path.suffix.lower() in CODES for path in paths)


def read_codes(paths: Sequence[Path], model: idinvert.Model
               ) -> tuple[list[str], list[Inversion]]:
    """Names of images, and their codes as the files of `idinvert invert` hold them, an inversion
    for each file; those that are not finite are named and left out. ValueError names a bad file."""
    names, parts, lost = [], [], []
    shape = tuple(model.generator.w_avg.shape)
    for path, own in zip(paths, code_names(paths)):
        try:
            check_unpacked(path)
            found = np.load(path, mmap_mode="r", allow_pickle=False)  # no more than there is
            alone = isinstance(found, np.ndarray)  # whatever its name says
            values = found if alone else found["code"]
            if values.dtype.kind not in "fiu" or not values.size:
                raise ValueError("no numbers")
            values = values.astype(np.float32).reshape(-1, *values.shape[-2:])
            weights = {} if alone else {
                key.removeprefix(files.TUNED): torch.from_numpy(found[key])
                for key in found if key.startswith(files.TUNED)}
            diverged = not alone and "diverged" in found and bool(found["diverged"].any())
        except MemoryError:
            raise
        except Exception as error:  # zipfile and NumPy raise many types on damaged files
            if getattr(error, "errno", None):  # it cannot be read, which says nothing of it
                raise
            raise ValueError(f"{path} holds no codes.") from error
        if values.shape[1:] != shape:
            raise ValueError(f"{path} has codes of {values.shape[1:]} layers and dimensions, but "
                             f"{model.name} takes {shape}.")
        warn_of_codes(path, model.name, alone)
        if diverged:
            warnings.warn(f"{path} is of an image that has diverged, and has the code it started "
                          "from.", stacklevel=2)
        several = [f"{own}-{i}" for i in range(len(values))] if len(values) > 1 else [own]
        finite = np.isfinite(values).all(axis=(1, 2))
        lost += [name for name, sound in zip(several, finite) if not sound]
        if finite.any():
            names += [name for name, sound in zip(several, finite) if sound]
            codes = torch.from_numpy(values[finite]).to(model.device)
            parts.append(inversion_of(codes, model, weights))
    if not names:
        raise ValueError(f"{paths[0]} has codes that are not finite.")
    for name in lost:
        report(f"left out: the code {name} is not finite, as of an image that has diverged.")
    return names, parts


def code_names(paths: Sequence[Path]) -> list[str]:
    """Names of files of codes, without suffixes, from the folder on that they share."""
    absolute = [from_root(path) for path in paths]
    common = os.path.commonpath([path.parent for path in absolute])
    return [text(path.relative_to(common).with_suffix("").as_posix()) for path in absolute]


def inversion_of(codes: Tensor, model: idinvert.Model, weights: Mapping[str, Tensor] | None = None
                 ) -> Inversion:
    """The inversion with codes [N, L, D], and weights if the generator was tuned to the image."""
    kept = codes, model.render(codes[:0]), {}, torch.zeros(len(codes), dtype=torch.bool)
    return Tuned(*kept, (with_weights(model.generator, weights),)) if weights else Inversion(*kept)


def singles(parts: Sequence[Inversion]) -> Iterator[Inversion]:
    """An inversion for each image of several."""
    for part in parts:
        generators = part.generators if isinstance(part, Tuned) else ()
        for i, code in enumerate(part.codes):
            kept = code[None], part.images[:0], {}, part.diverged[i:i + 1]
            tuned = generators if len(generators) == 1 else generators[i:i + 1]
            yield Tuned(*kept, tuned) if tuned else Inversion(*kept)


def check_pair(paths: Sequence[Path], command: str) -> None:
    """UsageError unless there are two paths."""
    if len(paths) != 2:
        raise UsageError(f"this takes two photographs, not {len(paths)}, nor a folder of them: "
                         f"idinvert {command} a.jpg b.jpg.")


def codes_of(paths: Sequence[Path], model: idinvert.Model, method: Method, options: Common
             ) -> Tensor:
    """A code for each path [N, L, D]: that of its photograph, or the one that it holds. A warning
    names an image to which the generator was tuned, for its code alone is taken.

    ValueError or ImageError: a path has none, or several.
    """
    if are_codes(paths):
        refuse_inverting(options)
    codes = []
    for path in paths:
        if are_codes([path]):
            found, = read_codes([path], model)[1]
        else:
            found = kept(model, method, images_of([path], model, options))
        if isinstance(found, Tuned):
            warnings.warn(f"the generator was tuned to {path}, but only its code is taken: the "
                          "generator without tuning makes another image of it.", stacklevel=2)
        codes.append(one(found.codes, path))
    return torch.stack(codes)


def images_of(paths: Sequence[Path], model: idinvert.Model, options: Common) -> Tensor:
    """The image of each path, [N, 3, r, r]; errors as `codes_of`."""
    images = []
    for path in paths:
        source = options.source(path)
        images.append(source.read(one(source.names, path), model.generator.resolution,
                                  not options.squeeze))
    return torch.stack(images).to(model.device)


def one(found: Sequence, path: Path) -> Any:
    """The only one of what a path holds; ValueError: there are several."""
    if len(found) != 1:
        raise ValueError(f"{path} holds {len(found)} images, but this takes one of each path.")
    return found[0]


def inverted(source: Source, model: idinvert.Model, method: Method, options: Common
             ) -> Iterator[tuple[str, Inversion]]:
    """Name and inversion of each image; those that cannot be read are named at the end.

    ImageError: none can be read.
    """
    size, errors, names = model.generator.resolution, [], list(source.names)
    batch = options.batch or model.advice.get("batch", 16)
    if source.others:
        report(source.left_out())
    for start in range(0, len(names), batch):
        images = {}
        for name in names[start:start + batch]:
            try:
                images[name] = source.read(name, size, not options.squeeze)
            except ImageError as error:
                errors.append(error)
        if images:
            targets = torch.stack(list(images.values())).to(model.device)
            yield from zip(images, singles([kept(model, method, targets)]))
    if len(errors) == len(names):
        raise errors[0]
    for error in errors:
        report(f"left out: {error}")


def kept(model: idinvert.Model, method: Method, images: Tensor) -> Inversion:
    """The inversion of images [N, 3, r, r], from the cache where that has it; ValueError as
    `check_encoder`."""
    files.check_encoder(model, method)
    if getattr(method, "tunes", False):
        return cached_tuning(model, method, images)
    return inversion_of(cached_codes(model, method, images), model)


def report(sentence: str) -> None:
    """One line on standard error."""
    print(f"idinvert edit: {sentence}", file=sys.stderr)


def targets(names: Sequence[str], out: Path | None) -> list[Path]:
    """Where the edited images go: one to `out`, several into the folder `out`; one too if `out` has
    no suffix, for how many photographs a folder has may not be known."""
    if len(names) == 1 and (out is None or out.suffix):
        return [out or Path("edited.png")]
    folder = out or Path("edited")
    if folder.suffix.lower() in suffixes() and not folder.is_dir():
        raise UsageError(f"--out {folder} should be a folder, for there are {len(names)} images.")
    own = files.file_names(names)
    if len(own) < len(names):
        raise UsageError("two of the files have the same name: edit one after the other.")
    return [folder / f"{own[name]}.png" for name in names]
