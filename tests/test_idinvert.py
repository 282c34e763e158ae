"""The five lines of the README, on tiny networks."""

import idinvert
import idinvert.devices
import pytest
import torch
from idinvert import boundaries, models
from idinvert.models import pretrained
from idinvert.nn import encoder, stylegan

SETTINGS = {"resolution": 8, "channel_base": 32, "channel_max": 8, "z_dim": 4, "w_dim": 4}
ENCODER = {"resolution": 8, "w_dim": 4, "channel_base": 4, "channel_max": 4}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path))
    monkeypatch.setattr(pretrained, "load_vgg16", lambda device: None)
    torch.manual_seed(0)
    generator = stylegan.Generator(**SETTINGS)
    models.save("tiny", generator, "stylegan.Generator", SETTINGS)
    models.save("tiny-base", encoder.Encoder(**ENCODER), "encoder.Encoder", ENCODER)
    normal = torch.randn(4, 4)
    boundary = boundaries.Boundary("age", normal / normal.norm(), 0.0, tuple(range(4)))
    boundaries.save([boundary], tmp_path / "tiny-boundaries.safetensors")
    return boundary


def test_file_to_edited_file(tiny, tmp_path):
    idinvert.write_image(tmp_path / "photo.png", torch.rand(3, 40, 30) * 2 - 1)
    photo = idinvert.read_image(tmp_path / "photo.png", size=8)
    result = idinvert.invert(photo[None], model="tiny", device="cpu", iterations=4)
    assert result.codes.shape == (1, 4, 4)
    assert result.losses["total"].shape == (1, 4)
    older = idinvert.manipulate(result.codes, "age", 3.0, model="tiny")
    expected = models.load("tiny").synthesis(result.codes + 3 * tiny.normal)
    torch.testing.assert_close(older, expected)
    idinvert.write_image(tmp_path / "older.png", older[0])
    assert idinvert.read_image(tmp_path / "older.png", size=8).shape == (3, 8, 8)


def test_images_in_0_to_255_are_refused(tiny):
    with pytest.raises(ValueError, match=r"in \[-1, 1\], but reach 255"):
        idinvert.invert(torch.full((1, 3, 8, 8), 255.0), model="tiny")


def test_unknown_attribute_names_the_known(tiny):
    with pytest.raises(ValueError, match="age"):
        idinvert.manipulate(torch.zeros(1, 4, 4), "beard", 1.0, model="tiny")


def test_unknown_device():
    with pytest.raises(ValueError, match="'abacus' cannot be used"):
        idinvert.devices.pick("abacus")
