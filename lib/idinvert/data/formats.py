"""Which files are images: those whose suffix or content is that of a format that is read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import PurePosixPath

from PIL import Image

# What Pillow decodes by itself. Files from elsewhere are not to reach what else it knows: EPS runs
# Ghostscript on the program in the file, IPTC opens whatever it holds, others have no decoder.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF",
           "TGA", "ICO", "PCX", "PSD", "QOI", "SGI", "SUN", "DDS")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
BEGINNING = 16  # bytes that tell the format


@cache
def readable() -> tuple[str, ...]:
    """Those of FORMATS that the installed Pillow reads; HEIF is read by the package pillow-heif."""
    Image.init()
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of files that are taken for images whatever they hold."""
    kinds = {*readable(), "MPO"}  # which is several JPEGs in one file
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds}
    return frozenset(known.union(HEIC_SUFFIXES))


def is_heic(beginning: bytes) -> bool:
    """Whether a file that begins so is HEIC, as phones of Apple make it."""
    return beginning[4:8] == b"ftyp" and beginning[8:12] in HEIC_BRANDS


def is_image(name: str, beginning: Callable[[], bytes]) -> bool:
    """Whether a file is taken for an image: by its suffix, else by the first bytes it has."""
    if PurePosixPath(name).suffix.lower() in suffixes():
        return True
    try:
        found = beginning()
    except Exception:  # archives raise many types on damaged entries
        return False
    tests = (Image.OPEN[kind][1] for kind in readable())
    return len(found) == BEGINNING and (is_heic(found) or any(
        test(found) is True for test in tests if test))
