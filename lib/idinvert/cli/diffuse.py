"""Put the face of one photograph into another (semantic diffusion, Figure 6 of the paper).

    idinvert diffuse face.jpg context.jpg --out diffused.png
    idinvert diffuse face.jpg context.jpg --box 0.3,0.3,0.7,0.8

pastes the middle of the first image, eyes to mouth or --box, into the second, inverts this part of
it alone, and lets the generator find what surrounds it. The image goes to diffused.png or --out.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert.data import write_image
from idinvert.inversion import Settings, diffuse, files, stitch
from idinvert.inversion.cache import warn_of_diverged
from idinvert.inversion.methods.in_domain import InDomain
from idinvert.settings import names

from . import UsageError, check_image
from .edit import check_pair, images_of
from .invert import Common, read_method

FACE = "0.27,0.35,0.70,0.78"  # of an aligned image: the box of 110 px of 256 in the published code


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    pair: Positional[tuple[Path, ...]] = ()
    """photograph that gives the face, and the one that it goes into"""
    box: str = FACE
    """left, top, right and bottom of the part that is pasted, as shares of the side"""
    out: Path = Path("diffused.png")
    """image to write"""


def main(arguments: list[str]) -> None:
    """Diffuse, and say where the result is."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    check_pair(options.pair, "diffuse")
    model, start = options.loaded_here(), time.monotonic()
    check_image(options.out, read=options.pair)
    model.name_of("encoder")  # is there one?
    if not isinstance(method, InDomain):
        raise UsageError("this is an in-domain inversion of a part: leave out --method.")
    files.check_encoder(model, method)
    box = pixels(options.box, model.generator.resolution)
    target, context = images_of(options.pair, model, options)
    stitched, mask = stitch(target[None], context[None], box)
    settings = Settings(**{name: getattr(method, name) for name in names(Settings)
                           if hasattr(method, name)})
    found = diffuse(model, stitched, mask, settings, progress=True)
    warn_of_diverged(method, int(found.diverged), 1)
    write_image(options.out, model.render(found.codes)[0].clamp(-1, 1))
    print(options.out)
    print(f"idinvert diffuse: {time.monotonic() - start:.0f} s.", file=sys.stderr)


def pixels(text: str, side: int) -> tuple[int, int, int, int]:
    """The box in px; UsageError: it is none, or has none."""
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        left = top = right = bottom = -1.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise UsageError(f"--box is {text}, but should be left, top, right and bottom from 0 to 1, "
                         f"as {FACE}.")
    left, top, right, bottom = (round(share * side) for share in (left, top, right, bottom))
    if left == right or top == bottom:
        raise UsageError(f"--box is {text}, less than a pixel of {side}: take a larger one.")
    return left, top, right, bottom
