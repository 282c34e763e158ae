"""Colour profiles (ICC) of image files: phones and editors store colours beyond those of sRGB. The
gamma of a PNG without one."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

ALIKE = 2  # levels of 255 by which profiles of sRGB differ from one another
APART = 100  # levels that are at least between black and white, unless a profile is damaged
SRGB = 0.45455  # what PNGs call the gamma of sRGB; those of few images are far from it
ALIKE_GAMMA, SMALLEST_GAMMA, LARGEST_GAMMA = 0.03, 0.1, 2.0
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

    def is_needed(self) -> bool:
        """Whether colours change: names say little, "linear sRGB" is another space. A profile that
        makes black of white is damaged, and not needed."""
        colours = COLOURS.convert(self.mode)
        found, plain = (np.asarray(image, int) for image in (
            self.to_srgb(colours), colours.convert("RGB")))
        black, white = found[0, 0].max(), found[-1, -1].min()
        return bool(np.abs(found - plain).max() > ALIKE and white - black >= APART)


class Gamma(NamedTuple):
    """What makes sRGB of pixels whose values are light to the power of a gamma."""

    gamma: float

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """As `Profile.to_srgb`."""
        levels = 255 * np.linspace(0, 1, 256) ** (SRGB / self.gamma)
        return image.convert("RGB").point(3 * levels.round().astype(int).tolist())


def profile_of(image: Image.Image) -> Profile | Gamma | None:
    """The profile of an image; None if it is sRGB, as all images are that have none, or if the
    profile is damaged or of another colour space than the pixels, as viewers have it."""
    gamma = image.info.get("gamma", SRGB)
    if not {"icc_profile", "srgb"} & {*image.info} and abs(gamma - SRGB) > ALIKE_GAMMA:
        return Gamma(gamma) if SMALLEST_GAMMA <= gamma <= LARGEST_GAMMA else None
    mode = "CMYK" if image.mode == "CMYK" else Image.getmodebase(image.mode).replace("P", "RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        if MODES.get(profile.profile.xcolor_space) != mode:
            return None
        found = Profile(mode, ImageCms.buildTransform(
            profile, ImageCms.createProfile("sRGB"), mode, "RGB"))
    except (KeyError, TypeError, ValueError, OSError, ImageCms.PyCMSError):
        return None
    return found if found.is_needed() else None
