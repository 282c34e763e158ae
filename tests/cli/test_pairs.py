"""`idinvert mix`, `interpolate` and `diffuse`, and what commands make of faces in photographs."""

import re
import sys

import numpy as np
import pytest
import torch
from idinvert import models, read_image, write_image
from idinvert.boundaries import Boundary
from idinvert.cli import main, mix
from idinvert.nn import mobilestylegan, stylegan2
from idinvert.photographs import Face, align, source
from PIL import Image

HERE = ["--model", "own", "--device", "cpu"]
FAST = [*HERE, "--iterations", "2", "--lambda-vgg", "0"]


@pytest.fixture
def codes(own_registry, tmp_path, monkeypatch):
    """Two codes in files of the current folder, and their generator."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found = torch.randn(2, 4, 4)
    for name, code in zip("ab", found):
        np.save(f"{name}.npy", code[None])
    return found, models.load("own")


def assert_shows(path, generator, code, box=None):
    image = generator.synthesis(code[None])[0].detach().clip(-1, 1)
    with Image.open(path) as file:
        pixels = np.asarray(file.crop(box) if box else file)
    shown = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 127.5 - 1
    assert (shown - image).abs().max() < 0.01


def test_mixed_image_has_the_fine_layers_of_the_second(codes, capsys):
    (a, b), generator = codes
    assert main(["mix", "a.npy", "b.npy", "--layers", "2-3", *HERE]) == 0
    assert capsys.readouterr().out == "mixed.png\n"
    assert_shows("mixed.png", generator, torch.cat([a[:2], b[2:]]))
    assert main(["mix", "a.npy", "b.npy", "--layers", "3-9", *HERE]) == 2
    wrong, = re.findall("layers 0 to 3, as ([-0-9]+)", capsys.readouterr().err)
    assert main(["mix", "a.npy", "b.npy", "--layers", wrong, *HERE]) == 0


def test_a_tuned_generator_that_is_not_taken_is_told(codes, capsys):
    (a, _), generator = codes
    tuned = {f"tuned_{key}": 2 * value.numpy() for key, value in generator.state_dict().items()}
    np.savez("tuned.npz", code=a.numpy(), **tuned)
    for command in ("mix", "interpolate"):
        assert main([command, "tuned.npz", "b.npy", *HERE]) == 0
        assert "generator was tuned to tuned.npz, but only its code" in capsys.readouterr().err


def test_a_code_of_an_image_that_diverged_is_told(codes, capsys):
    np.savez("start.npz", code=codes[0][0].numpy(), diverged=True)
    assert main(["mix", "start.npz", "b.npy", *HERE]) == 0
    assert "start.npz is of an image that has diverged" in capsys.readouterr().err


@pytest.mark.parametrize("generator, layers", [
    (stylegan2.Generator(256, channel_base=256, channel_max=8, z_dim=4, w_dim=4), range(10, 14)),
    (mobilestylegan.Generator(256, channel_base=1024, channel_max=8, z_dim=4, w_dim=4),
     range(8, 12)),
    (stylegan2.Generator(8, channel_base=64, channel_max=8, z_dim=4, w_dim=4), range(1, 4)),
])
def test_fine_layers_are_those_of_the_published_code(generator, layers):
    assert mix.fine(generator) == layers


def test_strip_and_film_go_from_the_first_code_to_the_second(codes):
    (a, b), generator = codes
    assert main(["interpolate", "a.npy", "b.npy", "--steps", "3", *HERE]) == 0
    for place, code in enumerate((a, (a + b) / 2, b)):
        assert_shows("between.png", generator, code, (8 * place, 0, 8 * place + 8, 8))
    assert main(["interpolate", "a.npy", "b.npy", "--steps", "3", "--out", "x.gif", *HERE]) == 0
    with Image.open("x.gif") as film:
        assert film.n_frames == 4 and film.info["loop"] == 0  # there and back
    assert main(["interpolate", "a.npy", "b.npy", "--steps", "1", *HERE]) == 2


def test_what_cannot_be_written_is_told_before_the_work(codes, monkeypatch, capsys):
    monkeypatch.setattr("idinvert.cli.interpolate.codes_of", lambda *_: pytest.fail("it worked"))
    monkeypatch.setattr("idinvert.cli.interpolate.LARGEST_FILM", 100 * 3 * 8 * 8)
    for words, message in ((["--steps", "3000"], "take at most 2047 --steps, or a film"),
                           (["--steps", "101", "--out", "a.gif"], "take at most 100 --steps"),
                           (["--out", "between.xbm"], "no suffix of an image format")):
        assert main(["interpolate", "a.npy", "b.npy", *words, *HERE]) == 2
        assert message in capsys.readouterr().err


def test_a_film_that_cannot_be_written_is_refused_before_the_work(codes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr("idinvert.cli.interpolate.codes_of", lambda *_: pytest.fail("it worked"))
    assert main(["interpolate", "a.npy", "b.npy", "--out", "between.mp4", *HERE]) == 1
    assert "needs the package imageio-ffmpeg" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["mix", "interpolate", "diffuse"])
@pytest.mark.parametrize("words", [[], ["."], ["a.npy", "b.npy", "a.npy"]])
def test_other_than_two_photographs_are_told(command, words, codes, capsys):
    assert main([command, *words, *HERE]) == 2
    assert f"two photographs, not {len(words)}, nor a folder" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["image2stylegan", "domain-guided"])
def test_diffusion_takes_no_other_method(method, codes, capsys):
    write_image("a.png", torch.zeros(3, 8, 8))
    words = ["diffuse", "a.png", "a.png", "--model", "own", "--device", "cpu", "--method", method]
    assert main(words) == 2
    assert "in-domain inversion of a part: leave out --method" in capsys.readouterr().err


def test_diffusion_keeps_the_box_of_the_first_image_in_the_second(codes, capsys):
    torch.manual_seed(1)
    for name in ("face", "context"):
        write_image(f"{name}.png", torch.rand(3, 8, 8) * 2 - 1)
    words = ["diffuse", "face.png", "context.png", *FAST, "--iterations", "200",
             "--learning-rate", "0.1", "--box", "0.25,0.25,0.75,0.75"]
    assert main(words) == 0
    found, face = read_image("diffused.png", 8), read_image("face.png", 8)
    error = (found - face).square().mean(0)
    assert error[2:6, 2:6].mean() < 0.5 * error.mean()
    assert main([*words[:3], *FAST, "--box", "0.5,0,0.4,1"]) == 2
    assert "--box is 0.5,0,0.4,1, but should be" in capsys.readouterr().err
    assert main([*words[:3], *FAST, "--box", "0.5,0,0.51,1"]) == 2
    assert "--box is 0.5,0,0.51,1, less than a pixel of 8" in capsys.readouterr().err


def test_what_is_not_finite_is_told(codes, capsys):
    """A diffusion that diverged passed for one, a film showed a grey picture."""
    write_image("a.png", torch.zeros(3, 8, 8))
    assert main(["diffuse", "a.png", "a.png", *FAST, "--learning-rate", "1e30"]) == 0
    assert "1 of 1 images diverged by In-domain inversion and kept the" in capsys.readouterr().err
    np.save("large.npy", np.full((1, 4, 4), 3e38, np.float32))
    for out in ("between.gif", "between.png"):
        assert main(["interpolate", "a.npy", "large.npy", "--out", out, *HERE]) == 1
        assert "so large that an image is not finite: take others." in capsys.readouterr().err


@pytest.mark.parametrize("command", ["mix", "interpolate"])
def test_options_of_an_inversion_are_not_for_codes(command, codes, capsys):
    assert main([command, "a.npy", "b.npy", "--batch", "2", *HERE]) == 2
    assert "codes are inverted already: leave out --batch." in capsys.readouterr().err


def test_a_folder_is_no_pair(codes, tmp_path, capsys):
    for name in "12":
        write_image(f"more/{name}.png", torch.zeros(3, 8, 8))
    assert main(["mix", "more", "b.npy", *FAST]) == 1
    assert "more holds 2 images, but this takes one of each path" in capsys.readouterr().err


# --- photographs ---------------------------------------------------------------------------------


@pytest.fixture
def photograph(own_registry, tmp_path, monkeypatch):
    """A photograph in which a face is found, and a model of photographs with a boundary."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    models.save("own", models.load("own"), domain="photograph")
    normal = torch.randn(4, 4)
    models.save_boundaries("own", [Boundary("age", normal / normal.norm(), 0.0, (0, 1, 2, 3))])
    write_image("photo.png", torch.rand(3, 90, 120) * 2 - 1)
    face = Face(np.array([[50.0, 40.0], [70.0, 40.0]]), np.array([60.0, 50.0]),
                np.array([60.0, 60.0]), 40.0)
    monkeypatch.setattr(source, "find_faces", lambda image: [face])
    return align(face)


def test_face_is_edited_and_put_back(photograph):
    assert main(["edit", "photo.png", "age=+3", "--out", "face.png", *FAST]) == 0
    assert main(["edit", "photo.png", "age=+3", "--paste", "--out", "whole.png", *FAST]) == 0
    with Image.open("photo.png") as photo, Image.open("face.png") as face:
        expected = np.asarray(photograph.paste(photo, face))
    with Image.open("whole.png") as whole:
        assert np.abs(np.asarray(whole).astype(int) - expected).max() <= 1


def test_sheet_shows_photograph_inversion_and_edit(photograph):
    assert main(["edit", "photo.png", "age=+3", "--sheet", "sheet.png", *FAST]) == 0
    with Image.open("photo.png") as photo, Image.open("sheet.png") as sheet:
        shown = np.asarray(sheet)
        assert shown.shape == (8, 24, 3)
        assert np.array_equal(shown[:, :8], np.asarray(photograph.crop(photo, 8)))
    with Image.open("edited.png") as edited:
        assert np.array_equal(shown[:, 16:], np.asarray(edited))
        assert not np.array_equal(shown[:, 8:16], shown[:, 16:])


def test_a_squeezed_picture_is_not_put_back_as_a_square(photograph, capsys):
    """Nor does --squeeze do nothing without a word."""
    words = ["edit", "photo.png", "age=+3", "--squeeze", *FAST]
    assert main(words) == 2
    assert "--squeeze is for whole images, but faces are cut out" in capsys.readouterr().err
    assert main([*words, "--no-align", "--paste"]) == 2
    assert "--paste puts a square back where it was" in capsys.readouterr().err


def test_inverted_face_is_compared_with_its_crop(photograph, capsys):
    assert main(["invert", "photo.png", *FAST]) == 0
    with Image.open("photo.png") as photo:
        crop = np.asarray(photograph.crop(photo, 8))
    with Image.open("inverted/comparison.png") as sheet:
        assert np.array_equal(np.asarray(sheet)[:8], crop)
    words = ["invert", "photo.png", "--no-align", "--out", "plain", *FAST]
    assert main([*words, "--face", "2"]) == 2
    assert "--face 2 chooses among faces that are found, but --no-al" in capsys.readouterr().err
    assert main(words) == 0
    with Image.open("plain/comparison.png") as sheet:
        assert not np.array_equal(np.asarray(sheet)[:8], crop)


def test_on_and_off_go_to_either_side(photograph):
    boundary = models.load_boundaries("own")["age"]
    model = models.load("own")
    samples = boundary.distance(model.mapping(torch.randn(4000, 4))).detach()
    np.save("code.npy", np.zeros((1, 4, 4)))
    from idinvert import Model
    from idinvert.cli import edit

    code = torch.zeros(1, 4, 4)
    for word, share in (("on", 0.95), ("off", 0.05)):
        moved = code + edit.step(Model("own", "cpu"), code, boundary, word) * boundary.direction
        below = (samples < boundary.distance(moved)).float().mean()
        assert abs(float(below) - share) < 0.03
        assert edit.step(Model("own", "cpu"), moved, boundary, word) == pytest.approx(0, abs=1e-5)
