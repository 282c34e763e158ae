"""Image files and pixel ranges: any readable image becomes a square RGB tensor in [-1, 1]."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from idinvert.files import replacing
from idinvert.settings import Count, Pixels, checked

from .formats import BEGINNING, is_heic, readable
from .icc import profile_of

SMALLEST_SIDE = 8  # px
QUALITY = 95  # of JPEG and WebP
LARGEST_FILE = 1 << 28  # bytes of one encoded image
LONGEST = 4095  # bytes of a path
# Million pixels, below Pillow's limit, where the decoder itself takes 16 bytes for each
LARGEST_DECODED = {"WEBP": 64, "JPEG2000": 64}
PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF")  # formats whose files may have several pictures
BAND = 256  # rows that are converted at once
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# Tags of a TIFF
SUBFILE, BITS, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 254, 258, 262, 284, 339
# 16 bits -> 8 bits
EIGHT_BITS = ((np.arange(1 << 16) + 128) // 257).astype(np.uint8)


class ImageError(ValueError):
    """An image that cannot be used; the message is one sentence that names the file."""


@checked
def to_float(images: Tensor) -> Tensor:
    """uint8 images 0..255 of any shape as float32 in [-1, 1]; ValueError: floats."""
    if images.is_floating_point():
        raise ValueError(f"to_float takes bytes 0 to 255, but these images are {images.dtype}.")
    return images.float() / 127.5 - 1


@checked
def to_uint8(images: Tensor) -> Tensor:
    """Float images in [-1, 1] (values beyond are clamped) as uint8 0..255, rounded.

    The exact inverse of `to_float` on uint8 images. ValueError: bytes.
    """
    if not images.is_floating_point():
        raise ValueError(f"to_uint8 takes floats in [-1, 1], but these images are {images.dtype}.")
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def looks_like_bytes(images: Tensor) -> bool:
    """Whether the values go from 0 to far above 1, or are far outside [-1, 1] on average.

    A generator's images may leave [-1, 1] by some units, in both directions.
    """
    return bool(images.min() >= 0 and images.max() > 4) or bool(images.abs().mean() > 10)


@checked
def grid(images: Tensor, columns: Count) -> Tensor:
    """Images [N, 3, H, W], row by row, as one picture [3, rows H, columns W]; gaps are white.
    ValueError: another shape."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be [N, 3, H, W], not {list(images.shape)}.")
    rows = -(-len(images) // columns)
    blank = images.new_ones(rows * columns - len(images), *images.shape[1:])
    table = torch.cat([images, blank]).unflatten(0, (rows, columns))
    return table.permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)


def format_of(path: Path) -> str:
    """The format in which an image with the name `path` is written; ImageError: none has its
    suffix, or Pillow writes no colours in it."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None or not takes_colours(kind):
        raise ImageError(f"{path} has no suffix of an image format such as .png or .jpg.")
    return kind


@cache
def takes_colours(kind: str) -> bool:
    """Whether Pillow writes RGB images in a format: many it knows by name alone, or in grey."""
    with suppress(Exception):  # writers raise many types
        Image.new("RGB", (16, 16)).save(io.BytesIO(), kind)
        return True
    return False


@checked
def write_image(path: str | Path, image: Tensor) -> None:
    """Save one image [3, H, W] in [-1, 1]; the suffix names the format. Whole or not at all.

    ImageError: no image format has this suffix, or it takes no image of this size; an image of
    another shape, type or range, or with values that are not finite.
    """
    path = Path(path)
    kind = format_of(path)
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        raise ImageError(f"{path} is not written: an image must be [3, H, W], not "
                         f"{list(image.shape)}.")
    if not image.isfinite().all():
        raise ImageError(f"{path} is not written: the image has values that are not finite.")
    if not image.is_floating_point() or looks_like_bytes(image):
        raise ImageError(f"{path} is not written: an image must be floats in [-1, 1], as "
                         "idinvert.data.to_float makes them of bytes.")
    picture = Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy())
    with replacing(path) as temporary:
        try:
            picture.save(temporary, kind, quality=QUALITY)
        except (ValueError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise
            raise ImageError(f"{path} is not written: {kind} takes no image of {picture.width} x "
                             f"{picture.height} px.") from error


@checked
def read_image(path: str | Path, size: Pixels, crop: bool = True) -> Tensor:
    """One image file as a float32 tensor [3, size, size], RGB in [-1, 1].

    Turned upright by its EXIF orientation; colours of another profile than sRGB are converted to
    sRGB, transparency is composited on white, 16-bit grey is scaled to 8 bits. The centred square
    is cut out (`crop=False` squeezes the whole image into the square instead) and resized with an
    antialiasing Lanczos filter. Of several pages, or of an animation, the first picture is read,
    which a warning says.

    ImageError (a ValueError): the file is missing, truncated, of none of `formats.FORMATS`, larger
    than Pillow's limit against decompression bombs or LARGEST_DECODED, or less than 8 px wide or
    high.
    """
    return squared(open_image(path), str(path), size, crop)


def squared(image: Image.Image, name: str, size: int, crop: bool = True) -> Tensor:
    """An upright RGB image as `read_image` gives it, [3, size, size]; `name` is for the error."""
    if min(image.size) < SMALLEST_SIDE:
        width, height = image.size
        raise ImageError(f"{name} is {width} x {height} px, smaller than {SMALLEST_SIDE} px a "
                         "side.")
    box = _centred_square(*image.size) if crop else None
    image = image.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return to_float(torch.from_numpy(np.array(image)).permute(2, 0, 1))


def open_image(path: str | Path, data: bytes | None = None) -> Image.Image:
    """A file, or its content if that is known, as an upright RGB image of its own size.

    ImageError as `read_image`.
    """
    path = Path(path)
    if data is None:
        data = file_content(path)
    try:
        with warnings.catch_warnings(record=True) as noticed:
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=readable()) as image:
                if image.width * image.height > LARGEST_DECODED.get(image.format, 1 << 30) * 1e6:
                    raise ImageError(f"has more than {LARGEST_DECODED[image.format]} million "
                                     f"pixels, too many for {image.format}: save it as PNG.")
                check_pixels(image)
                image.load()
                turn_upright(image)
                upright, several = _to_rgb(image), has_second(image)
    except ImageError as error:
        raise ImageError(f"{path} {error}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = Image.MAX_IMAGE_PIXELS // 10**6
        raise ImageError(f"{path} has more than {limit} million pixels.") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path} {_unknown(data[:BEGINNING])}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types on damaged files
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(f"{path} cannot be read as an image: {reason}.") from error
    for notice in noticed:
        warnings.warn(f"{path}: {notice.message}", stacklevel=2)
    if several:
        warnings.warn(f"{path} holds several pictures, of which the first is taken.", stacklevel=2)
    return upright


def check_pixels(image: Image.Image) -> None:
    """ImageError if Pillow takes the pixels of a TIFF for others: signed ones, 12 bits for 16,
    white for black in 16 bits, and colours of 16 bits that are stored one after the other; or if it
    begins with a small preview, as raw photographs do."""
    if image.format != "TIFF":
        return
    subfile, bits, order, planes, kinds = (np.max(image.tag_v2.get(tag, usual)) for tag, usual in (
        (SUBFILE, 0), (BITS, 1), (PHOTOMETRIC, 1), (PLANES, 1), (SAMPLE_FORMAT, 1)))
    if subfile & 1:
        raise ImageError("is a raw photograph, or begins with a preview: save it as JPEG or PNG.")
    is_grey = image.mode in SIXTEEN_BIT_MODES
    if kinds == 2 or bits > 8 and (bits < 16 or order == 0 if is_grey else planes == 2):
        raise ImageError("is a TIFF whose pixels are stored in an uncommon way: save it as PNG.")


def turn_upright(image: Image.Image) -> None:
    """Turn an image as its EXIF says. That may be damaged, or hold what Pillow cannot write again,
    which it tries after the turn."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # readers and writers of EXIF raise many types
        pass


def has_second(image: Image.Image) -> bool:
    """Whether a picture follows the first in a file of pages or of an animation. In other formats,
    what follows is the same picture in other sizes, its depth or its layers."""
    with suppress(Exception):  # decoders raise many types where there is none, or damage
        if image.format in PAGED:
            image.seek(1)
            return True
    return False


def file_content(path: Path) -> bytes:
    """The bytes of a file; ImageError: it is missing, or no file, or larger than any image."""
    if len(os.fsencode(path)) > LONGEST or not path.exists():
        raise ImageError(f"{path} does not exist.")
    if not path.is_file():
        raise ImageError(f"{path} is {'a folder' if path.is_dir() else 'no file'}, not an image "
                         "file.")
    if path.stat().st_size > LARGEST_FILE:
        raise ImageError(f"{path} has more than {LARGEST_FILE >> 20} MB.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}.") from error


def _unknown(beginning: bytes) -> str:
    """What to say of a file that no decoder takes."""
    if is_heic(beginning):
        return ("is HEIC, which needs the package pillow-heif: install it with pip install "
                "pillow-heif, or save the image as JPEG.")
    if beginning.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6")):
        return "is PostScript, a program, which is not run: save the image as PNG or JPEG."
    return "is empty." if not beginning else "is not an image of a known format."


def _to_rgb(image: Image.Image) -> Image.Image:
    """The image as sRGB on white, converted band by band: no copy of it is made in between."""
    if image.mode == "F":
        raise ImageError("has floating-point pixels, whose range is not known.")
    white, profile = Image.new("RGB", image.size, "white"), profile_of(image)
    for top in range(0, image.height, BAND):
        box = (0, top, image.width, min(top + BAND, image.height))
        band, alpha = image.crop(box), None
        if band.mode in SIXTEEN_BIT_MODES:
            band = _from_sixteen_bits(band)
        elif band.mode in ("PA", "La", "RGBa") or band.has_transparency_data:
            band = band if band.mode == "RGBA" else band.convert("RGBA")
            alpha = band.getchannel("A")
        white.paste(profile.to_srgb(band) if profile else band.convert("RGB"), box, alpha)
    return white


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    """Grey values 0..65535 as RGB 0..255; Pillow itself would clip instead of scaling."""
    grey = np.asarray(image)
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError("has pixels of more than 16 bits, whose range is not known.")
    seen = EIGHT_BITS[grey]
    if "transparency" in image.info:  # of a PNG: the grey that is none
        seen[grey == image.info["transparency"]] = 255
    return Image.fromarray(seen).convert("RGB")


def _centred_square(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
