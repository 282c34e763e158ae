"""Pickled data from elsewhere, read as a description: nothing that it names is imported or called.

Unpickling rebuilds objects by calling what the file names. Here each name of a short list stands
for a `Call`, which only notes the arguments; any other name is an error. The few kinds of
call that matter (tensors, numbers, arrays) are then carried out, with their arguments checked.
NVIDIA's .pkl and NumPy's object arrays are read in this way. PyTorch's own files are read by
`torch.load`, after all that they name and all numbers they claim to hold have been checked here.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from idinvert.devices import is_out_of_memory

PERSISTENT = "torch_utils.persistence._reconstruct_persistent_obj"
TABLES = ("collections.OrderedDict", "dnnlib.util.EasyDict", "easydict.EasyDict")
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
# What PyTorch's own files may call, and name without calling it; others that `torch.load` takes
# reserve as much memory as they are told
TORCH_CALLS = re.compile(r"torch\._utils\._rebuild_(tensor(_v2)?|parameter)|torch\.(Size|device)"
                         r"|torch\.nn\.parameter\.Parameter|_codecs\.encode|builtins\.complex")
TORCH_TYPES = re.compile(r"torch\.(storage\.)?\w*Storage|torch\.(u?int|b?float|complex)\d+"
                         r"|torch\.(double|half|long|short|bool|uint8)")
# Plain data beside the weights of PyTorch's own files, such as the command line of their training
BESIDE = (
    "argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core")
      for name in ("scalar", "_reconstruct")),
    *(f"{module}.{system}Path" for module in ("pathlib", "pathlib._local")
      for system in ("Posix", "Windows", "PurePosix", "PureWindows")),
    *(f"datetime.{name}" for name in ("date", "datetime", "timedelta")),
    *(f"builtins.{name}" for name in ("dict", "float", "int", "list", "long", "str")),
)  # fmt: skip
KEYED = ("builtins.set", "__builtin__.set", "collections.Counter")  # hash what they are given
PICKLES = 5  # of PyTorch's older files: three that tell the version, the content, storage keys
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


class Left:
    """Stands for what lies beside the weights, which is of no consequence."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state) -> None:
        pass


def with_default(*_) -> OrderedDict:
    """Stands for collections.defaultdict."""
    return OrderedDict()


class Keyed(Name):
    """Stands for a class whose argument is hashed."""

    def __call__(self, *arguments) -> Call:
        for given in arguments:
            check_keys(given)
        return Call(self.name, arguments)


class TorchReader(Reader):
    """Reads a pickle of a PyTorch file, in order to check it; `most` bytes are in its storages."""

    def __init__(self, file: BinaryIO, most: int):
        super().__init__(file, encoding="latin1")
        self.most, self.sizes, self.proto = most, {}, 0

    def load(self) -> Any:
        """As a pickle's reader does; RecordError if `torch.load` cannot."""
        found = super().load()
        if self.proto > 3:
            raise RecordError(f"is written in the pickle protocol {self.proto}, not in PyTorch's "
                              "own: save it again without pickle_protocol")
        return found

    def find_class(self, module: str, name: str):
        full = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if full in TABLES:
            return Table
        if full == "collections.defaultdict":
            return with_default
        if full in BESIDE:
            return Left
        if full in KEYED:
            return Keyed(full)
        if TORCH_CALLS.fullmatch(full):
            return Name(full)
        if TORCH_TYPES.fullmatch(full):
            return Call(full, ())
        if full.startswith("torch._utils."):
            raise RecordError(f"holds no plain tensors but those of {full[:80]}")
        raise RecordError(f"names {full[:80]!r}, an object whose code is not run: save its "
                          "state_dict() instead")

    def persistent_load(self, identity) -> Call:
        """A storage; RecordError if all have more numbers than the file has bytes."""
        known = isinstance(identity, tuple) and len(identity) > 4 and identity[0] == "storage"
        if not known or not isinstance(identity[2], str) or type(identity[4]) is not int:
            raise RecordError("refers to data outside of it")
        self.sizes[identity[2]] = identity[4]
        if identity[4] < 0 or sum(self.sizes.values()) > self.most:
            raise RecordError("says that it holds more numbers than it has bytes")
        return Call("storage", ())


def read(file: BinaryIO) -> Any:
    """What the pickle at the position of a file describes; RecordError if it is damaged."""
    return carefully(Reader(file, encoding="latin1").load)


def carefully(load: Callable[[], Any]) -> Any:
    """What a reader gives; RecordError if its data is damaged."""
    try:
        return load()
    except RecordError:
        raise
    except Exception as error:  # damaged pickles raise many types
        raise fault(error, "is no whole pickle, as where a download broke off: fetch it again"
                    ) from error


def fault(error: Exception, what: str) -> RecordError:
    """The error of a file whose reading raised another one: memory ran out, or `what` is wrong."""
    short = is_out_of_memory(error.__cause__ or error)
    return RecordError("asks for more memory than there is" if short else what)


def load_torch(content: bytes) -> Any:
    """What a PyTorch file holds, tensors on the CPU, without running code in it.

    Plain data beside them, see BESIDE, is left out. RecordError: anything else, or a damaged file.
    """
    carefully(lambda: check_torch(content))
    known = [(Left, name) for name in BESIDE] + [(OrderedDict, name) for name in TABLES[1:]]
    with torch.serialization.safe_globals([*known, (with_default, "collections.defaultdict")]):
        return carefully(lambda: torch.load(io.BytesIO(content), weights_only=True,
                                            map_location="cpu"))


def check_torch(content: bytes) -> None:
    """RecordError unless `torch.load` can read a file without danger."""
    if not content.startswith(b"PK"):
        file = io.BytesIO(content)
        for _ in range(PICKLES):
            TorchReader(file, len(content)).load()
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(part.file_size for part in archive.infolist()) > len(content):
            raise RecordError("is compressed, which PyTorch's files are not: take it as it was "
                              "published")
        if not any(name.endswith("/data.pkl") for name in archive.namelist()):
            raise RecordError("is a zip of something else: unpack it, and import what is in it")
    pickled = torch._C.PyTorchFileReader(io.BytesIO(content)).get_record("data.pkl")
    TorchReader(io.BytesIO(pickled), len(content)).load()


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
        raise fault(error, "has a damaged tensor") from error
    raise RecordError("has something else where a tensor should be")


def view(stored: Call, offset: int, size: tuple, stride: tuple) -> Tensor:
    """A tensor [size] of a storage that was pickled as the bytes of a PyTorch file."""
    if not isinstance(stored, Call) or stored.name != "torch.storage._load_from_bytes":
        raise RecordError("has something else where numbers should be")
    if not all(type(n) is int and n >= 0 for part in (size, stride) if isinstance(part, tuple)
               for n in part) or not isinstance(size, tuple):
        raise RecordError("has a tensor whose size is no numbers")
    try:
        storage = load_torch(as_bytes(stored.arguments[0]))
        flat = torch.empty(0, dtype=storage.dtype).set_(storage)
    except (RecordError, RuntimeError, TypeError, AttributeError) as error:
        raise fault(error, "has a damaged tensor") from error
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
    if not isinstance(data, bytes | bytearray | str):  # of a number, bytes() makes as many zeros
        raise RecordError("has something else where bytes should be")
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
