"""Constants of networks in OpenVINO's format: an .xml file that lists layers, and a .bin file.

Each layer of type "Const" has a name and, in its `data` element, element type, shape, and offset
and size in bytes within the .bin file. Nothing else of the network is read.
"""

from __future__ import annotations

import math
from xml.parsers import expat

import numpy as np

LARGEST = 16 << 20  # bytes of an .xml file; the one of MobileStyleGAN has 0.4 MB


class OpenVinoError(ValueError):
    """A file that is not what OpenVINO writes; the message is one sentence."""


def constants(xml: bytes, weights: bytes) -> list[tuple[str, np.ndarray]]:
    """Name and value, float32, of each float32 constant, in the order of the .xml file.

    OpenVinoError: no XML, a document type (whose entities could be made to fill the memory), or a
    constant whose shape, size or offset does not fit the .bin file.
    """
    return [(name, value(name, data, weights)) for name, data in const_layers(xml)
            if data.get("element_type") == "f32"]


def const_layers(xml: bytes) -> list[tuple[str, dict[str, str]]]:
    """Name and attributes of the data of each layer of type "Const"."""
    if len(xml) > LARGEST:
        raise OpenVinoError(f"The .xml file has {len(xml)} bytes; networks take at most {LARGEST}.")
    found: list[tuple[str, dict[str, str]]] = []
    layer: dict[str, str] = {}

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal layer
        if tag == "layer":
            layer = attributes
        elif tag == "data" and layer.get("type") == "Const":
            found.append((layer.get("name", ""), attributes))

    def refuse(*_: object) -> None:
        raise OpenVinoError("The .xml file declares a document type, which OpenVINO never writes.")

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise OpenVinoError(f"The .xml file is no XML: {error}.") from error
    return found


def value(name: str, data: dict[str, str], weights: bytes) -> np.ndarray:
    """The array of one constant."""
    shape = [whole(name, size) for size in data.get("shape", "").split(",") if size.strip()]
    offset, size = (whole(name, data.get(key, "")) for key in ("offset", "size"))
    if size != 4 * math.prod(shape):
        raise OpenVinoError(f"Constant {name!r} of shape {shape} cannot have {size} bytes.")
    if offset + size > len(weights):
        raise OpenVinoError(f"Constant {name!r} ends at byte {offset + size} of a .bin file that "
                            f"has {len(weights)}.")
    return np.frombuffer(weights, "<f4", size // 4, offset).reshape(shape).astype(np.float32)


def whole(name: str, text: str) -> int:
    """A whole number of at most 12 digits."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise OpenVinoError(f"Constant {name!r} has {text[:20]!r} where a number should be.")
    return int(text)
