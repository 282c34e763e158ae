"""Invert photographs: find codes from which the generator paints them again.

    idinvert invert photo.jpg
    idinvert invert photos/ more.zip --model face-stylegan-layerwise --out inverted
    idinvert invert photo.jpg --method image2stylegan --iterations 200

takes image files, folders, zips and LMDBs, and writes into the folder --out: the inverted images in
images/, their codes in codes/ and codes.npy, the losses in losses.csv, and comparison.png, which
shows photographs above their inversions. An image that cannot be read is named and left out. After
an interruption, the same command continues. Several GPUs share the images:
torchrun --nproc-per-node 4 -m idinvert invert photos/.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from tyro.conf import Positional

import idinvert
from idinvert import processes
from idinvert.data import grid, open_source, read_image, write_image
from idinvert.inversion import files
from idinvert.inversion.methods import METHODS, Method
from idinvert.registry import nearest

from . import UsageError, read_options

DEFAULT_MODEL, DEFAULT = "face-stylegan-layerwise", "in-domain"
SHOWN = 12  # images of the comparison


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of commands that invert; those of the method join them."""

    model: str = DEFAULT_MODEL
    """generator, see `idinvert models`"""
    encoder: str | None = None
    """encoder to use instead of the generator's own"""
    batch: int = 16
    """images at a time"""
    squeeze: bool = False
    """squeeze images that are not square into a square, instead of cutting out its centre"""
    device: str = "auto"
    """cuda if there is one, else cpu"""

    def __post_init__(self):
        if self.batch < 1:
            raise UsageError(f"--batch is {self.batch}, but should be at least 1.")

    def loaded(self, device: str) -> idinvert.Model:
        """The model, which loads each of its networks when it is first used."""
        chosen = {} if self.encoder is None else {"encoder": self.encoder}
        return idinvert.Model(self.model, device, **chosen)


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    paths: Positional[tuple[Path, ...]]
    """images, and folders, zips or LMDBs of images"""
    out: Path = Path("inverted")
    """folder of the results"""


def main(arguments: list[str]) -> None:
    """Invert, and say how many images it was and where they are."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    if not options.paths:
        raise UsageError("name at least one image: idinvert invert photo.jpg.")
    share = processes.share()
    model = options.loaded(share.device(options.device))
    source = open_source(*options.paths)
    if share.first and source.others:
        files.report(source.left_out())
    job = files.Job(model, method, source, options.out, options.batch, not options.squeeze)
    counts = files.run(job, share)
    print(", ".join(f"{counts[state]} {state}" for state in files.STATES) + f"; {options.out}")
    if share.first and (sheet := comparison(job)):
        print(f"Photographs above their inversions: {sheet}")


def read_method(kind: type, arguments: Sequence[str], module: str, described: str
                ) -> tuple[Any, Method]:
    """Options of a command, and the method it names, with the settings of that method."""
    name = named_method(arguments)
    settings = re.sub(r"\W", "_", name)  # as the help calls them
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: {nearest(name, METHODS)}")
    choice = Annotated[Literal[tuple(METHODS)], tyro.conf.arg(
        help="how to invert; --method NAME --help lists the settings of another method")]
    joined = make_dataclass("Joined", [
        ("method", choice, DEFAULT), (settings, METHODS[name], METHODS[name]()),
    ], bases=(kind,), frozen=True, kw_only=True)
    options = read_options(joined, arguments, module, described)
    return options, getattr(options, settings)


def named_method(arguments: Sequence[str]) -> str:
    """The method that a command line names."""
    for word, after in zip(arguments, [*arguments[1:], ""]):
        if word == "--method" or word.startswith("--method="):
            return word.partition("=")[2] or after
    return DEFAULT


def comparison(job: files.Job) -> Path | None:
    """Write comparison.png: the first photographs, above their inversions; None if there are none.
    """
    results = files.Results(job.out, job.source.names)
    size = job.model.generator.resolution
    done = [(name, path) for name in job.source.names if (path := results.image(name)).exists()
            and results.code(name).exists()][:SHOWN]
    if not done:
        return None
    photos = torch.stack([job.source.read(name, size, job.crop) for name, _ in done])
    inverted = torch.stack([read_image(path, size) for _, path in done])
    path = job.out / "comparison.png"
    write_image(path, grid(torch.cat([photos, inverted]), len(done)))
    return path
