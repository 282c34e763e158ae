import numpy as np
import ot
import pytest
import torch
from idinvert.metrics import swd
from torch.nn import functional as F


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(24, 3, 16, 16, generator=generator) * 2 - 1
    fine = torch.rand(24, 3, 64, 64, generator=generator) * 2 - 1
    return 0.7 * F.interpolate(coarse, 64, mode="bilinear") + 0.3 * fine


def quick(a, b, **settings):
    return swd.swd(a, b, **{"patches": 16, "directions": 32} | settings)


def test_inner_step_equals_pot():
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(200, 20, generator=generator)
    b = 1.5 * torch.randn(200, 20, generator=generator) + 0.2
    directions = swd.random_directions(a, 64, generator)
    expected = ot.sliced_wasserstein_distance(
        a.double().numpy(), b.double().numpy(), projections=directions.double().numpy(), p=1
    )
    assert swd.sliced(a, b, directions) == pytest.approx(expected, rel=1e-5)


def test_pyramid_adds_up_to_the_image(images):
    levels = swd.laplacian_pyramid(images)
    assert [level.shape[-1] for level in levels] == [64, 32, 16]
    image = levels[-1]
    for level in reversed(levels[:-1]):
        image = level + swd.double(image)
    assert torch.allclose(image, images, atol=1e-5)


def test_blur_equals_scipy(images):
    from scipy.ndimage import convolve

    taps = np.array([1, 4, 6, 4, 1]) / 16
    expected = convolve(images[0, 0].numpy(), np.outer(taps, taps), mode="mirror")
    assert np.allclose(swd.blur(images)[0, 0].numpy(), expected, atol=1e-5)


def test_constant_has_no_detail():
    fine, _, coarse = swd.laplacian_pyramid(torch.full((1, 3, 64, 64), 0.5))
    assert fine.abs().max() < 1e-6
    assert torch.allclose(coarse, torch.full_like(coarse, 0.5))


def test_patches_are_the_images_own(images):
    corners = torch.tensor([[[3, 5], [57, 0]], [[0, 57], [10, 20]]])
    found = swd.patches_at(images[:2], corners).view(2, 2, 3, 7, 7)
    assert torch.equal(found[0, 0], images[0, :, 3:10, 5:12])
    assert torch.equal(found[0, 1], images[0, :, 57:64, 0:7])
    assert torch.equal(found[1, 0], images[1, :, 0:7, 57:64])


def test_corners_reach_every_edge():
    corners = swd.corners_of(50, 64, 16, torch.Generator().manual_seed(0))
    assert corners.min() == 0 and corners.max() == 16 - 7


def test_standardised_per_channel(images):
    corners = swd.corners_of(len(images), 16, 64, torch.Generator().manual_seed(0))
    patches = swd.standardised(swd.patches_at(images, corners)).view(-1, 3, 49)
    assert torch.allclose(patches.mean((0, 2)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(patches.square().mean((0, 2)), torch.ones(3), atol=1e-4)


def test_identity_and_symmetry(images):
    assert quick(images, images).mean == 0
    other = images.flip(0).roll(7, -1)
    assert quick(images, other).mean == pytest.approx(quick(other, images).mean, rel=1e-5)


def test_batches_change_nothing(images, monkeypatch):
    whole = quick(images, images.flip(-1))
    monkeypatch.setattr(swd, "BATCH", 5)
    assert quick(images, images.flip(-1)) == whole


def test_blind_to_contrast_but_not_to_blur(images):
    faint = quick(images, 0.5 * images).mean
    blurred = [quick(images, F.avg_pool2d(images, k, 1, k // 2)).mean for k in (3, 5)]
    assert faint < 1e-2 < blurred[0] < blurred[1]


def test_finest_level_sees_noise_most(images):
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(images.shape, generator=generator)
    smooth = F.avg_pool2d(images, 5, 1, 2)
    values = [quick(smooth, smooth + s * noise) for s in (0.02, 0.05)]
    assert values[0].mean < values[1].mean
    assert values[1].levels[64] > values[1].levels[16]


def test_mean_over_levels_and_sizes(images):
    result = quick(images, images.flip(-1))
    assert list(result.levels) == [64, 32, 16]
    assert result.mean == pytest.approx(np.mean(list(result.levels.values())))
    small = F.avg_pool2d(images, 4)
    assert list(quick(small, small).levels) == [16]


def test_pinned(images):
    assert quick(images, images.roll(9, 0)).mean == pytest.approx(88.935, rel=1e-3)


@pytest.mark.parametrize("shape", [(2, 3, 48, 48), (2, 3, 64, 32), (2, 3, 8, 8)])
def test_bad_size_is_named(shape):
    with pytest.raises(ValueError, match="power of two"):
        swd.swd(torch.zeros(shape), torch.zeros(shape))


def test_unequal_sets_are_named():
    with pytest.raises(ValueError, match="pairs of one shape"):
        swd.swd(torch.zeros(2, 3, 16, 16), torch.zeros(3, 3, 16, 16))


def test_subsets_are_measured_as_if_alone(images):
    a, b = 1.5 * images, images.flip(-1)  # clipped, as whole sets are
    picks, real_picks = torch.zeros(2, 24), torch.zeros(2, 24)
    picks[0, :10] = picks[1, 5:15] = real_picks[0, 12:20] = real_picks[1, 2:12] = 1
    found = swd.resampled_swd(a, b, picks, real_picks)
    expected = [swd.swd(a[first], b[second], patches=32, repeats=1, directions=64).mean
                for first, second in [(slice(8), slice(12, 20)), (slice(5, 15), slice(2, 12))]]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
