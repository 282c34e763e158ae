import numpy as np
import pytest
import torch
from idinvert.metrics import frechet
from scipy.linalg import sqrtm


def gaussian(count, width, seed, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((width, width)) / width**0.5
    return torch.from_numpy(scale * rng.standard_normal((count, width)) @ mixing + shift)


def naive_fd(a, b):
    """The textbook formula with scipy's matrix root."""
    a, b = a.numpy(), b.numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(cov_a @ cov_b).real
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root)


@pytest.mark.parametrize("counts", [(200, 150), (40, 300)])
def test_equals_scipy(counts):
    a, b = gaussian(counts[0], 24, 0, 1.3, 0.2), gaussian(counts[1], 24, 1)
    assert frechet.fd(a, b) == pytest.approx(naive_fd(a, b), rel=1e-6)


def test_fewer_images_than_features():
    """Singular covariances: compared with the formula on slightly widened ones."""
    a, b = gaussian(20, 48, 0, 1.5), gaussian(30, 48, 1)
    ridge = 1e-9 * np.eye(48)
    cov_a, cov_b = np.cov(a, rowvar=False) + ridge, np.cov(b, rowvar=False) + ridge
    values, vectors = np.linalg.eigh(cov_a)
    half = vectors * np.sqrt(values.clip(0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(half @ cov_b @ half).clip(0)).sum()
    mean = np.sum((a.numpy().mean(0) - b.numpy().mean(0)) ** 2)
    expected = mean + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    assert frechet.fd(a, b) == pytest.approx(expected, rel=1e-3)


def test_shift_alone_gives_its_square():
    a = gaussian(50, 8, 0)
    assert frechet.fd(a, a + 0.5) == pytest.approx(8 * 0.25, rel=1e-9)


@pytest.mark.parametrize("count", [10, 200])
def test_identity_symmetry_and_order(count):
    a, b = gaussian(count, 32, 0), gaussian(count, 32, 1, 1.2)
    assert frechet.fd(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet.fd(a, b) == pytest.approx(frechet.fd(b, a), rel=1e-9)
    assert frechet.fd(a, b) == pytest.approx(frechet.fd(a.flip(0), b), rel=1e-9)


def test_all_components_change_nothing():
    a, b = gaussian(80, 12, 0, 1.1), gaussian(90, 12, 1)
    assert frechet.fd(a, b, components=12) == pytest.approx(frechet.fd(a, b), rel=1e-9)
    with pytest.raises(ValueError, match="between 1 and 12"):
        frechet.fd(a, b, components=13)


def test_projection_keeps_the_leading_variance_of_real():
    real = gaussian(100, 12, 1)
    _, projected = frechet.project(gaussian(80, 12, 0), real, 3)
    leading = np.linalg.eigvalsh(np.cov(real, rowvar=False))[::-1][:3]
    assert np.allclose(projected.var(0).numpy(), leading)


def test_components_are_those_of_real_that_it_fills():
    sets, real = frechet.in_leading_components([gaussian(40, 100, 0)], gaussian(300, 100, 1))
    assert sets[0].shape == (40, 64) and real.shape == (300, 64)
    sets, real = frechet.in_leading_components([gaussian(40, 100, 0)], gaussian(20, 100, 1))
    assert sets[0].shape == (40, 19) and real.shape == (20, 19)


def test_pinned():
    assert frechet.fd(gaussian(64, 16, 0, 1.2), gaussian(64, 16, 1)) == pytest.approx(
        2.6390408730, 1e-6
    )


@pytest.mark.parametrize(
    "a, b, message",
    [
        (torch.zeros(5, 3), torch.zeros(5, 4), "must be"),
        (torch.zeros(1, 3), torch.zeros(5, 3), "N, M >= 2"),
        (torch.full((5, 3), torch.inf), torch.zeros(5, 3), "not finite"),
    ],
)
def test_bad_input_is_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet.fd(a, b)
