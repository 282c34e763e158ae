"""Pickled data from elsewhere, read as a description: nothing that it names is imported or called.

Unpickling rebuilds objects by calling what the file names. Here each name of a short list stands
for a `Call`, which only notes the arguments; any other name is an error. The few kinds of
call that matter (tensors, numbers, arrays) are then carried out by `value`, with their arguments
checked. NVIDIA's .pkl and NumPy's object arrays are read in this way.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
TABLES = ("collections.OrderedDict", "dnnlib.util.EasyDict")
NAMES = (
    PERSISTENT,
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.storage._load_from_bytes",
    "torch.device",
    "torch.Size",
    "builtins.set",
    "__builtin__.set",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
)
NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


class RecordError(ValueError):
    """Pickled data that is damaged or of another kind; the message goes after the file's name."""


class Table(dict):
    """Stands for dictionaries of other classes."""

    def __init__(self, pairs=()):
        check_keys([key for key, _ in pairs])
        super().__init__(pairs)

    def __setstate__(self, state=None) -> None:
        """Attributes of a dictionary are of no consequence."""


class Call:
    """Stands for the result of calling `name` with `arguments`."""

    __slots__ = ("name", "arguments", "state")

    def __init__(self, name: str, arguments: tuple):
        self.name, self.arguments, self.state = name, arguments, None

    def __setstate__(self, state) -> None:
        self.state = state


class Name:
    """Stands for what the file calls `name`."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __call__(self, *arguments) -> Call:
        return Call(self.name, arguments)

    def __setstate__(self, state) -> None:
        raise RecordError(f"changes {self.name}")


def check_keys(keys: Iterable) -> None:
    """RecordError unless keys are names and numbers: tuples in tuples overflow the stack of the
    interpreter when they are hashed, which ends the process."""
    for key in keys:
        if not isinstance(key, str | bytes | int | float | None):
            raise RecordError("has a dictionary or a set of other keys than names and numbers")


# Not pickle.Unpickler: the one in C reserves memory for any number that a file gives as the index
# of its memo, tens of gigabytes for a file of a few bytes.
class Reader(pickle._Unpickler):
    """Unpickles dictionaries, lists, numbers and strings, and notes the calls of NAMES."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def checked(opcode: bytes, keys: slice, dispatch=dispatch) -> None:
        """Have the keys of a dictionary or set, which lie on the stack, checked."""
        read = dispatch[opcode[0]]

        def read_checked(self) -> None:
            check_keys(self.stack[keys])
            read(self)

        dispatch[opcode[0]] = read_checked

    checked(pickle.SETITEM, slice(-2, -1))
    for opcode in (pickle.SETITEMS, pickle.DICT):
        checked(opcode, slice(0, None, 2))
    for opcode in (pickle.ADDITEMS, pickle.FROZENSET):
        checked(opcode, slice(None))
    del checked, opcode

    def find_class(self, module: str, name: str):
        full = f"{module}.{name}"
        if full in TABLES:
            return Table
        if full not in NAMES:
            raise RecordError(f"names {full[:80]!r}, which is not run")
        return Name(full)

    def persistent_load(self, identity):
        raise RecordError("refers to data outside of it")


def read(file: BinaryIO) -> Any:
    """What the pickle at the position of a file describes; RecordError if it is damaged."""
    try:
        return Reader(file, encoding="latin1").load()
    except RecordError:
        raise
    except MemoryError as error:
        raise RecordError("asks for more memory than there is") from error
    except Exception as error:  # damaged pickles raise many types
        raise RecordError("is no whole pickle") from error


def tensor(node: Any) -> Tensor:
    """The tensor that calls describe; RecordError if they describe none."""
    if not isinstance(node, Call):
        raise RecordError("has something else where a tensor should be")
    try:
        if node.name == "torch._utils._rebuild_parameter":
            return tensor(node.arguments[0])
        if node.name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
            return view(*node.arguments[:4])
    except (RuntimeError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise RecordError("has a damaged tensor") from error
    raise RecordError("has something else where a tensor should be")


def view(stored: Call, offset: int, size: tuple, stride: tuple) -> Tensor:
    """A tensor [size] of a storage that was pickled as the bytes of a PyTorch file."""
    if not isinstance(stored, Call) or stored.name != "torch.storage._load_from_bytes":
        raise RecordError("has something else where numbers should be")
    try:
        storage = torch.load(io.BytesIO(as_bytes(stored.arguments[0])), weights_only=True,
                             map_location="cpu")
        flat = torch.empty(0, dtype=storage.dtype).set_(storage)
    except Exception as error:  # damaged bytes raise many types
        raise RecordError("has a damaged tensor") from error
    if math.prod(size) > len(flat):
        raise RecordError("has a tensor larger than its numbers")
    return flat.as_strided(size, stride, offset).clone()


def number(node: Any) -> Any:
    """A number, also if it was pickled as a NumPy scalar; anything else as it is."""
    if not isinstance(node, Call) or not node.name.endswith("multiarray.scalar"):
        return node
    try:
        kind, data = node.arguments
        return np.frombuffer(as_bytes(data), dtype(kind))[0].item()
    except (ValueError, TypeError, IndexError) as error:
        raise RecordError("has a damaged number") from error


def array(node: Any) -> np.ndarray | list:
    """The array of numbers, or the list of the objects of an object array, that calls describe."""
    try:
        _, shape, kind, fortran, data = node.state
        if isinstance(data, list):
            return data
        order = "F" if fortran else "C"
        return np.frombuffer(as_bytes(data), dtype(kind)).reshape(shape, order=order)
    except (AttributeError, ValueError, TypeError) as error:
        raise RecordError("has something else where an array should be") from error


def as_bytes(data: bytes | str | Call) -> bytes:
    """Bytes, which older protocols write as a string or as its encoding."""
    if isinstance(data, Call) and data.name == "_codecs.encode":
        data = data.arguments[0]
    return data.encode("latin1") if isinstance(data, str) else bytes(data)


def dtype(node: Call) -> np.dtype:
    """A type of numbers; RecordError for any other."""
    if not isinstance(node, Call) or node.name != "numpy.dtype" or not node.arguments:
        raise RecordError("has something else where a type should be")
    kind = node.arguments[0]
    if kind not in NUMBERS:
        raise RecordError("has an array of something else than numbers")
    swapped = isinstance(node.state, tuple) and len(node.state) > 1 and node.state[1] == ">"
    return np.dtype(kind).newbyteorder(">" if swapped else "<")


@dataclass(frozen=True)
class Record:
    """A persistent object of NVIDIA's files: name of its class, and its attributes."""

    kind: str
    attributes: dict[str, Any]

    @classmethod
    def of(cls, node: Any) -> Record:
        """The record of a call; RecordError for anything else. Its source code is not looked at."""
        if not isinstance(node, Call) or node.name != PERSISTENT or len(node.arguments) != 1:
            raise RecordError("has something else where a network should be")
        meta = node.arguments[0]
        if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
            raise RecordError("has a network without its state")
        return cls(str(meta.get("class_name")), meta["state"])

    def part(self, name: str) -> dict[str, Any]:
        """One of the dictionaries of a PyTorch module: "_parameters", "_buffers", "_modules"."""
        found = self.attributes.get(name)
        if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
            raise RecordError(f"has a network without its {name}")
        return found
