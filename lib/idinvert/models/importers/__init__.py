"""Importers: how files of other projects are recognised and read. One file is one format, found by
its name in IMPORTERS; nothing in a file is run.
"""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from idinvert.boundaries import Boundary
from idinvert.files import stamp
from idinvert.registry import Registry, origin

from .states import read_torch

LARGEST = 8 << 30  # bytes of a file


class File:
    """A file that is to be imported; its content is read when it is first asked for.

    FileNotFoundError: there is none. ValueError: it is a folder, a device, or larger than any file
    of networks.
    """

    def __init__(self, path: Path):
        self.path = path
        if path.is_dir():
            kind = "a model of diffusers, not a GAN" if (path / "model_index.json").exists() else \
                "a folder"
            raise ValueError(f"{path} is {kind}: name the file to import.")
        if path.exists() and not path.is_file():  # a device or a pipe, which may have no end
            raise ValueError(f"{path} is no file.")
        if path.exists() and path.stat().st_size > LARGEST:
            raise ValueError(f"{path} has more than {LARGEST >> 30} GB, which no file of networks "
                             "has.")
        self.stamp = stamp(path)  # another one: it has changed
        with open(path, "rb") as file:
            self.beginning = file.read(64)  # bytes

    @property
    def is_torch(self) -> bool:
        """Whether it begins as PyTorch's files do: a zip, or the pickle of a magic number."""
        return (self.beginning.startswith(b"PK\x03\x04")
                or self.beginning[:4] == b"\x80\x02\x8a\x0a")

    @cached_property
    def torch_content(self) -> Any:
        """What a PyTorch file holds; ValueError: anything but tensors and plain data."""
        return read_torch(self.path)

    def holds_torch(self, kind: type) -> bool:
        """Whether it is a PyTorch file whose content is of this kind; ValueError as above."""
        return self.is_torch and isinstance(self.torch_content, kind)


@runtime_checkable
class Normals(Protocol):
    """A boundary in a file, which does not tell the generator it is for."""

    def boundary(self, w_avg: Tensor, name: str) -> Boundary:
        """The boundary of the attribute `name` for codes like the average code [L, D]; ValueError:
        codes of another shape."""


@runtime_checkable
class Importer(Protocol):
    """One format of files.

    title: the project that writes it. suffix: of its files' names, for messages alone.
    """

    title: str
    suffix: str

    def recognises(self, file: File) -> bool:
        """Whether a file is of this format, sound or not; ValueError: it cannot be read at all."""

    def read(self, file: File) -> dict[str, nn.Module | Normals]:
        """What a file holds, by role: networks in eval mode, or normals as "boundaries".

        ValueError: it is damaged, or holds what our networks cannot compute.
        """


IMPORTERS: Registry[Importer] = Registry("format of files", "idinvert.models.importers")


def importers() -> dict[str, Importer]:
    """The importers by name; a warning names those of plug-ins that are none."""
    for name, entry in IMPORTERS.items():
        if not isinstance(entry, Importer):
            warnings.warn(f"The importer {name!r} of {origin(entry)} is left out: it needs title, "
                          "suffix, recognises and read.", stacklevel=2)
    return {name: entry for name, entry in IMPORTERS.items() if isinstance(entry, Importer)}


def formats() -> str:
    """All formats, for a sentence: ".npy of NumPy, ..."."""
    return ", ".join(f"{entry.suffix} of {entry.title}" for entry in importers().values())
