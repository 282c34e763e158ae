"""Colour profiles (ICC) of image files: phones and editors store colours beyond those of sRGB."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

ALIKE = 2  # levels of 255 by which profiles of sRGB differ from one another
LEVELS = np.linspace(0, 255, 9).round().astype(np.uint8)
COLOURS = Image.fromarray(np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), -1).reshape(27, 27, 3))
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of pixels in the space of a profile


class Profile(NamedTuple):
    """What makes sRGB of pixels of a mode."""

    mode: str
    transform: ImageCms.ImageCmsTransform

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """The image as RGB; what it has of transparency is left out."""
        image = image if image.mode == self.mode else image.convert(self.mode)
        return ImageCms.applyTransform(image, self.transform)

    def is_srgb(self) -> bool:
        """Whether colours stay as they are: names say little, "linear sRGB" is another space."""
        colours = COLOURS.convert(self.mode)
        found, plain = (np.asarray(image, int) for image in (
            self.to_srgb(colours), colours.convert("RGB")))
        return bool(np.abs(found - plain).max() <= ALIKE)


def profile_of(image: Image.Image) -> Profile | None:
    """The profile of an image; None if it is sRGB, as all images are that have none, or if the
    profile is damaged or of another colour space than the pixels, as viewers have it."""
    mode = "CMYK" if image.mode == "CMYK" else Image.getmodebase(image.mode).replace("P", "RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        if MODES.get(profile.profile.xcolor_space) != mode:
            return None
        found = Profile(mode, ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), mode, "RGB"))
    except (KeyError, TypeError, ValueError, OSError, ImageCms.PyCMSError):
        return None
    return None if found.is_srgb() else found
