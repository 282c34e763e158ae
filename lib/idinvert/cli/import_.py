"""Make models of another project's file.

    idinvert import ffhq.pkl mine

reads a .pkl of NVIDIA's StyleGAN2-ADA, a .pt of rosinality's StyleGAN2, a .pth of
genforce/idinvert_pytorch or a .npy of a boundary, without running code from it, and saves what it
holds as models: the generator as NAME, its encoder as NAME-base. Prints their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert import models
from idinvert.models import importing

from . import read_options


@dataclass(frozen=True)
class Command:
    file: Positional[Path]
    """of the other project"""
    name: Positional[str]
    """of the generator"""
    attribute: str | None = None
    """what a boundary is of; the file's name if not given"""
    replace: bool = False
    """overwrite the models of that name"""


def main(arguments: list[str]) -> None:
    """Import a file."""
    options = read_options(Command, arguments, __name__, __doc__)
    names = importing.import_file(options.file, options.name, options.attribute, options.replace)
    print(f"{', '.join(names)} saved in {models.folder()}")
