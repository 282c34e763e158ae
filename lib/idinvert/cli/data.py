"""Render the embedded worlds, write archives of their test images, or stand-ins for photographs.

    idinvert data render face --size 64

renders the training images of the domain "face" into the cache before they are needed;

    idinvert data archive face --out face-test.zip

writes the archive of its test images, as the library carries it. Domains: face, tower, church and
bedroom.

    idinvert data stand-ins faces/

writes three pictures of people who do not exist, on which inverting photographs can be tried.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor
from tyro.conf import Positional
from worlds import dataset

from idinvert import models
from idinvert.data import (
    ImageError,
    archive,
    read_image,
    sets,
    standins,
    to_float,
    to_uint8,
    write_image,
)
from idinvert.files import cache_folder, replacing

from . import UsageError, check_target, check_writable, read_options

Domain = Literal[sets.DOMAINS]


@dataclass(frozen=True)
class Render:
    """Render the training images of a domain into the cache; images that it has are kept."""

    domain: Positional[Domain]
    size: int = sets.ARCHIVE_SIZE
    """size of the images, px"""

    def run(self) -> None:
        """Render them and say how many there are."""
        split = sets.load(self.domain, "train", size=self.size)
        print(f"{len(split)} training images of {self.domain} are in the cache")


@dataclass(frozen=True)
class Archive:
    """Write the archive of a domain's test images; prints its path."""

    domain: Positional[Domain]
    source: Path | None = None
    """folder with the rendered images; they are rendered if it is not given"""
    out: Path | None = None
    """zip file to write; the library's own archive if not given"""

    def run(self) -> None:
        """Write the archive and print its path."""
        print(write_archive(self.domain, self.source, self.out))


@dataclass(frozen=True)
class StandIns:
    """Write stand-ins for photographs: pictures of people who do not exist."""

    folder: Positional[Path]
    images: tuple[int, ...] = (1, 5, 9)
    """their numbers, from 0; the codes of the odd ones are beyond W"""

    def run(self) -> None:
        """Write them and print their paths."""
        # The last number was taken for the folder
        if not self.images or str(self.folder).isdigit() and not self.folder.exists():
            raise UsageError("name a folder before --images, and at least one number after it: "
                             "idinvert data stand-ins faces/ --images 1.")
        if min(self.images) < 0:
            raise UsageError("--images takes numbers from 0.")
        check_writable(self.folder)
        made = standins.make(models.load("ffhq"), "test", self.images)
        pictures = {self.folder / f"{number:05d}.png": image
                    for number, image in zip(self.images, made)}
        for path, image in pictures.items():
            check_stand_in(path, image)
        for path, image in pictures.items():
            write_image(path, to_float(image))
            print(path)


def main(arguments: list[str]) -> None:
    """Run one of the three commands."""
    read_options(Render | Archive | StandIns, arguments, __name__, __doc__).run()


def check_stand_in(path: Path, image: Tensor) -> None:
    """UsageError if a stand-in would replace another picture: those of FFHQ have such names. The
    same one may differ by a grey level, as other batches are rounded in another way."""
    check_target(path)
    if not path.exists():
        return
    with suppress(ImageError):
        there = to_uint8(read_image(path, image.shape[-1]))
        if (there.float() - image.float()).abs().mean() < 1:
            return
    raise UsageError(f"{path} would replace another file: name a new folder.")


def write_archive(domain: str, source: Path | None, out: Path | None) -> Path:
    """Pack the test images of a rendered folder, or of one rendered into the cache.

    ValueError: the folder has not these images.
    """
    out = out or archive.archive_path(domain)
    check_target(out)
    wanted = dataset.Settings(domain, sets.ARCHIVE_SIZE, sets.SEED, sets.TEST_COUNT,
                              start=sets.TRAIN_COUNTS[domain])
    if source is None:
        source = cache_folder("worlds") / f"{domain}-{sets.ARCHIVE_SIZE}-test"
        sets.render(source, wanted)
    found = dataset.read_settings(source)
    if found is None or found.domain != domain or {*wanted.indices()} - {*found.indices()}:
        raise ValueError(f"{source} has not the test images of {domain}: leave --source out, and "
                         "they are rendered.")
    images = dict(zip(found.indices(), dataset.read_encoded(source)))
    with replacing(out) as temporary, open(source / "attributes.csv", newline="") as table:
        archive.write(temporary, wanted.indices(), (images[i] for i in wanted.indices()), table)
    return out
