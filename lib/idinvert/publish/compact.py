"""The weights of an ONNX file in fewer bits: float16, or whole numbers of 8 bits with scales.

A network computes in float32 all the same: a Cast (and a Mul) stands before each such weight, which
runtimes apply once, when they load the file. Storage changes the size of a file, not its speed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Storage = Literal["float32", "float16", "int8"]

SMALLEST = 4096  # numbers of a tensor that is worth it
SHORTEST = 32  # numbers of a row that is worth a scale; those of depthwise convolutions are not
LEVELS = range(127, 3, -1)  # of the largest weight of a row
EXACT = 1e-4  # of a step: weights that are whole numbers of steps are no further off
MATRICES = {"Conv", "ConvTranspose", "MatMul", "Gemm", "Mul", "Transpose"}


def compact(model: onnx.ModelProto, storage: Storage) -> onnx.ModelProto:
    """A copy of the model with its float32 weights in another storage.

    "int8" is for matrices and convolutions; what remains is in float16. Rows whose weights are
    whole numbers of some step, as those of models kept in few bits are, lose nothing.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    if storage != "float32":
        kept, nodes = [], []
        matrices = {name for node in graph.node if node.op_type in MATRICES for name in node.input}
        for tensor in graph.initializer:
            size = int(np.prod(tensor.dims))
            if tensor.data_type != TensorProto.FLOAT or size < SMALLEST:
                kept.append(tensor)
                continue
            values = numpy_helper.to_array(tensor)
            rows = (storage == "int8" and values.ndim > 1 and values[0].size >= SHORTEST
                    and tensor.name in matrices)
            small, added = in_int8(tensor.name, values) if rows else in_half(tensor.name, values)
            kept += small
            nodes += added
        kept, nodes = list(map(clone, kept)), nodes + list(map(clone, graph.node))
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend(kept)
        graph.node.extend(nodes)
    return made


def clone(message):
    """A copy of a protobuf message, which outlives the list it was taken from."""
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def in_half(name: str, values: np.ndarray) -> tuple[list, list]:
    """The tensor in float16, and the node that gives it its name in float32; as it is if it has
    numbers that are too large."""
    if np.abs(values).max() > np.finfo(np.float16).max:
        return [numpy_helper.from_array(values, name)], []
    half = numpy_helper.from_array(values.astype(np.float16), f"{name}|half")
    return [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]


def in_int8(name: str, values: np.ndarray) -> tuple[list, list]:
    """The tensor as whole numbers times scales, with the nodes that multiply them.

    Rows lie along the axis on which the whole numbers are the closest.
    """
    found = min(quantised(values), key=lambda pair: np.abs(pair[0] * pair[1] - values).max())
    numbers, scales = (numpy_helper.from_array(array, f"{name}|{what}")
                       for array, what in zip(found, ("numbers", "scales")))
    return [numbers, scales], [
        helper.make_node("Cast", [numbers.name], [f"{name}|floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}|floats", scales.name], [name])]


def quantised(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each of the first two axes: int8 numbers, and float32 scales that broadcast."""
    for axis in (0, 1):
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        scales = np.array([step(row) for row in rows], np.float32)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        scales = scales.reshape(shape)
        yield np.round(values / scales).clip(-127, 127).astype(np.int8), scales


def step(row: np.ndarray) -> float:
    """The step of which the numbers of a row are whole multiples; if there is none up to 127 times
    the step, a 127th of the largest."""
    largest = float(np.abs(row).max())
    if largest == 0:
        return 1.0
    for levels in reversed(LEVELS):
        multiples = row * (levels / largest)
        if np.abs(multiples - np.round(multiples)).max() < EXACT * levels:
            return largest / levels
    return largest / 127
