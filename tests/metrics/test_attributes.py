import numpy as np
import pytest
import torch
from idinvert.metrics import attributes
from idinvert.metrics.bootstrap import interval


def naive_average_precision(scores, labels):
    """Mean over the positives of the precision at their rank (no ties)."""
    order = np.argsort(-scores)
    ranked = labels[order]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return precision[ranked == 1].mean()


def test_average_precision_equals_the_definition():
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal(80), rng.integers(2, size=80)
    result = attributes.precision_recall(scores, labels)
    assert result.average == pytest.approx(naive_average_precision(scores, labels))
    for found in (result, attributes.precision_recall(scores.round(), labels)):  # and with ties
        steps = -np.diff(found.recall) * found.precision[:-1]
        assert found.average == pytest.approx(steps.sum())


def test_perfect_and_empty_scores():
    labels = torch.tensor([0, 0, 1, 1])
    assert attributes.precision_recall(torch.tensor([0.1, 0.2, 0.3, 0.4]), labels).average == 1
    assert attributes.precision_recall(torch.zeros(4), labels).average == 0.5


def test_only_the_order_of_scores_counts():
    rng = np.random.default_rng(0)
    scores, labels = rng.standard_normal(50), rng.integers(2, size=50)
    same = attributes.average_precision(np.exp(scores), labels)
    assert same == attributes.average_precision(scores, labels)


def test_average_precision_with_interval():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    estimate = interval(attributes.average_precision, labels + rng.standard_normal(200), labels)
    assert estimate.low < estimate.value < estimate.high <= 1


@pytest.mark.parametrize(
    "scores, labels, message",
    [
        (np.zeros(3), np.zeros(4), "must both be"),
        (np.zeros(3), np.zeros(3), "both present"),
        (np.zeros(3), np.array([0, 1, 2]), "0 and 1"),
        (np.array([0, np.nan]), np.array([0, 1]), "not finite"),
    ],
)
def test_bad_scores_are_named(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        attributes.precision_recall(scores, labels)


BEFORE = np.array([[0.2, 0.9, 0.4], [0.3, 0.1, 0.6], [0.8, 0.5, 0.5]])
AFTER = np.array([[0.7, 0.9, 0.6], [0.4, 0.2, 0.7], [0.9, 0.5, 0.5]])


def test_edit_effect_by_hand():
    effect = attributes.edit_effect(BEFORE, AFTER, target=0)
    assert np.array_equal(effect.success, [1, 0, np.nan], equal_nan=True)
    expected = [[np.nan, 0, 0.2], [np.nan, 0.1, 0.1], [np.nan, 0, 0]]
    assert np.allclose(effect.absolute_change, expected, equal_nan=True)


def test_opposite_direction_mirrors():
    forth = attributes.edit_effect(BEFORE, AFTER, target=0)
    back = attributes.edit_effect(1 - BEFORE, 1 - AFTER, target=0, direction=-1)
    for a, b in zip(forth, back):
        assert np.allclose(a, b, equal_nan=True)


def test_no_edit_has_no_effect():
    effect = attributes.edit_effect(BEFORE, BEFORE, target=1)
    assert np.nanmean(effect.success) == 0 and np.nansum(effect.absolute_change) == 0


def test_all_images_had_it():
    assert np.isnan(attributes.edit_effect(AFTER[[0, 2]], AFTER[[0, 2]], target=0).success).all()


@pytest.mark.parametrize(
    "after, target, direction, message",
    [
        (AFTER[:2], 0, 1, "must match"),
        (AFTER * 2, 0, 1, r"within \[0, 1\]"),
        (AFTER, 3, 1, "No target 3"),
        (AFTER, 0, 2, "direction 2"),
    ],
)
def test_bad_edit_is_named(after, target, direction, message):
    with pytest.raises(ValueError, match=message):
        attributes.edit_effect(BEFORE, after, target, direction)
