"""The numbers in an ONNX file, without the library of that name.

Of the format only what is needed is read: ModelProto.graph is field 7, GraphProto.initializer
field 5, and of a TensorProto dims 1, data_type 2 (1 is float32), name 8, raw_data 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

Value = int | memoryview


def floats(content: bytes) -> dict[str, np.ndarray]:
    """The float32 initializers of an ONNX file, by name. ValueError: the file is of another kind.
    """
    try:
        graphs = [v for number, v in fields(memoryview(content)) if number == 7]
        tensors = [v for graph in graphs for number, v in fields(graph) if number == 5]
        return dict(named for tensor in tensors for named in initializer(tensor))
    except (IndexError, TypeError, UnicodeDecodeError, KeyError) as error:
        raise ValueError(f"Not an ONNX file: {error}.") from error


def initializer(tensor: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """Name and numbers of a tensor, if these are float32."""
    found: dict[int, list[Value]] = {}
    for number, value in fields(tensor):
        found.setdefault(number, []).append(value)
    if found.get(2) == [1] and 9 in found:
        shape = tuple(dimensions(found.get(1, [])))
        yield bytes(found[8][0]).decode(), np.frombuffer(found[9][0], "<f4").reshape(shape)


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a protobuf message; nested messages and bytes stay
    memoryviews. ValueError: it is no such message."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(data, at)
        elif wire in (1, 2, 5):
            size, at = varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"Not an ONNX file: protobuf wire type {wire}.")
        yield number, value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number of variable length at a place, and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def dimensions(values: Iterable[Value]) -> Iterator[int]:
    """Dimensions, which protobuf writes one by one or packed into one field."""
    for value in values:
        if isinstance(value, int):
            yield value
            continue
        at = 0
        while at < len(value):
            size, at = varint(value, at)
            yield size
