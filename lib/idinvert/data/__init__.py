"""Images: the embedded worlds as data sets, and image files of the user's own."""

from .images import ImageError, read_image, read_images, to_float, to_uint8
from .labels import POSITIVE_CLASSES, binary_labels
from .sets import DOMAINS, Split, load

__all__ = [
    "DOMAINS",
    "POSITIVE_CLASSES",
    "ImageError",
    "Split",
    "binary_labels",
    "load",
    "read_image",
    "read_images",
    "to_float",
    "to_uint8",
]
