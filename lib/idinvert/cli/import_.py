"""Make models of another project's file.

    idinvert import ffhq.pkl mine
    idinvert import smile.npy mine

reads a .pkl of NVIDIA's StyleGAN2-ADA, a .pt of rosinality's StyleGAN2, a .pth of
genforce/idinvert_pytorch or a .npy of a boundary, without running code from it, and saves what it
holds: the generator as NAME, its discriminator as NAME-d, its encoder as NAME-base, and a boundary
among those of the generator. Prints their names. `idinvert invert --model NAME` then uses them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert import models
from idinvert.models import importing

from . import check_writable, read_options


@dataclass(frozen=True)
class Command:
    file: Positional[Path]
    """file of another project; its content tells the format"""
    name: Positional[str]
    """name for the generator, or of the generator that an encoder or a boundary belongs to"""
    attribute: str | None = None
    """attribute of a boundary; the file's name without .npy if not given"""
    replace: bool = False
    """replace models or a boundary of the same name"""


def main(arguments: list[str]) -> None:
    """Import a file."""
    options = read_options(Command, arguments, __name__, __doc__)
    check_writable(models.folder())
    names = importing.import_file(options.file, options.name, options.attribute, options.replace)
    print(f"{', '.join(names)} saved in {models.folder()}")
