"""Attributes in codes and images: precision and recall of a boundary, and the effect of an edit."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from sklearn import metrics as sklearn_metrics

from idinvert.settings import Whole, checked

from .bootstrap import as_numpy


class PrecisionRecall(NamedTuple):
    """Precision [K + 1] and recall [K + 1] at falling recall, thresholds [K], average precision."""

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    average: float


def precision_recall(scores: Any, labels: Any) -> PrecisionRecall:
    """Precision-recall curve of `scores` [N] (higher: more likely) for binary `labels` [N].

    Average precision is the sum of precision times the step in recall, in [0, 1]; a score without
    information reaches the share of positives. Section 4.2 and Figure 3 of the paper, where scores
    are distances of inverted codes to a boundary. ValueError: `labels` are not 0 and 1 with both
    present, or scores are not finite.

    >>> round(precision_recall([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]).average, 3)
    0.833
    """
    scores, labels = as_numpy(scores).astype(float), as_numpy(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"Scores {scores.shape} and labels {labels.shape} must both be [N].")
    if set(np.unique(labels)) != {0, 1}:
        raise ValueError("Labels must be 0 and 1, both present.")
    if not np.isfinite(scores).all():
        raise ValueError("Scores contain values that are not finite.")
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(labels, scores)
    return PrecisionRecall(precision, recall, thresholds, average_precision(scores, labels))


def average_precision(scores: Any, labels: Any) -> float:
    """Average precision alone, in [0, 1], without checks: the statistic to bootstrap.

    NaN where `labels` hold one class only, as a resample may.
    """
    scores, labels = as_numpy(scores), as_numpy(labels)
    if labels.min() == labels.max():
        return float("nan")
    # as sklearn's average_precision_score, whose checks take twenty times as long as its sums
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(labels[order])
    ends = np.flatnonzero(np.diff(scores[order], append=np.nan))  # equal scores are one threshold
    gains = np.diff(hits[ends], prepend=0)
    return float((gains * hits[ends] / (ends + 1)).sum() / hits[-1])


class EditEffect(NamedTuple):
    """What an edit did to each of N images, for A attributes.

    success [N]: 1 where the edit brought the target attribute to the wanted side of 0.5, 0 where it
        did not, NaN where the image had it before (nothing to change);
    absolute_change [N, A]: |change of probability|, NaN for the target, so that means are over the
        others.
    """

    success: np.ndarray
    absolute_change: np.ndarray


@checked
def edit_effect(before: Any, after: Any, target: Whole, direction: Literal[1, -1] = 1
                ) -> EditEffect:
    """Success and side effects of an edit.

    before, after [N, A]: a classifier's probabilities in [0, 1] for the same images before and
    after. target: column of the edited attribute. direction: +1 if the attribute is wanted, -1 if
    its absence is. ValueError: other shapes or ranges.

    >>> effect = edit_effect([[0.2, 0.5], [0.9, 0.5]], [[0.7, 0.25], [0.9, 0.5]], target=0)
    >>> effect.success
    array([ 1., nan])
    >>> effect.absolute_change[:, 1]
    array([0.25, 0.  ])
    """
    before, after = probabilities(before), probabilities(after)
    if before.shape != after.shape:
        raise ValueError(f"Probabilities must match, found {before.shape} and {after.shape}.")
    if not 0 <= target < before.shape[1] or direction not in (1, -1):
        raise ValueError(f"No target {target} with direction {direction} in {before.shape[1]}.")
    had, has = ((p[:, target] > 0.5) == (direction > 0) for p in (before, after))
    change = np.abs(after - before)
    change[:, target] = np.nan
    return EditEffect(np.where(had, np.nan, has.astype(float)), change)


def probabilities(values: Any) -> np.ndarray:
    """Probabilities [N, A] as an array; ValueError: another shape, or values outside [0, 1]."""
    values = as_numpy(values).astype(float)
    if values.ndim != 2 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"Probabilities must be [N, A] within [0, 1], found shape {values.shape}.")
    return values
