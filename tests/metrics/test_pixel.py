import numpy as np
import pytest
import torch
from idinvert.metrics import pixel
from skimage.metrics import structural_similarity


@pytest.fixture
def images():
    torch.manual_seed(0)
    return torch.nn.functional.avg_pool2d(torch.rand(5, 3, 68, 68) * 2 - 1, 5, 1, 0)


def noisy(images, sigma):
    generator = torch.Generator().manual_seed(1)
    return (images + sigma * torch.randn(images.shape, generator=generator)).clamp(-1, 1)


def test_mse_equals_numpy(images):
    other = noisy(images, 0.1)
    expected = np.mean((images.numpy() - other.numpy()) ** 2, axis=(1, 2, 3))
    assert np.allclose(pixel.mse(images, other), expected, rtol=1e-6)


def test_mse_of_black_and_white_is_4():
    assert pixel.mse(-torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).item() == 4


def test_values_outside_the_range_are_clipped(images):
    assert torch.equal(pixel.mse(images * 0 + 1, images * 0 + 3), torch.zeros(5))


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_ssim_equals_scikit_image(images, sigma):
    other = noisy(images, sigma)
    found = pixel.ssim(images, other)
    for a, b, value in zip(images, other, found):
        expected = structural_similarity(
            (a.numpy() + 1) / 2,
            (b.numpy() + 1) / 2,
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert value.item() == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("metric, best", [(pixel.mse, 0.0), (pixel.ssim, 1.0)])
def test_identity_symmetry_and_batches(images, metric, best):
    other = noisy(images, 0.1)
    assert torch.allclose(metric(images, images), torch.full((5,), best), atol=1e-6)
    assert torch.allclose(metric(images, other), metric(other, images), atol=1e-6)
    alone = torch.cat([metric(a[None], b[None]) for a, b in zip(images, other)])
    assert torch.allclose(metric(images, other), alone, atol=1e-6)


def test_ssim_falls_with_noise(images):
    values = [pixel.ssim(images, noisy(images, s)).mean() for s in (0, 0.05, 0.1, 0.3)]
    assert all(a > b for a, b in zip(values, values[1:]))


def test_pinned(card):
    other = (card * 0.9).roll(1, -1)
    assert pixel.mse(card, other).item() == pytest.approx(0.0303832, rel=1e-4)
    assert pixel.ssim(card, other).item() == pytest.approx(0.903566, rel=1e-4)


@pytest.mark.parametrize(
    "a, b, message",
    [
        (torch.zeros(2, 3, 16, 16), torch.zeros(1, 3, 16, 16), "pairs of one shape"),
        (torch.zeros(2, 1, 16, 16), torch.zeros(2, 1, 16, 16), r"\[N, 3, H, W\]"),
        (torch.zeros(2, 3, 16, 16).byte(), torch.zeros(2, 3, 16, 16), "floats in"),
        (torch.full((2, 3, 16, 16), torch.nan), torch.zeros(2, 3, 16, 16), "not finite"),
        (torch.zeros(2, 3, 16, 16), torch.linspace(0, 255, 1536).view(2, 3, 16, 16), "to_float"),
        (torch.full((2, 3, 16, 16), 100.0) - 228, torch.zeros(2, 3, 16, 16), "to_float"),
    ],
)
def test_bad_input_is_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        pixel.mse(a, b)


def test_ssim_needs_a_window():
    with pytest.raises(ValueError, match="at least 11 px"):
        pixel.ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
