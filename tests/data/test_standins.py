"""Stand-ins: each depends on its number alone, and what is done to them is what it says."""

import os

import numpy as np
import pytest
import torch
from idinvert.cli import main
from idinvert.data import read_image, standins, to_uint8, write_image
from idinvert.nn.mobilestylegan import Generator


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(256, 8, 8, 1024, 8).eval()


@pytest.mark.parametrize("name", ["cache", os.fsdecode(b"\xff")], ids=ascii)
def test_an_image_depends_on_its_number_alone(generator, tmp_path, monkeypatch, name):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / name))
    monkeypatch.setattr(standins, "PART", 4)
    first = standins.load("tiny", generator, "train", 6, progress=False)
    assert torch.equal(first.codes[5], standins.code(generator, "train", 5))
    again = standins.load("tiny", None, "train", 8, progress=False)  # nothing is rendered again
    assert torch.equal(first.images, again.images[:6])
    assert torch.equal(first.distorted(3), again.distorted(3))
    made = standins.make(generator, "train", range(4))  # together as in the file of the cache
    assert torch.equal(made[3], first.distorted(3))
    path, = (tmp_path / name).rglob("train*000004.safetensors")
    path.write_bytes(path.read_bytes()[:-100])  # a disk that was full
    mended = standins.load("tiny", generator, "train", 6, progress=False)
    assert torch.equal(mended.images, first.images) and torch.equal(mended.codes, first.codes)
    other = standins.code(generator, "test", 5)
    assert not torch.equal(other, first.codes[5])


def test_even_codes_are_in_w_and_odd_ones_beyond(generator):
    even, odd = (torch.stack([standins.code(generator, "train", i) for i in range(start, 60, 2)])
                 for start in (0, 1))
    assert even.std(1).max() < 1e-6 < odd.std(1).min()


def test_command_writes_pictures(ffhq, tmp_path, capsys):
    assert main(["data", "stand-ins", str(tmp_path / "new"), "--images", "5"]) == 0
    path = tmp_path / "new" / "00005.png"
    assert capsys.readouterr().out == f"{path}\n"
    made = standins.make(ffhq, "test", [5])[0]
    assert torch.equal(to_uint8(read_image(path, 256)), made)
    assert main(["data", "stand-ins", str(tmp_path), "--images", "-1"]) == 2
    assert main(["data", "stand-ins", "--images", "3", "5"]) == 2  # 5 would be the folder
    assert "name a folder before --images" in capsys.readouterr().err
    again = main(["data", "stand-ins", str(tmp_path / "new"), "--images", "3", "5"])
    assert again == 0  # the same, of another batch


def test_command_replaces_no_photograph(ffhq, tmp_path, capsys):
    """Those of FFHQ have the same names."""
    path = tmp_path / "00005.png"
    for content in (torch.zeros(3, 256, 256), torch.zeros(3, 16, 16)):
        write_image(path, content)
        before = path.read_bytes()
        assert main(["data", "stand-ins", str(tmp_path), "--images", "3", "5"]) == 2
        assert f"{path} would replace another file" in capsys.readouterr().err
        assert path.read_bytes() == before and not (tmp_path / "00003.png").exists()


def test_command_without_a_folder_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["--images", "1"], ["faces", "--images"]):
        assert main(["data", "stand-ins", *words]) == 2
        assert "data stand-ins faces/ --images 1" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_blur_and_crop_keep_an_even_area_and_light_does_not():
    grey = torch.full((3, 32, 32), 0.25)
    rng = np.random.default_rng(0)
    torch.testing.assert_close(standins.blurred(grey, 1.3), grey)
    torch.testing.assert_close(standins.recropped(grey, rng), grey)
    assert standins.relit(grey, rng).std() > 0.01
    edge = torch.zeros(3, 32, 32)
    edge[:, :, 16:] = 1
    slopes = [standins.blurred(edge, sigma)[0, 16].diff().max() for sigma in (0.5, 1.0, 2.0)]
    assert slopes == sorted(slopes, reverse=True)
    assert slopes[2].item() == pytest.approx(1 / (2 * (2 * np.pi) ** 0.5), rel=0.03)
