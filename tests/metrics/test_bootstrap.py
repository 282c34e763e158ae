import numpy as np
import pytest
import torch
from idinvert.metrics.bootstrap import Estimate, half_estimate, half_weights, interval, mean
from scipy import stats


@pytest.fixture
def sample():
    return np.random.default_rng(0).gamma(2.0, size=120)


def test_equals_scipy(sample):
    """Percentile bootstrap of the mean; the ends differ by the resampling noise only."""
    found = interval(np.mean, sample, resamples=4000)
    reference = stats.bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    width = found.high - found.low
    assert found.value == pytest.approx(sample.mean())
    assert found.low == pytest.approx(reference.low, abs=0.05 * width)
    assert found.high == pytest.approx(reference.high, abs=0.05 * width)


def test_fast_path_equals_the_slow_one(sample):
    fast = interval(np.mean, sample)
    slow = interval(lambda x: x.mean(), sample)
    assert np.allclose(fast[:3], slow[:3], rtol=1e-12)


def test_pairs_stay_paired(sample):
    """The difference of equal arrays is always 0, so its interval has no width."""
    assert interval(lambda a, b: (a - b).mean(), sample, sample.copy()) == Estimate(0, 0, 0)


def test_tensors_seeds_and_levels(sample):
    tensor = torch.from_numpy(sample)
    assert interval(np.mean, tensor) == interval(np.mean, sample)
    assert interval(np.mean, sample) != interval(np.mean, sample, seed=1)
    wide, narrow = (interval(np.mean, sample, level=level) for level in (0.95, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_coverage():
    """A 95 % interval of a mean holds the truth in about 95 of 100 experiments."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        _, low, high, _ = interval(np.mean, rng.standard_normal(60), resamples=300)
        held += low <= 0 <= high
    assert 0.90 <= held / 300 <= 0.98


def test_not_finite_resamples_are_left_out():
    rare = np.array([0.0] * 9 + [1.0])
    estimate = interval(lambda x: x.mean() if x.any() else np.nan, rare)
    assert estimate.low > 0
    nothing = interval(lambda x: np.nan, rare)
    assert np.isnan(nothing.low) and np.isnan(nothing.high)


def test_one_unit_shows_nothing_of_the_spread():
    for units in (None, [7, 7, 7]):
        found = interval(np.mean, np.arange(1.0 if units is None else 3.0), units=units)
        assert found.value == (0 if units is None else 1)
        assert np.isnan([found.low, found.high]).all()


def test_nanmean_of_successes():
    estimate = interval(np.nanmean, np.array([1.0, 0, np.nan, 1] * 20))
    assert estimate.value == pytest.approx(2 / 3) and estimate.low < 2 / 3 < estimate.high


def test_lengths_must_agree(sample):
    with pytest.raises(ValueError, match="one length"):
        interval(np.mean, sample, sample[:-1])
    with pytest.raises(ValueError, match="one length"):
        interval(np.mean, [])


def test_drawn_units_bring_all_their_rows(sample):
    """By unit: the bootstrap of the units' sums and counts, in the fast path and in the slow one.
    """
    units = np.arange(120) // 4
    fast = interval(np.mean, sample, units=units)
    slow = interval(lambda x: x.mean(), sample, units=units)
    by_unit = interval(np.mean, sample.reshape(30, 4).mean(1))
    assert np.allclose(fast[:3], slow[:3], rtol=1e-12)
    assert np.allclose(fast[:3], by_unit[:3], rtol=1e-12)
    holes = np.where(np.arange(120) % 7 == 0, np.nan, sample)
    fast, slow = (interval(f, holes, units=units) for f in (np.nanmean, lambda x: np.nanmean(x)))
    assert np.allclose(fast[:3], slow[:3], rtol=1e-12)
    with pytest.raises(ValueError, match="needs a unit"):
        interval(np.mean, sample, units=units[1:])


def test_half_samples_have_the_spread_of_new_samples():
    """Difference of two means, whose standard error is known: sqrt(1/200 + 1/100)."""
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.standard_normal(n)) for n in (200, 100))
    first, second = half_weights(range(200), range(100), False, 2000)
    values = (first @ a) / first.sum(1) - (second @ b) / second.sum(1)
    found = half_estimate(a.mean() - b.mean(), values)
    expected = 2 * 1.96 * (a.var() / 200 + b.var() / 100).sqrt().item()
    assert found.high - found.low == pytest.approx(expected, rel=0.08)


def test_halves_hold_whole_units():
    units = torch.tensor([7, 7, 9, 9, 9, 2, 2, 4])
    weights, _ = half_weights(units, range(8), False, 50)
    for row in weights.bool():
        assert len(set(units[row].tolist())) == 2
        assert not set(units[row].tolist()) & set(units[~row].tolist())


def test_paired_halves_are_the_same_images():
    a, b = half_weights(range(10), range(10), True, 5)
    assert torch.equal(a, b) and torch.equal(a.sum(1), torch.full((5,), 5.0, dtype=a.dtype))
    c, d = half_weights(range(10), range(10), False, 5)
    assert not torch.equal(c, d)


def test_half_sample_limits():
    with pytest.raises(ValueError, match="at least 4 images"):
        half_weights(range(3), range(10), False, 5)
    with pytest.raises(ValueError, match="at least 2 target images"):
        half_weights([1, 1, 1, 1, 1], range(10), False, 5)
    with pytest.raises(ValueError, match="equal numbers"):
        half_weights(range(10), range(12), True, 5)


def test_interval_over_runs_is_students():
    runs = [0.2, 0.25, 0.4]
    expected = stats.t.interval(0.95, 2, np.mean(runs), stats.sem(runs))
    assert mean(runs)[1:3] == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least 2, found 1"):
        mean([1.0])


def test_estimate_prints_its_interval():
    assert str(Estimate(0.12345, 0.1, 0.15)) == "0.1235 [0.1, 0.15]"
