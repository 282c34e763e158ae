"""Invert photographs: find codes from which the generator paints them again.

    idinvert invert photo.jpg
    idinvert invert photos/ more.zip --face 2 --out inverted
    idinvert invert photo.jpg --method image2stylegan --iterations 200
    idinvert invert rendered.png --model face-stylegan-layerwise

The model `ffhq` knows faces of 1024 px: it finds the face of a photograph, whatever its size, and
cuts it out as the images of FFHQ are. Other models take whole images; those of this study, such as
face-stylegan-layerwise, know its rendered images of 64 px.

The command takes image files, folders, zips and LMDBs, and writes into the folder --out: the
inverted images in images/, their codes in codes/ and codes.npy, the losses in losses.csv, and
comparison.png, which shows photographs above their inversions. An image that cannot be read is
named and left out. After an interruption, the same command continues. Several GPUs share the
images: torchrun --nproc-per-node 4 -m idinvert invert photos/.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from tyro.conf import Positional

import idinvert
from idinvert import devices, processes
from idinvert.data import ImageError, Source, grid, open_source, read_image, write_image
from idinvert.data.formats import suffixes
from idinvert.data.sources import holds_results, text
from idinvert.inversion import files
from idinvert.inversion.methods import METHODS, Method
from idinvert.inversion.results import PLACES
from idinvert.photographs import Photographs, faces_of
from idinvert.registry import nearest
from idinvert.settings import Count

from . import UsageError, check_writable, given, read_options
from ._origins import warn_of_encoder

DEFAULT_MODEL, DEFAULT, WITHOUT_ENCODER = "ffhq", "in-domain", "image2stylegan"
INVERTING = ("method", "encoder", "batch", "face", "align", "squeeze")  # options of `Common` on how
SHOWN, SHOWN_SIZE = 12, 512  # images of the comparison, and their px at most


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of commands that invert; those of the method join them."""

    model: str = DEFAULT_MODEL
    """generator, see `idinvert models`"""
    encoder: str | None = None
    """encoder to use instead of the generator's own"""
    batch: Count | None = None
    """images at a time; as many as suit the model if not given"""
    face: Count = 1
    """which face of a photograph, 1 for the largest"""
    align: bool = True
    """take photographs as they are: their faces are aligned as those of FFHQ already"""
    squeeze: bool = False
    """squeeze images that are not square into a square, instead of cutting out its centre"""
    device: str = "auto"
    """cuda if there is one, else cpu"""

    def loaded(self, device: str) -> idinvert.Model:
        """The model, which loads each of its networks when it is first used."""
        chosen = {} if self.encoder is None else {"encoder": self.encoder}
        model = idinvert.Model(self.model, device, **chosen)
        if self.encoder is not None:
            warn_of_encoder(self.encoder, self.model)
        return model

    def loaded_here(self) -> idinvert.Model:
        """The model on the device that is chosen."""
        return self.loaded(devices.pick(self.device))

    def source(self, *paths: Path) -> Source:
        """The images of paths; of a model of photographs, their faces. Results of inversions, which
        a shell names where somebody writes *, are left out. UsageError: the paths hold nothing but
        results, among which there are images of several kinds, --face chooses among none, or
        --squeeze has nothing to squeeze."""
        results = [path for path in paths if holds_results(path)]
        if results == [*paths]:
            raise UsageError(f"{paths[0]} holds results of an inversion: name images, as those in "
                             f"{paths[0] / 'images'}; `idinvert edit` takes "
                             f"{paths[0] / 'codes.npy'}.")
        opened = open_source(*(path for path in paths if path not in results))
        others = [*opened.others, *(text(f"{path}/ (results)") for path in results)]
        found = faces_of(replace(opened, others=others), self.model, face=self.face,
                         align=self.align)
        if self.face > 1 and not (self.align and isinstance(found, Photographs)):
            why = f"{self.model} takes whole images" if self.align else "--no-align searches none"
            raise UsageError(f"--face {self.face} chooses among faces that are found, but {why}.")
        if self.squeeze and self.align and isinstance(found, Photographs):
            raise UsageError("--squeeze is for whole images, but faces are cut out: add "
                             "--no-align, or leave it out.")
        return found


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    paths: Positional[tuple[Path, ...]]
    """images, and folders, zips or LMDBs of images"""
    out: Path = Path("inverted")
    """folder of the results"""
    fast: bool = False
    """compute gradients in bfloat16, by networks made ready for it"""


def main(arguments: list[str]) -> int:
    """Invert, and say how many images it was and where they are; returns 1 if no image of those
    that fell to this process could be read."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    if not options.paths:
        raise UsageError("name at least one image: idinvert invert photo.jpg.")
    if is_album(options.out) or any(takes_place(path.resolve(), options.out)
                                    for path in options.paths if not holds_results(path)):
        raise UsageError(f"{options.out} holds the photographs: name another folder for --out.")
    check_writable(options.out)
    share, start = processes.share(), time.monotonic()
    device = share.device(options.device)
    processes.warn_if_crowded(share, device)
    model = options.loaded(device)
    source = options.source(*options.paths)
    if share.first and source.others:
        files.report(source.left_out())
    batch = options.batch or model.advice.get("batch", 16)
    job = files.Job(model, method, source, options.out, batch, not options.squeeze,
                    steps=batch == 1 or len(source.names) == 1, fast=options.fast)
    counts = files.run(job, share)
    print(", ".join(f"{counts[state]} {state}" for state in files.STATES) + f"; {options.out}")
    print(f"idinvert invert: {time.monotonic() - start:.0f} s.", file=sys.stderr)
    sheet, before = None, None
    while before != (before := files.finished(job.out)):  # another process may have ended meanwhile
        sheet = comparison(job)
    if share.first and sheet:
        print(f"Photographs above their inversions: {sheet}")
    return int(counts["unreadable"] == counts.total() > 0)


def takes_place(path: Path, out: Path) -> bool:
    """Whether results in the folder `out` would go among the images of a path, or over it."""
    return path == out.resolve() or any(
        path.is_relative_to((out / place).resolve()) for place in PLACES)


def is_album(folder: Path) -> bool:
    """Whether a folder has photographs beside one another, and no results: with results among them,
    commands would leave it out."""
    return folder.is_dir() and not holds_results(folder) and any(
        path.suffix.lower() in suffixes() and path.name not in PLACES and path.is_file()
        for path in folder.iterdir())


def read_method(kind: type, arguments: Sequence[str], module: str, described: str
                ) -> tuple[Any, Method]:
    """Options of a command, and the method it names, with the settings of that method."""
    encoder = named("--encoder", arguments, "")
    model = idinvert.Model(named("--model", arguments, DEFAULT_MODEL), "cpu",
                           **({"encoder": encoder} if encoder else {}))
    usual = DEFAULT if DEFAULT in model.available() else WITHOUT_ENCODER
    name = named("--method", arguments, usual)
    settings = re.sub(r"\W", "_", name)  # as the help calls them
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: {nearest(name, METHODS)}")
    choice = Annotated[Literal[tuple(METHODS)], tyro.conf.arg(
        help="how to invert; --method NAME --help lists the settings of another method")]
    joined = make_dataclass("Joined", [
        ("method", choice, usual), (settings, METHODS[name], model.method(name)),
    ], bases=(kind,), frozen=True, kw_only=True)
    options = read_options(joined, arguments, module, described)
    method = getattr(options, settings)
    if options.encoder is not None and "encoder" not in method.needs:
        raise UsageError(f"{name} does not use --encoder: leave it out, or name another --method.")
    return options, method


def refuse_inverting(options: Any) -> None:
    """UsageError if options of `read_method` say how to invert, where all that is named is codes.
    """
    settings = re.sub(r"\W", "_", options.method)
    called = {"align": "--no-align", settings: f"settings of {options.method}"}
    for name in given(options):
        if name in (*INVERTING, settings):
            raise UsageError("codes are inverted already: leave out "
                             f"{called.get(name, f'--{name}')}.")


def named(option: str, arguments: Sequence[str], default: str) -> str:
    """What a command line gives an option, before it is read."""
    for word, after in zip(arguments, [*arguments[1:], ""]):
        if word == option or word.startswith(f"{option}="):
            default = word.partition("=")[2] or after  # the last one counts
    return default


def comparison(job: files.Job) -> Path | None:
    """Write comparison.png: the first photographs, above their inversions; None if there are none.
    """
    results = files.Results(job.out, job.source.names)
    size = min(job.model.whole.resolution, SHOWN_SIZE)
    done = [(name, path) for name in job.source.names if (path := results.image(name)).exists()
            and results.code(name).exists()][:SHOWN]
    pairs = []
    for name, path in done:
        with suppress(ImageError, ValueError):  # it was removed, or changed, meanwhile
            content = job.source.content(name)
            results.check(name, content, files.view(job.source))
            source = replace(job.source, encoded=lambda _, content=content: content)
            pairs.append((source.read(name, size, job.crop), read_image(path, size)))
    if not pairs:
        return None
    photos, inverted = map(torch.stack, zip(*pairs))
    path = job.out / "comparison.png"
    write_image(path, grid(torch.cat([photos, inverted]), len(pairs)))
    return path
