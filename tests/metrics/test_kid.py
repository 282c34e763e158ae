import numpy as np
import pytest
import torch
from idinvert.metrics import kid


def features(count, seed, shift=0.0, width=8):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, width)) + shift)


def naive_mmd2(x, y):
    """The unbiased estimate pair by pair."""

    def kernel(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    within = [
        np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j])
        for s in (x, y)
    ]
    return sum(within) - 2 * np.mean([kernel(a, b) for a in x for b in y])


def test_equals_double_loop():
    x, y = features(12, 0, 0.3), features(15, 1)
    assert kid.mmd2(x, y) == pytest.approx(naive_mmd2(x, y), rel=1e-9)


def test_blocks_change_nothing(monkeypatch):
    x, y = features(30, 0, 0.3), features(25, 1)
    whole = kid.mmd2(x, y)
    monkeypatch.setattr(kid, "BLOCK", 7)
    assert kid.mmd2(x, y) == pytest.approx(whole, rel=1e-9)


def test_subsets_equal_the_estimate_on_each():
    x, y = features(20, 0, 0.3), features(20, 1)
    weights = torch.zeros(2, 20)
    weights[0, 4:11] = weights[1, ::3] = 1
    found = kid.resampled_mmd2(x, y, weights, weights)
    assert found[0].item() == pytest.approx(naive_mmd2(x[4:11], y[4:11]), rel=1e-9)
    assert found[1].item() == pytest.approx(naive_mmd2(x[::3], y[::3]), rel=1e-9)


def test_unbiased():
    """On average 0 for one distribution: the mean of 200 draws is within 4 standard errors."""
    values = [kid.mmd2(features(30, 2 * i), features(30, 2 * i + 1)) for i in range(200)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 200**0.5


def test_symmetry_order_and_growth():
    x, y = features(60, 0, 0.3), features(60, 1)
    assert kid.mmd2(x, y) == pytest.approx(kid.mmd2(y, x), rel=1e-9)
    assert kid.mmd2(x, y) == pytest.approx(kid.mmd2(x.flip(0), y), rel=1e-9)
    values = [kid.mmd2(features(60, 0, shift), y) for shift in (0.0, 0.3, 0.6)]
    assert values[0] < values[1] < values[2]


def test_pinned():
    assert kid.mmd2(features(40, 0, 0.3), features(40, 1)) == pytest.approx(0.4371544317, rel=1e-6)
