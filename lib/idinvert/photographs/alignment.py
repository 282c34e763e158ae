"""The square in which FFHQ shows a face: cut out of a photograph, and put back into it.

The recipe is that of CelebA-HQ and FFHQ (Karras et al., "Progressive Growing of GANs", Appendix C):
the square is as upright as eyes and mouth are, its size follows from their distances, and beyond
the borders of the photograph it is filled with the mirrored, blurred picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .landmarks import Face

EYES, EYES_TO_MOUTH = 2.0, 1.8  # half a side, as a multiple of either distance
DOWN = 0.1  # of the way from the eyes to the mouth, where the centre is
BLUR = 0.02  # of mirrored borders, as a share of the side
BAND = 256  # rows that are pasted at once
FEATHER = 0.25  # of half a side, over which a pasted square fades at its edges


@dataclass(frozen=True)
class Square:
    """A square in a picture: its centre, and the way from there to the middle of its right edge;
    x and y in px."""

    centre: tuple[float, float]
    right: tuple[float, float]

    @property
    def side(self) -> float:
        """In px."""
        return 2 * float(np.hypot(*self.right))

    def crop(self, image: Image.Image, size: int) -> Image.Image:
        """The square of an RGB picture as one of size x size px."""
        scale = min(1.0, 2 * size / self.side)  # first to twice the size that is wanted, at most
        if scale < 1:
            wide, high = (max(1, round(side * scale)) for side in image.size)
            small = image.resize((wide, high), Image.Resampling.LANCZOS)
            factors = wide / image.width, high / image.height
        else:
            small, factors = image, (1.0, 1.0)
        centre, right = np.array(self.centre) * factors, np.array(self.right) * scale
        small, centre = padded(small, centre, right)
        fine = small.transform((2 * size, 2 * size), Image.Transform.AFFINE,
                               to_picture(centre, right, 2 * size), Image.Resampling.BICUBIC)
        return fine.resize((size, size), Image.Resampling.LANCZOS)

    def paste(self, image: Image.Image, crop: Image.Image) -> Image.Image:
        """The picture with a square crop of any size put where the square is, its edges blended."""
        corners = np.array(self.centre) + [[a, b] @ self.axes() for a in (-1, 1) for b in (-1, 1)]
        left, top = np.maximum(0, np.floor(corners.min(0))).astype(int)
        right, bottom = np.minimum(image.size, np.ceil(corners.max(0))).astype(int)
        if left >= right or top >= bottom:
            return image
        size = max(1, min(crop.width, round(self.side)))
        crop = crop.resize((size, size), Image.Resampling.LANCZOS)
        matrix = np.linalg.inv(self.axes().T) * size / 2
        offset = size / 2 - matrix @ (np.array(self.centre) - (left, top))
        pasted = np.asarray(crop.transform(
            (right - left, bottom - top), Image.Transform.AFFINE,
            (*matrix[0], offset[0], *matrix[1], offset[1]), Image.Resampling.BICUBIC))
        result = np.array(image)
        for start in range(top, bottom, BAND):
            band = slice(start, min(start + BAND, bottom))
            y, x = np.mgrid[band, left:right] + 0.5
            place = np.stack([x, y], 2) - self.centre  # of every pixel, then in half sides
            place = place @ self.axes().T / (self.side / 2) ** 2
            inner = np.clip((1 - np.abs(place).max(2)) / FEATHER, 0, 1)
            weight = (inner * inner * (3 - 2 * inner))[..., None]
            under = result[band, left:right].astype(float)
            over = under + weight * (pasted[start - top:band.stop - top] - under)
            result[band, left:right] = np.rint(over).clip(0, 255).astype(np.uint8)
        return Image.fromarray(result)

    def axes(self) -> np.ndarray:
        """The ways from the centre to the middle of the right and of the lower edge, [2, 2]."""
        x, y = self.right
        return np.array([[x, y], [-y, x]])


def align(face: Face) -> Square:
    """The square in which FFHQ would show a face."""
    eyes, across = face.eyes.mean(0), face.eyes[1] - face.eyes[0]
    down = face.mouth - eyes
    right = across + [down[1], -down[0]]  # the mean of both, turned alike
    length = max(EYES * np.hypot(*across), EYES_TO_MOUTH * np.hypot(*down))
    right = right / np.hypot(*right) * length
    centre = eyes + DOWN * down
    return Square(tuple(map(float, centre)), tuple(map(float, right)))


def to_picture(centre: np.ndarray, right: np.ndarray, size: int) -> tuple[float, ...]:
    """Where a pixel of a square of size px is in the picture, as Pillow wants it."""
    x, y = right / (size / 2)
    left, top = centre - right - [-right[1], right[0]]
    return x, -y, left, y, x, top


def padded(image: Image.Image, centre: np.ndarray, right: np.ndarray
           ) -> tuple[Image.Image, np.ndarray]:
    """A part of the picture that has the whole square, mirrored and blurred beyond the borders, and
    the centre of the square in it."""
    reach = np.abs(right).sum() + 2  # of the square around its centre, in x and in y
    low = np.floor(centre - reach).astype(int)
    high = np.ceil(centre + reach).astype(int)
    before = np.maximum(0, -low)
    after = np.maximum(0, high - image.size)
    start, end = np.maximum(0, low), np.minimum(image.size, high)
    part = np.asarray(image.crop((*start, *end)))
    if not before.any() and not after.any():
        return Image.fromarray(part), centre - low
    borders = ((before[1], after[1]), (before[0], after[0]))
    mirrored = np.pad(part, (*borders, (0, 0)), "reflect" if min(part.shape[:2]) > 1 else "edge")
    depth = np.zeros(mirrored.shape[:2])  # in px beyond the border
    for axis, (first, last) in enumerate(borders):
        along = np.arange(mirrored.shape[axis])
        beyond = np.maximum(first - along, along - (mirrored.shape[axis] - 1 - last)).clip(0)
        depth = np.maximum(depth, beyond[:, None] if axis == 0 else beyond[None])
    radius = BLUR * 2 * float(np.hypot(*right))
    blurred = Image.fromarray(mirrored).filter(ImageFilter.GaussianBlur(radius))
    weight = (depth / (3 * radius)).clip(0, 1)[..., None]
    filled = mirrored + weight * (np.asarray(blurred, float) - mirrored)
    return Image.fromarray(np.rint(filled).astype(np.uint8)), centre - low
