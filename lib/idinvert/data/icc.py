"""Colour profiles (ICC) of image files: phones and editors store colours beyond those of sRGB."""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image, ImageCms

MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of pixels in the space of a profile


class Profile(NamedTuple):
    """What makes sRGB of pixels of a mode."""

    mode: str
    transform: ImageCms.ImageCmsTransform

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """The image as RGB; what it has of transparency is left out."""
        image = image if image.mode == self.mode else image.convert(self.mode)
        return ImageCms.applyTransform(image, self.transform)


def profile_of(image: Image.Image) -> Profile | None:
    """The profile of an image; None if it is sRGB, as all images are that have none, or if the
    profile is damaged or of another colour space than the pixels, as viewers have it."""
    mode = "CMYK" if image.mode == "CMYK" else Image.getmodebase(image.mode).replace("P", "RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        about = profile.profile
        if MODES.get(about.xcolor_space) != mode or "sRGB" in (about.profile_description or ""):
            return None
        return Profile(mode, ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), mode, "RGB"))
    except (KeyError, TypeError, OSError, ImageCms.PyCMSError):
        return None
