"""Generators of large images are worked with at the size that their card tells."""

import pytest
import torch
from idinvert import models
from idinvert.inversion.model import Model
from idinvert.nn.mobilestylegan import Generator


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path))
    torch.manual_seed(0)
    models.save("large", Generator(32, 8, 8, 128, 8), role="generator",
                inversion={"resolution": 16, "batch": 1, "iterations": 2, "learning_rate": 0.1})
    return Model("large", "cpu")


def test_images_of_either_size_are_inverted_and_rendered_whole(model):
    whole = model.render(model.sample(2))
    whole = whole / whole.abs().max()
    reduced = torch.nn.functional.avg_pool2d(whole, 2)
    result, again = (model.invert(x, "image2stylegan", lambda_vgg=0) for x in (whole, reduced))
    assert torch.equal(result.codes, again.codes)
    assert result.losses["total"].shape == (2, 2)  # the card's iterations
    assert result.images.shape == reduced.shape
    expected = torch.nn.functional.avg_pool2d(model.render(result.codes), 2)
    torch.testing.assert_close(result.images, expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"must have shape \[N, 3, 16, 16\]"):
        model.invert(reduced[..., :8, :8], "image2stylegan")


def test_what_is_told_goes_before_what_the_card_tells(model):
    method = model.method("image2stylegan", iterations=3)
    assert (method.iterations, method.learning_rate, method.lambda_vgg) == (3, 0.1, 5e-5)
