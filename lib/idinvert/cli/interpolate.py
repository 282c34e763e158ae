"""Go from one photograph to another, through faces in between.

    idinvert interpolate a.jpg b.jpg --out between.png
    idinvert interpolate a.jpg b.jpg --out between.gif --steps 40

inverts both, or reads their codes, and goes from code to code in equal steps. A .gif or .mp4 is a
film there and back (.mp4 needs the package imageio-ffmpeg), any other image a strip.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import Field
from torch import Tensor
from tqdm import tqdm
from tyro.conf import Positional

import idinvert
from idinvert.codes import interpolate
from idinvert.data import grid, to_uint8, write_image
from idinvert.files import replacing

from . import UsageError, check_image, check_target
from .edit import WIDEST, check_pair, codes_of
from .invert import SHOWN_SIZE, Common, read_method

STRIP, FILM = 5, 24  # images, both ends included
Steps = Annotated[int, Field(ge=2, le=10_000)]  # images
LARGEST_FILM = 1 << 30  # bytes of its images, which are kept for the way back
SECONDS = 2.0  # of a film, one way


@dataclass(frozen=True, kw_only=True)
class Command(Common):
    pair: Positional[tuple[Path, ...]] = ()
    """photographs to begin and to end with, or files of their codes"""
    steps: Steps | None = None
    """images, both ends included; 5 of a strip, 24 of a film if not given"""
    out: Path = Path("between.png")
    """image or film to write"""


def main(arguments: list[str]) -> None:
    """Interpolate, and say where the result is."""
    options, method = read_method(Command, arguments, __name__, __doc__)
    check_pair(options.pair, "interpolate")
    model, start = options.loaded_here(), time.monotonic()
    write = {".gif": write_gif, ".mp4": write_mp4}.get(options.out.suffix.lower(), write_strip)
    steps = options.steps or (STRIP if write is write_strip else FILM)
    (check_image if write is write_strip else check_target)(options.out, read=options.pair)
    side = min(model.whole.resolution, SHOWN_SIZE)
    width, most = steps * side, LARGEST_FILM // (3 * side**2)
    if write is not write_strip and steps > most:
        raise UsageError(f"a film of {steps} images of {side} px would take more than "
                         f"{LARGEST_FILM / 1e9:.2g} GB: take at most {most} --steps.")
    if write is write_strip and width > WIDEST:
        raise UsageError(f"a strip of {steps} images would be {width} px wide: take at most "
                         f"{WIDEST * steps // width} --steps, or a film as --out between.gif.")
    if write is write_mp4:
        import imageio_ffmpeg  # noqa: F401  missing? said before the work
    first, last = codes_of(options.pair, model, method, options)
    codes = interpolate(first[None], last[None], steps, ends=True)[0]
    write(options.out, tqdm(shown(model, codes), "images", steps, unit="img"), steps)
    print(options.out)
    print(f"idinvert interpolate: {time.monotonic() - start:.0f} s.", file=sys.stderr)


def shown(model: idinvert.Model, codes: Tensor) -> Iterator[Tensor]:
    """The images of codes [N, L, D], each [3, r, r] of at most SHOWN_SIZE px; ValueError: they have
    values that are not finite."""
    for code in codes:
        image = model.render(code[None]).clamp(-1, 1)
        if not image.isfinite().all():
            raise ValueError("codes are so large that an image is not finite: take others.")
        yield F.adaptive_avg_pool2d(image, min(image.shape[-1], SHOWN_SIZE))[0]


def write_strip(path: Path, images: Iterable[Tensor], steps: int) -> None:
    """So many images [3, r, r] side by side."""
    write_image(path, grid(torch.stack(list(images)), steps))


def frames(images: Iterable[Tensor]) -> list[Image.Image]:
    """The pictures of a film there and back, without the last, which is the first again."""
    pictures = [Image.fromarray(to_uint8(x).permute(1, 2, 0).cpu().numpy()) for x in images]
    return pictures + pictures[-2:0:-1]


def write_gif(path: Path, images: Iterable[Tensor], steps: int) -> None:
    """A film that begins anew when it ends."""
    first, *others = frames(images)
    pause = round(1000 * SECONDS / (steps - 1))
    with replacing(path) as temporary:
        first.save(temporary, "GIF", save_all=True, append_images=others, duration=pause, loop=0)


def write_mp4(path: Path, images: Iterable[Tensor], steps: int) -> None:
    """A film of a few megabytes; ModuleNotFoundError: imageio-ffmpeg is not installed."""
    import imageio_ffmpeg

    pictures = frames(images)
    with replacing(path) as temporary:
        film = imageio_ffmpeg.write_frames(
            str(temporary), pictures[0].size, fps=(steps - 1) / SECONDS, quality=8,
            macro_block_size=2, output_params=["-f", "mp4"])
        film.send(None)
        for picture in pictures:
            film.send(picture.tobytes())
        film.close()
