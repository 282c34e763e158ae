"""Photographs from files, each as the square in which FFHQ would show its face."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idinvert import models
from idinvert.data import ImageError, Source, squared, to_float, to_uint8

from .alignment import Square, align
from .landmarks import Face, find_faces, shows_face

DOMAIN = "photograph"  # of models that know aligned faces, as their cards have it
NARROWEST = 32  # px, of a face
TURNED = 0.5  # `Face.turn` of a face that is seen from the side
ALIGNED = "--no-align takes the picture as it is"


@dataclass(frozen=True)
class Photographs(Source):
    """A source whose images are aligned faces.

    face: which one is taken where there are several, 1 for the largest.
    align: find and cut out the face; else pictures are taken as they are, as by `read_image`.
    squares: where the faces were found, so that a photograph is searched once.

    What a user should know, such as that there are several faces, is a warning.
    """

    face: int = 1
    align: bool = True
    squares: dict[str, Square] = field(default_factory=dict)

    def read(self, name: str, size: int, crop: bool = True) -> Tensor:
        """One aligned image [3, size, size] in [-1, 1]; ImageError says in a sentence why none."""
        photograph = self.open(name)
        square = self.square(name, photograph)
        if not self.align:
            return squared(photograph, name, size, crop)
        return as_tensor(square.crop(photograph, size))

    def square(self, name: str, photograph: Image.Image) -> Square:
        """Where the face is, or the centre of a photograph that is aligned already; ImageError:
        there is no face, or none that can be inverted."""
        if name not in self.squares:
            self.squares[name] = (align(self.chosen(name, find_faces(photograph))) if self.align
                                  else self.centre(name, photograph))
        return self.squares[name]

    def centre(self, name: str, photograph: Image.Image) -> Square:
        """The square in the middle of a photograph, with a warning if it shows no face."""
        with suppress(ModuleNotFoundError):  # without dlib, which aligned pictures do not need
            if not shows_face(photograph):
                warnings.warn(f"{name} shows no upright face, but is taken as it is: without "
                              "--no-align faces are searched for.", stacklevel=2)
        width, height = photograph.size
        return Square((width / 2, height / 2), (min(width, height) / 2, 0.0))

    def pasted(self, name: str, image: Tensor) -> Tensor:
        """The photograph [3, H, W] in [-1, 1] with an image [3, r, r] put where the face was."""
        photograph, crop = self.open(name), Image.fromarray(
            to_uint8(image).permute(1, 2, 0).cpu().numpy())
        return as_tensor(self.square(name, photograph).paste(photograph, crop))

    def chosen(self, name: str, faces: list[Face]) -> Face:
        """The face that is wanted; ImageError: see `square`."""
        if not faces:
            raise ImageError(f"{name} shows no face that looks to the camera: take another "
                             f"photograph; {ALIGNED}.")
        if self.face > len(faces):
            raise ImageError(f"{name} shows {counted(len(faces))}: there is no --face {self.face}.")
        face = faces[self.face - 1]
        if face.width < NARROWEST:
            raise ImageError(f"The face in {name} is {face.width:.0f} px wide, and should have at "
                             f"least {NARROWEST}: take a larger photograph.")
        if abs(face.turn) > TURNED:
            raise ImageError(f"The face in {name} is seen from the side: take a photograph that "
                             f"shows both eyes; {ALIGNED}.")
        if len(faces) > 1:
            others = ", ".join(str(i + 1) for i in range(len(faces)) if i + 1 != self.face)
            place = " ".join(f"{value:.0f}" for value in face.nose)
            warnings.warn(f"{name} shows {counted(len(faces))}, and number {self.face} by size is "
                          f"taken, at {place}: --face {others} takes another.", stacklevel=2)
        return face


def faces_of(source: Source, model: str, **options: Any) -> Source:
    """The images of a source as a model of the registry wants them: faces, aligned, if it knows
    photographs of faces; options are those of `Photographs`."""
    if models.card(model).get("domain") != DOMAIN:
        return source
    return Photographs(**vars(source), **options)


def counted(faces: int) -> str:
    """A number of faces in words.

    >>> counted(1), counted(2)
    ('1 face', '2 faces')
    """
    return f"{faces} face{'s' * (faces != 1)}"


def as_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as floats [3, H, W] in [-1, 1]."""
    return to_float(torch.from_numpy(np.array(image)).permute(2, 0, 1))
