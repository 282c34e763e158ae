"""Images: the embedded worlds as data sets, and image files of the user's own.

The worlds, whose tables need pandas, are imported when one of their names is first used.
"""

from .images import (
    ImageError,
    grid,
    open_image,
    read_image,
    squared,
    to_float,
    to_uint8,
    write_image,
)
from .sources import Source, load_images, open_source, read_images

__all__ = ["DOMAINS", "POSITIVE_CLASSES", "ImageError", "Source", "Split", "binary_labels", "grid",
           "load", "load_images", "open_image", "open_source", "read_image", "read_images",
           "squared", "to_float", "to_uint8", "write_image"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import labels, sets

    return getattr(sets if hasattr(sets, name) else labels, name)
