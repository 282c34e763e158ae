"""The square of a face: it follows the face, tells places truly, and fits back into the picture."""

import tracemalloc

import numpy as np
import pytest
from idinvert.photographs import Face, Square, align, alignment, find_faces
from PIL import Image

FACE = Face(np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0.0, 1.0]), np.array([0.1, 2.2]), 4.0)


def moved(face, turn, scale, shift):
    """The face turned (radians, clockwise as y points down), scaled and shifted."""
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return Face(*(points @ matrix.T + shift for points in (face.eyes, face.nose, face.mouth)),
                face.width * scale)


def waves(width=300, height=260):
    """A smooth picture without symmetry, whose colours tell where a pixel is."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / 40, (np.arange(height) + 0.5) / 40)
    channels = [np.sin(x + 0.3 * y), np.cos(y), np.sin(0.4 * x * y / 4)]
    return Image.fromarray(np.rint(127.5 + 100 * np.stack(channels, 2)).astype(np.uint8))


def colours(image, places):
    """Colours at places in px, between pixels."""
    return np.array([image.transform((1, 1), Image.Transform.AFFINE, (1, 0, x - 0.5, 0, 1, y - 0.5),
                                     Image.Resampling.BILINEAR).getpixel((0, 0))
                     for x, y in places], float)


def test_square_of_a_straight_face_is_that_of_the_recipe():
    """Karras et al. 2018, Appendix C: centre (0, 0.1 * 2.2), side max(4 * 2, 3.6 * 2)."""
    straight = Face(FACE.eyes, FACE.nose, np.array([0.0, 2.0]), 4.0)
    square = align(straight)
    assert np.allclose(square.centre, (0, 0.2)) and np.allclose(square.right, (4, 0))
    long = align(Face(FACE.eyes, FACE.nose, np.array([0.0, 3.0]), 4.0))
    assert np.isclose(long.side, 3.6 * 3)


@pytest.mark.parametrize("turn, scale", [(0.4, 30.0), (-2.0, 3.0), (np.pi, 1.0)])
def test_landmarks_land_where_they_should_however_the_face_is_turned(turn, scale):
    def inside(face):
        square = align(face)
        ways = np.stack([*face.eyes, face.mouth]) - square.centre
        return ways @ square.axes().T / (square.side / 2) ** 2

    assert np.allclose(inside(moved(FACE, turn, scale, np.array([50.0, -7.0]))), inside(FACE))


@pytest.mark.parametrize("size", [24, 100, 400])
def test_crop_shows_each_place_of_the_square(size):
    image, square = waves(), Square((150.0, 130.0), (70.0, 35.0))
    crop = square.crop(image, size)
    inside = np.array([[0.0, 0.0], [-0.6, -0.5], [0.7, 0.2], [0.3, -0.8]])
    places = np.array(square.centre) + inside @ square.axes()
    found = colours(crop, size / 2 * (1 + inside))
    assert np.abs(found - colours(image, places)).max() < 4


@pytest.mark.parametrize("square", [Square((150.0, 130.0), (70.0, 35.0)),
                                    Square((20.0, 240.0), (-60.0, 20.0))])
def test_unedited_crop_pasted_back_leaves_the_picture_as_it_was(square):
    image = waves()
    assert np.abs(np.array(square.paste(image, square.crop(image, 512)), float) - image).max() <= 2


def test_pasted_square_is_seen_in_its_middle_and_nowhere_outside():
    image, square = waves(), Square((150.0, 130.0), (50.0, 20.0))
    result = np.array(square.paste(image, Image.new("RGB", (64, 64), "red")))
    y, x = np.mgrid[:260, :300] + 0.5
    place = (np.stack([x, y], 2) - square.centre) @ square.axes().T / (square.side / 2) ** 2
    far = np.abs(place).max(2)
    assert (result[far > 1] == np.array(image)[far > 1]).all()
    assert (result[far < 0.7] == (255, 0, 0)).all()
    edge = np.abs(np.diff(result[130].astype(int), axis=0)).max()
    assert edge < 60  # fades over several pixels


def test_beyond_the_border_lies_the_mirrored_picture_blurred():
    image, square = waves(), Square((30.0, 130.0), (80.0, 0.0))
    crop = np.array(square.crop(image, 160), float)
    inner = np.array(image.crop((0, 50, 110, 210)), float)
    assert np.abs(crop[:, 51:] - inner[:, 1:]).max() < 4
    assert np.abs(crop[:, 40] - crop[:, 60]).mean() < 12  # ten px on either side of the border
    assert crop[:, :40].std() > 20 and crop.min() > 10


def test_a_large_picture_takes_no_gigabytes(monkeypatch):
    """To put back a face of 50 million pixels took five."""
    picture, crop = waves(1500, 1500), waves(1024, 1024)
    whole = Square((740.3, 750.0), (750.0, 20.0))
    tracemalloc.start()
    pasted = whole.paste(picture, crop)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * 1500**2
    monkeypatch.setattr(alignment, "BAND", 1500)
    assert np.array_equal(whole.paste(picture, crop), pasted)


def test_square_apart_from_the_picture_changes_nothing():
    image = waves()
    assert Square((900.0, 900.0), (50.0, 0.0)).paste(image, Image.new("RGB", (9, 9))) is image


# --- with dlib -----------------------------------------------------------------------------------


def test_sample_of_the_generator_is_aligned_already(ffhq, face_landmarks):
    """FFHQ's own alignment finds its square again."""
    import torch
    from idinvert.data import to_uint8

    with torch.no_grad():
        code = ffhq.truncate(ffhq.mapping(torch.randn(1, 512, generator=torch.Generator()
                                                      .manual_seed(3))), 0.5, 16)
        pixels = to_uint8(ffhq.synthesis(code, size=512))[0].permute(1, 2, 0).numpy()
    face, = find_faces(Image.fromarray(pixels))
    square = align(face)
    assert np.allclose(square.centre, 256, atol=8)
    assert np.allclose(square.right, (256, 0), atol=16)


def test_face_is_found_tilted_and_lying(face_landmarks):
    astronaut = pytest.importorskip("skimage.data").astronaut()
    image = Image.fromarray(astronaut).crop((80, 0, 380, 300))
    face, = find_faces(image)
    expected = np.array(align(face).crop(image, 64), float)
    for angle in (30, 75, 90, -120):
        turned = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        face, = find_faces(turned)
        crop = np.array(align(face).crop(turned, 64), float)
        assert np.abs(crop - expected).mean() < 12


def test_picture_without_a_face_has_none(face_landmarks):
    assert find_faces(waves(64, 64)) == []
