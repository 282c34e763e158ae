"""Images: the embedded worlds as data sets, and image files of the user's own."""

from .images import ImageError, grid, read_image, read_images, to_float, to_uint8, write_image
from .labels import POSITIVE_CLASSES, binary_labels
from .sets import DOMAINS, Split, load
from .sources import Source, load_images, open_source

__all__ = [
    "DOMAINS",
    "POSITIVE_CLASSES",
    "ImageError",
    "Source",
    "Split",
    "binary_labels",
    "grid",
    "load",
    "load_images",
    "open_source",
    "read_image",
    "read_images",
    "to_float",
    "to_uint8",
    "write_image",
]
