"""Scores of image sets, the advantage of one over another, and what their intervals resample."""

import numpy as np
import pytest
import torch
from idinvert.metrics import METRICS, frechet
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import scores
from idinvert.study.scores import PIXELS, REALISM, ImageSet


def full_rank(count, seed=0, width=200, shift=0.0):
    """Features of full rank with a falling spectrum, as those of a network have."""
    rng = torch.Generator().manual_seed(seed)
    spread = torch.arange(1, width + 1) ** -0.5
    features = torch.randn(count, width, generator=rng) * spread + shift
    return ImageSet(torch.zeros(count, 3, 16, 16), features)


@pytest.mark.parametrize("metric", [*REALISM, *PIXELS])
def test_a_set_is_at_no_distance_from_itself(metric, smooth_images):
    """KID leaves out the pairs of equal images, and so is below 0 by what those would add."""
    images = smooth_images()
    found = scores.score(metric, images, images)
    ideal = {"ssim": 1.0}.get(metric, 0.0)
    if metric == "kid":
        x, n = images.features.double(), len(images)
        kernel = (x @ x.T / x.shape[1] + 1) ** 3
        ideal = 2e3 * ((kernel.sum() - kernel.trace()) / (n * (n - 1)) - kernel.mean()).item()
        assert ideal < 0
    assert found.value == pytest.approx(ideal, rel=1e-6, abs=1e-6)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("metric", [*REALISM, *PIXELS])
def test_less_noisy_images_are_at_an_advantage(metric, smooth_images):
    better, worse, real = smooth_images(noise=0.05), smooth_images(noise=0.4), smooth_images()
    gain = scores.advantage(metric, better, worse, real)
    assert gain.low > 0
    loss = scores.advantage(metric, worse, better, real)
    assert loss.value == pytest.approx(-gain.value)
    assert loss.high < 0


@pytest.mark.parametrize("metric", REALISM)
def test_advantage_is_the_difference_of_scores(metric, smooth_images):
    better, worse, real = (smooth_images(noise=0.05), smooth_images(noise=0.4),
                           smooth_images(seed=1))
    gain = scores.advantage(metric, better, worse, real, paired=False).value
    a, b = (scores.score(metric, x, real, paired=False).value for x in (worse, better))
    assert gain == pytest.approx(a - b)


def test_equally_good_sets_have_no_advantage(smooth_images):
    one, other = smooth_images(noise=0.2, seed=2), smooth_images(noise=0.2)
    real = smooth_images(80, seed=3)
    assert scores.advantage("kid", one, other, real, paired=False).low < 0
    assert scores.advantage("mse", one, one, smooth_images(seed=2))[:3] == (0, 0, 0)


def test_a_combination_of_four_sets_is_measured_on_the_same_images(smooth_images):
    """Two equal differences differ by nothing, whatever the images are."""
    near, far = smooth_images(noise=0.05), smooth_images(noise=0.4)
    real = smooth_images(80, seed=3)
    terms = [(1, far), (-1, near), (-1, far), (1, near)]
    assert scores.combination("kid", terms, real, paired=False)[:3] == (0, 0, 0)


def test_sets_of_unequal_size_are_no_pairs(smooth_images):
    with pytest.raises(ValueError, match="equal size"):
        scores.advantage("kid", smooth_images(10), smooth_images(12), smooth_images(), False)


# --- units ---------------------------------------------------------------------------------------


def edited(smooth_images, attributes=5, targets=20, damaged=()):
    """Edits of the same targets, attribute by attribute; the damaged ones are bright noise."""
    parts = []
    for a in range(attributes):
        part = smooth_images(targets, noise=0.1, noise_seed=a)
        if a in damaged:
            noise = torch.randn(part.images.shape, generator=torch.Generator().manual_seed(9))
            noisy = part.images + 0.5 * (noise + 1)
            part = ImageSet(noisy, noisy.flatten(1)[:, ::8])
        parts.append(part)
    return scores.concatenated(parts)


@pytest.mark.parametrize("metric", REALISM)
def test_edits_of_every_attribute_count(metric, smooth_images):
    """More edited images than real ones: those of the last attribute count as well."""
    real = smooth_images(80, seed=5)
    fine, broken = (edited(smooth_images, damaged=d) for d in ((), (4,)))
    values = [scores.score(metric, x, real, paired=False).value for x in (fine, broken)]
    assert values[1] > 1.2 * values[0]


def test_an_equal_share_holds_all_edits_of_as_many_targets(smooth_images):
    images, real = edited(smooth_images), smooth_images(83, seed=5)
    kept = scores.equal_share(images, real)
    assert kept.sum() == 80  # 5 edits of 16 of the 20 targets
    counts = torch.bincount(images.units[kept], minlength=20)
    assert sorted(counts.tolist()) == [0] * 4 + [5] * 16
    assert scores.equal_share(images, smooth_images(100)).all()
    (swd_images,), swd_real = scores.comparable("swd", [images], real)
    (kid_images,), kid_real = scores.comparable("kid", [images], real)
    assert (len(swd_images), len(swd_real)) == (80, 80)
    assert (len(kid_images), len(kid_real)) == (100, 83)


@pytest.mark.parametrize("metric", REALISM)
def test_five_copies_of_an_image_tell_no_more_than_one(metric, smooth_images):
    """The interval of copies is as wide as that of the images, not sqrt(5) times as narrow."""
    one, real = smooth_images(40, noise=0.2), smooth_images(240, seed=5)
    five = scores.concatenated([one] * 5)
    as_rows = ImageSet(five.images, five.features)

    def width(images):
        _, low, high, _ = scores.score(metric, images, real, paired=False)
        return high - low

    assert width(five) > 1.2 * width(as_rows)


def test_coverage_of_the_mean_over_edits_by_target_image():
    """Five values of each image with a correlation of 0.25: the interval by image holds the truth
    in about 95 of 100 experiments, that over single values in far fewer."""
    rng, images, edits, experiments = np.random.default_rng(0), 100, 5, 1500
    units = np.tile(np.arange(images), edits)
    held = np.zeros(2)
    for _ in range(experiments):
        shared = rng.standard_normal(images) * 0.5
        values = (shared + rng.standard_normal((edits, images)) * 0.75**0.5).ravel()
        for i, found in enumerate((scores.per_image(values, units), scores.per_image(values))):
            held[i] += found.low <= 0 <= found.high
    by_image, by_value = held / experiments
    assert 0.93 <= by_image <= 0.97
    assert by_value < 0.87


def test_trainings_are_compared_by_run(smooth_images):
    """Welch's test over the values of the runs, as scipy computes it."""
    from scipy import stats

    real = smooth_images()
    better, worse = ([smooth_images(noise=n, noise_seed=int(1e3 * n)) for n in levels]
                     for levels in ((0.1, 0.12, 0.15), (0.2, 0.3, 0.25)))
    found = scores.advantage_of_trainings("mse", better, worse, real)
    errors = [[float((x.images.clamp(-1, 1) - real.images.clamp(-1, 1)).square().mean())
               for x in runs] for runs in (worse, better)]
    expected = stats.ttest_ind(*errors, equal_var=False)
    assert found.value == pytest.approx(np.mean(errors[0]) - np.mean(errors[1]), rel=1e-4)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-3)
    assert found.low == pytest.approx(expected.confidence_interval().low, rel=1e-3)
    similar = scores.advantage_of_trainings("ssim", worse, better, real)
    assert similar.value < 0
    with pytest.raises(ValueError, match="at least 2"):
        scores.advantage_of_trainings("mse", better[:1], worse, real)


# --- components and floors -----------------------------------------------------------------------


def test_kid_uses_all_real_images_and_fd_as_many_as_there_are(smooth_images):
    found, real = smooth_images(20), smooth_images(60, seed=1)
    (_,), kept = scores.comparable("kid", [found], real)
    assert len(kept) == 60
    (projected,), kept = scores.comparable("fd", [found], real)
    assert len(kept) == 20
    assert projected.features.shape == kept.features.shape == (20, 19)


def test_fd_is_called_fid_only_in_all_inception_features(monkeypatch, smooth_images):
    found, real = smooth_images(20), smooth_images(60, seed=1)
    assert [scores.title(m) for m in METRICS] == [entry.title for entry in METRICS.values()]
    monkeypatch.setenv("IDINVERT_INCEPTION", "the official file")
    assert [scores.title(m) for m in REALISM] == ["FID", "KID x 1e3", "SWD"]
    (whole,), kept = scores.comparable("fd", [found], real)
    assert torch.equal(whole.features, found.features)
    assert torch.equal(kept.features, real[:20].features)


@pytest.mark.parametrize("count", [12, 100, 200])
def test_floor_is_what_score_gives_the_same_pairs(count):
    """In the components of the second half alone, where the features fill more than 64 of them:
    in those of all real images it would be higher, and miss the distances that it is the floor of.
    """
    real = full_rank(400)
    rng, values, old = torch.Generator().manual_seed(0), [], []
    components = min(frechet.COMPONENTS, count - 1)
    everywhere = frechet.project(real.features, real.features, components)[1]
    for _ in range(5):
        order = torch.randperm(400, generator=rng)
        one, other = order[:count], order[count:2 * count]
        values.append(scores.score("fd", real[one], real[other], paired=False).value)
        old.append(frechet.fd(everywhere[one], everywhere[other]))
    assert scores.floor("fd", real, count) == pytest.approx(np.mean(values), rel=1e-9)
    assert abs(np.mean(old) / np.mean(values) - 1) > 0.02


def test_floor_lies_below_the_distance_of_noisy_images(smooth_images):
    real, noisy = smooth_images(80), smooth_images(40, noise=0.4)
    for metric in REALISM:
        far = scores.score(metric, noisy, real, paired=False).value
        assert scores.floor(metric, real, 40) < far


# --- trends --------------------------------------------------------------------------------------


def test_rank_correlations_are_spearmans():
    from scipy import stats

    values = np.random.default_rng(0).integers(0, 4, (30, 6))  # with ties
    values[0] = 1  # no ranks at all
    found = scores.rank_correlations([0, 1, 2, 5, 10, 40], values)
    assert np.isnan(found[0])
    for row, value in zip(values[1:], found[1:]):
        assert value == pytest.approx(stats.spearmanr([0, 1, 2, 5, 10, 40], row).statistic)


def test_trend_has_the_p_value_of_its_resamples():
    """One image of ten goes against the trend: resamples full of it are counted."""
    values = np.tile([0.0, 1.0, 2.0], (10, 1))
    sure = scores.trend([0, 1, 2], values)
    assert sure[:3] == (1, 1, 1) and sure.p == pytest.approx(2 / 10_001)
    values[:4] = [5.0, 1.0, -3.0]
    unsure = scores.trend([0, 1, 2], values)
    assert 0.05 < unsure.p < 1 and unsure.low == -1
    assert scores.scaled(unsure, -1).p == unsure.p


def test_trend_of_equal_values_has_no_small_p_value():
    nothing = scores.trend([0, 1, 2], np.ones((10, 3)))
    assert np.isnan(nothing[:3]).all() and nothing.p == 1
    resampled = np.array([1.0] * 60 + [np.nan] * 39)
    assert scores.two_sided(resampled) == 2 * (39 + 1) / 100


def test_trend_of_kid_follows_the_order(smooth_images):
    real = smooth_images()
    sets = [ImageSet(real.images, real.features + shift) for shift in (0.0, 0.5, 1.0)]
    up = scores.kid_trend([0, 1, 2], sets, real)
    assert up.value == pytest.approx(1) and up.low == pytest.approx(1) and up.p < 0.001
    assert scores.kid_trend([2, 1, 0], sets, real).value == pytest.approx(-1)


# --- columns -------------------------------------------------------------------------------------


def test_spread_and_scaling():
    assert scores.spread({"mse": Estimate(2, 1, 3)}) == {"mse": 2, "mse_low": 1, "mse_high": 3}
    assert scores.scaled(Estimate(2, 1, 3), -1) == Estimate(-2, -3, -1)


def test_sets_are_joined_in_order(smooth_images):
    both = scores.concatenated([smooth_images(3), smooth_images(2, seed=1)])
    assert len(both) == 5
    assert torch.equal(both[3:].images, smooth_images(2, seed=1).images)
    assert both.units.tolist() == [0, 1, 2, 0, 1]


def test_trend_of_kid_depends_on_which_images_are_the_real_ones():
    """Every set holds one image again and again, so that only the draw of real ones is chance."""
    values = torch.tensor([[-1.0], [1.0]])
    real = ImageSet(torch.zeros(20, 3, 1, 1), values.repeat(10, 1))
    sets = [ImageSet(torch.zeros(20, 3, 1, 1), value.expand(20, 1)) for value in values]
    found = scores.kid_trend([0, 1], sets, real)
    assert (found.low, found.high) == pytest.approx((-1, 1)) and found.p > 0.5
