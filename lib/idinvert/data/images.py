"""Image files and pixel ranges: any readable image becomes a square RGB tensor in [-1, 1]."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from idinvert.files import replacing

SMALLEST_SIDE = 8  # px
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


# Which files of a folder are read; a file that is named itself may have any suffix.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageError(ValueError):
    """An image that cannot be used; the message is one sentence that names the file."""


def to_float(images: Tensor) -> Tensor:
    """uint8 images 0..255 of any shape as float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [-1, 1] (values beyond are clamped) as uint8 0..255, rounded.

    The exact inverse of `to_float` on uint8 images.
    """
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def grid(images: Tensor, columns: int) -> Tensor:
    """Images [N, 3, H, W], row by row, as one picture [3, rows H, columns W]; gaps are white."""
    rows = -(-len(images) // columns)
    blank = images.new_ones(rows * columns - len(images), *images.shape[1:])
    table = torch.cat([images, blank]).unflatten(0, (rows, columns))
    return table.permute(2, 0, 3, 1, 4).flatten(1, 2).flatten(2, 3)


def write_image(path: str | Path, image: Tensor) -> None:
    """Save one image [3, H, W] in [-1, 1]; the suffix names the format. Whole or not at all.

    ImageError: no image format has this suffix.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise ImageError(f"{path} has no suffix of an image format such as .png or .jpg.")
    picture = Image.fromarray(to_uint8(image).permute(1, 2, 0).cpu().numpy())
    with replacing(path) as temporary:
        picture.save(temporary, kind)


def read_image(path: str | Path, size: int, crop: bool = True) -> Tensor:
    """One image file as a float32 tensor [3, size, size], RGB in [-1, 1].

    Turned upright by its EXIF orientation; transparency is composited on white, 16-bit grey is
    scaled to 8 bits, other colour modes are converted. The centred square is cut out
    (`crop=False` squeezes the whole image into the square instead) and resized with an
    antialiasing Lanczos filter. Of an animation the first frame is read.

    ImageError (a ValueError): the file is missing, truncated, no image, larger than Pillow's
    limit against decompression bombs, or less than 8 px wide or high.
    """
    return _squared(_decode(Path(path)), Path(path), size, crop)


def decode_image(data: bytes, name: str, size: int, crop: bool = True) -> Tensor:
    """An encoded image as `read_image` gives it; `name` is for the errors."""
    return _squared(_decode(Path(name), data), Path(name), size, crop)


def _squared(image: Image.Image, path: Path, size: int, crop: bool) -> Tensor:
    """An upright RGB image as a tensor [3, size, size]."""
    if min(image.size) < SMALLEST_SIDE:
        width, height = image.size
        raise ImageError(f"{path} is {width} x {height} px, smaller than {SMALLEST_SIDE} px a "
                         "side.")
    box = _centred_square(*image.size) if crop else None
    image = image.resize((size, size), Image.Resampling.LANCZOS, box=box)
    return to_float(torch.from_numpy(np.array(image)).permute(2, 0, 1))


def read_images(
    source: str | Path | Sequence[str | Path], size: int, crop: bool = True, progress: bool = True
) -> tuple[Tensor, list[Path], list[ImageError]]:
    """Every readable image of a folder (sorted, with its subfolders), a file or a list of files.

    Returns float32 images [N, 3, size, size] in [-1, 1], the N paths they come from, and one
    ImageError for each file that could not be read: a bad file never loses the others.
    `progress` shows a bar; `crop` and conversions as in `read_image`.
    ImageError: `source` is a folder without image files.
    """
    images, kept, errors = [], [], []
    for path in tqdm(_image_paths(source), desc="images", unit="img", disable=not progress):
        try:
            images.append(read_image(path, size, crop))
            kept.append(path)
        except ImageError as error:
            errors.append(error)
    stacked = torch.stack(images) if images else torch.empty(0, 3, size, size)
    return stacked, kept, errors


def _image_paths(source: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(source, str | Path):
        return [Path(path) for path in source]
    source = Path(source)
    if not source.is_dir():
        return [source]
    files = (path for path in source.rglob("*") if path.is_file())
    paths = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ImageError(f"{source} holds no image files.")
    return paths


def _decode(path: Path, data: bytes | None = None) -> Image.Image:
    """The file, or its content, as an upright RGB image."""
    if data is None and not path.exists():
        raise ImageError(f"{path} does not exist.")
    if data is None and path.is_dir():
        raise ImageError(f"{path} is a folder, not an image file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path if data is None else io.BytesIO(data)) as image:
                image.load()
                return _to_rgb(ImageOps.exif_transpose(image))
    except ImageError as error:
        raise ImageError(f"{path} {error}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        limit = Image.MAX_IMAGE_PIXELS // 10**6
        raise ImageError(f"{path} has more than {limit} million pixels.") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path} is not an image of a known format.") from error
    except Exception as error:  # decoders raise many types on damaged files
        reason = str(error).rstrip(".") or type(error).__name__
        raise ImageError(f"{path} cannot be read as an image: {reason}.") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:
        return _from_sixteen_bits(image)
    if image.mode == "F":
        raise ImageError("has floating-point pixels, whose range is not known.")
    if image.mode in ("PA", "La", "RGBa") or image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_sixteen_bits(image: Image.Image) -> Image.Image:
    """Grey values 0..65535 as RGB 0..255; Pillow itself would clip instead of scaling."""
    grey = np.asarray(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError("has pixels of more than 16 bits, whose range is not known.")
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")


def _centred_square(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
