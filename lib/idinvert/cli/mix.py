"""Mix photographs: the face of one in the colours and the light of another (style mixing).

    idinvert mix face.jpg colours.jpg --out mixed.png
    idinvert mix face.jpg colours.jpg --layers 8-15

inverts both, or reads their codes, takes the fine layers of the second code into the first, and
writes the image to mixed.png or --out. More layers take more from the second: at first colours,
then hair and skin, at last the shape.
"""

from __future__ import annotations

import math
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert.codes import mix
from idinvert.data import write_image
from idinvert.nn.protocols import Generator

from . import UsageError, check_image
from .edit import check_pair, codes_of
from .invert import Common, read_method

COARSEST = 128  # px of the features from which on layers hold colours and light


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    pair: Positional[tuple[Path, ...]] = ()
    """photograph that gives the face, and the one that gives the colours; or files of their codes
    """
    layers: str | None = None
    """layers that the second gives, as 8-15; those of features of 128 px or more if not given"""
    out: Path = Path("mixed.png")
    """image to write"""


def main(arguments: list[str]) -> None:
    """Mix, and say where the result is."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    check_pair(options.pair, "mix")
    model, start = options.loaded_here(), time.monotonic()
    layers = (fine(model.whole) if options.layers is None
              else chosen(options.layers, model.generator))
    check_image(options.out, read=options.pair)
    content, style = codes_of(options.pair, model, method, options)
    image, = model.render(mix(content[None], style[None], layers)).clamp(-1, 1)
    write_image(options.out, image)
    print(options.out)
    print(f"idinvert mix: {time.monotonic() - start:.0f} s.", file=sys.stderr)


def fine(generator: Generator) -> range:
    """The layers at COARSEST px and more, of small generators those of the two largest sizes: the
    last four of 14 in the published code, at 256 px."""
    sizes = math.log2(generator.resolution / min(COARSEST, generator.resolution / 2)) + 1
    return range(max(1, generator.num_layers - 2 * int(sizes)), generator.num_layers)


def chosen(text: str, generator: Generator) -> range:
    """Layers as a command line names them, 8-15 or 8; UsageError."""
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    first, last = (int(part or found[1]) for part in found.groups()) if found else (1, 0)
    if not first <= last < generator.num_layers:
        usual = fine(generator)
        raise UsageError(f"--layers is {text}, but should be two of the layers 0 to {usual[-1]}, "
                         f"as {usual[0]}-{usual[-1]}.")
    return range(first, last + 1)
