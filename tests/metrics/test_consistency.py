import pytest
import torch
from idinvert.metrics.consistency import editing_consistency

LAYERS, WIDTH = 2, 3 * 4 * 4


def generate(codes):
    """A linear generator whose images are the mean of the layers."""
    return codes.mean(1).view(-1, 3, 4, 4)


def encode(images):
    return images.flatten(1)[:, None].expand(-1, LAYERS, -1)


@pytest.fixture
def images():
    return torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5


def test_zero_for_an_exact_inverse(images):
    result = editing_consistency(images, encode, generate, 0.1 * torch.ones(WIDTH))
    assert torch.allclose(result.code, torch.zeros(5), atol=1e-5)
    assert torch.allclose(result.image, torch.zeros(5), atol=1e-9)


def test_encoder_that_sees_half_of_the_edit(images):
    """encode(x) = x / 2: the second code is (w + o) / 2, so the difference is -(w + o) / 2."""
    offset = torch.full((LAYERS, WIDTH), 0.2)
    result = editing_consistency(images, lambda x: encode(x) / 2, generate, offset)
    codes = encode(images) / 2
    expected = (codes + offset) / 2
    assert torch.allclose(result.code, expected.flatten(1).norm(dim=1), atol=1e-6)
    assert torch.allclose(result.image, expected[:, 0].square().mean(1), atol=1e-6)


def test_batches_change_nothing(images):
    offset = torch.ones(WIDTH)
    whole = editing_consistency(images, lambda x: encode(x) / 2, generate, offset)
    single = editing_consistency(images, lambda x: encode(x) / 2, generate, offset, batch_size=2)
    assert torch.allclose(whole.code, single.code) and torch.allclose(whole.image, single.image)
