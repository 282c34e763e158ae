"""Scores of image sets and the advantage of one over another."""

import pytest
import torch
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import scores
from idinvert.study.scores import Seen


def seen(count=40, seed=0, noise=0.0):
    """Smooth random images of 16 px whose features are their pixels, more or less spoilt."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=rng) / 3
    images = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    images = images + noise * (torch.randn(images.shape, generator=rng) + 1)
    return Seen(images, images.flatten(1)[:, ::8])


@pytest.mark.parametrize("metric", [*scores.DISTANCES, *scores.PAIRWISE])
def test_a_set_is_at_no_distance_from_itself(metric):
    ideal = {"ssim": 1}.get(metric, 0)
    found = scores.score(metric, seen(), seen())
    assert found.value == pytest.approx(ideal, abs=60 if metric == "kid" else 1e-4)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("metric", [*scores.DISTANCES, *scores.PAIRWISE])
def test_less_noisy_images_are_at_an_advantage(metric):
    better, worse = seen(noise=0.05), seen(noise=0.4)
    gain = scores.advantage(metric, better, worse, seen())
    assert gain.low > 0
    loss = scores.advantage(metric, worse, better, seen())
    assert loss.value == pytest.approx(-gain.value)
    assert loss.high < 0


@pytest.mark.parametrize("metric", scores.DISTANCES)
def test_advantage_is_the_difference_of_scores(metric):
    better, worse, real = seen(noise=0.05), seen(noise=0.4), seen(seed=1)
    gain = scores.advantage(metric, better, worse, real, paired=False).value
    a, b = (scores.score(metric, x, real, paired=False).value for x in (worse, better))
    assert gain == pytest.approx(a - b)


def test_equally_good_sets_have_no_advantage():
    one, other = (Seen(x.images, x.features) for x in (seen(noise=0.2, seed=2), seen(noise=0.2)))
    assert scores.advantage("kid", one, other, seen(80, seed=3), paired=False).low < 0
    assert scores.advantage("mse", one, one, seen()) == Estimate(0, 0, 0)


def test_kid_uses_all_real_images_and_fd_as_many_as_there_are():
    found, real = seen(20), seen(60, seed=1)
    (_,), kept = scores.comparable("kid", [found], real)
    assert len(kept) == 60
    (projected,), kept = scores.comparable("fd", [found], real)
    assert len(kept) == 20
    assert projected.features.shape == kept.features.shape == (20, 19)


def test_fd_is_called_fid_only_in_all_inception_features(monkeypatch):
    found, real = seen(20), seen(60, seed=1)
    assert [scores.title(m) for m in scores.TITLES] == list(scores.TITLES.values())
    monkeypatch.setenv("IDINVERT_INCEPTION", "the official file")
    assert [scores.title(m) for m in ("fd", "kid", "swd")] == ["FID", "KID x 1e3", "SWD"]
    (whole,), kept = scores.comparable("fd", [found], real)
    assert torch.equal(whole.features, found.features)
    assert torch.equal(kept.features, real[:20].features)


def test_floor_is_what_a_score_of_as_many_real_images_is():
    """Of few images too, which fill fewer components than are taken of many."""
    real = seen(400)
    for count in (12, 100):
        rng = torch.Generator().manual_seed(0)
        picks = [torch.randperm(400, generator=rng)[: 2 * count] for _ in range(5)]
        values = [scores.score("fd", real[p[:count]], real[p[count:]], False).value for p in picks]
        expected = sum(values) / 5
        assert scores.floor("fd", real, count) == pytest.approx(expected, rel=0.1)


def test_floor_lies_below_the_distance_of_noisy_images():
    real = seen(80)
    for metric in scores.DISTANCES:
        (noisy,), same = scores.comparable(metric, [seen(40, noise=0.4)], real)
        assert scores.floor(metric, real, 40) < scores.score(metric, noisy, same, False).value


def test_spread_and_scaling():
    assert scores.spread({"mse": Estimate(2, 1, 3)}) == {"mse": 2, "mse_low": 1, "mse_high": 3}
    assert scores.scaled(Estimate(2, 1, 3), -1) == Estimate(-2, -3, -1)


def test_sets_are_joined_in_order():
    both = scores.concatenated([seen(3), seen(2, seed=1)])
    assert len(both) == 5
    assert torch.equal(both[3:].images, seen(2, seed=1).images)
