"""Reader of published boundaries (.npy): the inversion code's, an object array of a dictionary with
`boundary` and `meta_data`, and InterFaceGAN's, a plain array of floats.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from idinvert.boundaries import Boundary

from . import IMPORTERS, File
from .records import Call, RecordError, array, number, read

LARGEST = 1 << 24  # numbers: more than any code has


@IMPORTERS.register("boundary")
class PublishedBoundary:
    """The normals of a boundary."""

    title, suffix = "NumPy", ".npy"

    @staticmethod
    def recognises(file: File) -> bool:
        return file.beginning.startswith(b"\x93NUMPY")

    @staticmethod
    def read(file: File) -> dict[str, Normals]:
        return {"boundaries": read_file(file.path)}


class Normals(NamedTuple):
    """The normals of a boundary, an array of floats [1, L, D], or [1, D] for all layers alike, and
    the layers that it moves, None for all."""

    values: np.ndarray
    layers: Sequence[int] | None

    def boundary(self, w_avg: Tensor, name: str = "") -> Boundary:
        """The boundary for codes of the shape of `w_avg` [L, D], of unit norm in each layer.

        The files store no intercept: the hyperplane is put through the average code.
        ValueError: another size, values that are not finite, layers that there are not.
        """
        depth, size = w_avg.shape
        normal = torch.from_numpy(np.array(self.values, np.float64)).squeeze(0)
        if normal.shape not in ((depth, size), (size,)):
            raise ValueError(f"The boundary has shape {list(self.values.shape)}, "
                             f"the codes have [{depth}, {size}].")
        layers = tuple(range(depth)) if self.layers is None else tuple(sorted(set(self.layers)))
        if not layers or not set(layers) <= set(range(depth)):
            raise ValueError(f"The boundary is for layers {list(layers)} of {depth}.")
        moved = normal.expand(depth, size)[list(layers)]
        largest = moved.abs().amax(1, keepdim=True)
        if not normal.isfinite().all() or not (largest > 0).all():
            raise ValueError("The boundary has values that are not finite or layers that are zero.")
        moved = moved / largest  # else squares may be infinite, or zero
        kept = torch.zeros(depth, size, dtype=torch.float64)
        kept[list(layers)] = moved / moved.norm(dim=1, keepdim=True)
        intercept = -float((kept * w_avg.double().cpu()).sum())
        return Boundary(name, kept.float(), intercept, layers, space="layer")


def read_file(path: str | Path) -> Normals:
    """What a file tells of a boundary.

    FileNotFoundError, and ValueError if the file is damaged or of another kind. No code is run.
    """
    with open(path, "rb") as file:
        try:
            return content(file)
        except RecordError as error:
            raise ValueError(f"{path} is no readable boundary: it {error}.") from error


def content(file: BinaryIO) -> Normals:
    """As `read_file`, of an open file; RecordError."""
    shape, order, kind = header(file)
    if kind.hasobject:
        return published(read(file))
    if kind.kind not in "fiu" or min(shape, default=0) < 0 or math.prod(shape) > LARGEST:
        raise RecordError("is no array of some numbers")
    data = file.read(math.prod(shape) * kind.itemsize)
    if len(data) < math.prod(shape) * kind.itemsize:
        raise RecordError("is truncated")
    return Normals(np.frombuffer(data, kind).reshape(shape, order=order), None)


def header(file: BinaryIO) -> tuple[tuple[int, ...], str, np.dtype]:
    """Shape, order ("C" or "F") and type of a .npy file, whose position is then that of the data.
    """
    try:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0,
                       (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, kind = read_header(file)
    except Exception as error:  # damaged headers raise many types
        raise RecordError("is no NumPy file") from error
    return shape, "F" if fortran else "C", kind


def published(node: Any) -> Normals:
    """The boundary of a pickled object array with one dictionary."""
    objects = array(node)
    if len(objects) != 1 or not isinstance(objects[0], dict) or "boundary" not in objects[0]:
        raise RecordError("has no dictionary with a boundary")
    values = array(objects[0]["boundary"])
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
        raise RecordError("has no boundary of floats")
    notes = objects[0].get("meta_data")
    layers = notes.get("manipulate_layers") if isinstance(notes, dict) else None
    return Normals(values, None if layers is None else layer_numbers(layers))


def layer_numbers(layers: Any) -> tuple[int, ...]:
    """Layer numbers that were given as a list, a tuple, an array or a range in words ("0-5")."""
    if isinstance(layers, Call):
        layers = array(layers)
    try:
        if isinstance(layers, str):
            parts = [part.split("-") for part in layers.split(",") if part.strip()]
            layers = [i for ends in parts for i in range(int(ends[0]), min(int(ends[-1]), 99) + 1)]
        numbers = [number(layer) for layer in layers]
        if any(int(layer) != float(layer) for layer in numbers):
            raise ValueError("there is no half a layer")
        return tuple(map(int, numbers))
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError("has layers that are no numbers, or no whole ones") from error
