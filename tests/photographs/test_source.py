"""Photographs from files: which face is taken, and what is said where none can be."""

import warnings

import numpy as np
import pytest
import torch
from idinvert.data import ImageError, open_source, read_image
from idinvert.photographs import Face, Photographs, align, source
from PIL import Image


def face(x=60.0, y=50.0, width=40.0, turn=0.0):
    eyes = np.array([[x - width / 4, y], [x + width / 4, y]])
    nose = np.array([x + turn * width / 2, y + width / 4])
    return Face(eyes, nose, np.array([x, y + width / 2]), width)


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Photographs of a file, with the faces that a test says are there."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (120, 160, 3), np.uint8))
    picture.save(tmp_path / "a.png")
    opened = open_source(tmp_path / "a.png")

    def with_faces(*faces, **options):
        monkeypatch.setattr(source, "find_faces", lambda image: list(faces))
        return Photographs(opened.names, opened.encoded, **options)
    return with_faces


def test_image_is_the_crop_of_its_face(photographs, tmp_path):
    found = photographs(face()).read("a.png", 32)
    crop = align(face()).crop(Image.open(tmp_path / "a.png"), 32)
    assert torch.equal(((found + 1) * 127.5).round(),
                       torch.from_numpy(np.array(crop)).permute(2, 0, 1).float())


@pytest.mark.parametrize("faces, options, message", [
    ([], {}, "a.png shows no face that looks to the camera"),
    ([face()], {"face": 2}, "a.png shows 1 face: there is no --face 2."),
    ([face(width=20)], {}, "The face in a.png is 20 px wide, and should have at least 32"),
    ([face(turn=0.8)], {}, "The face in a.png is seen from the side"),
])
def test_what_cannot_be_aligned_is_one_sentence(photographs, faces, options, message):
    with pytest.raises(ImageError, match=message.replace(".", r"\.")):
        photographs(*faces, **options).read("a.png", 32)


def test_of_several_faces_one_is_taken_and_told(photographs):
    both = face(), face(x=110.0, width=36.0)
    with pytest.warns(UserWarning, match="2 faces, and number 2 by size is taken, at 110 59: "
                                         "--face 1 takes another"):
        second = photographs(*both, face=2).read("a.png", 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(second, photographs(both[1]).read("a.png", 32))


def test_aligned_pictures_are_taken_as_they_are_and_one_without_a_face_is_told_once(
        photographs, tmp_path):
    pytest.importorskip("dlib")
    taken = photographs(align=False)
    with pytest.warns(UserWarning, match="a.png shows no upright face, but is taken as it is"):
        found = taken.read("a.png", 32)
    assert torch.equal(found, read_image(tmp_path / "a.png", 32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(taken.read("a.png", 32), found)
