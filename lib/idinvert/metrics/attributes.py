"""Attributes in codes and images: precision and recall of a boundary, and the effect of an edit."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn import metrics as sklearn_metrics

from .bootstrap import as_numpy


class PrecisionRecall(NamedTuple):
    """Precision [K + 1] and recall [K + 1] at falling recall, thresholds [K], average precision."""

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray
    average: float


def precision_recall(scores, labels):
    """Precision-recall curve of `scores` [N] (higher: more likely) for binary `labels` [N].

    Average precision is the sum of precision times the step in recall, in [0, 1]; a score without
    information reaches the share of positives. Section 4.2 and Figure 3 of the paper, where scores
    are distances of inverted codes to a boundary. Raises ValueError where `labels` are not 0 and 1
    with both present, or scores are not finite.
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


def average_precision(scores, labels):
    """Average precision alone, in [0, 1], without checks: the statistic to bootstrap.

    NaN where `labels` hold one class only, as a resample may.
    """
    scores, labels = as_numpy(scores), as_numpy(labels)
    if labels.min() == labels.max():
        return float("nan")
    return float(sklearn_metrics.average_precision_score(labels, scores))


@dataclass(frozen=True)
class EditEffect:
    """What an edit did to each of N images, for A attributes.

    success [N]: 1 where the edit brought the target attribute to the wanted side of 0.5, 0 where it
        did not, NaN where the image had it before (nothing to change);
    probability_change, logit_change [N]: change of the target, positive in the wanted direction;
    absolute_change [N, A]: |change of probability|; flipped [N, A]: 1 where the classifier's answer
        changed. The target's own column is NaN in both, so that means are over the others.
    """

    success: np.ndarray
    probability_change: np.ndarray
    logit_change: np.ndarray
    absolute_change: np.ndarray
    flipped: np.ndarray

    def summary(self):
        """Means over images: success_rate, probability_change and logit_change are numbers,
        absolute_change and flip_rate are [A] with NaN for the target."""
        return {
            "success_rate": _mean(self.success),
            "probability_change": _mean(self.probability_change),
            "logit_change": _mean(self.logit_change),
            "absolute_change": self.absolute_change.mean(0),
            "flip_rate": self.flipped.mean(0),
        }


def edit_effect(before, after, target, direction=1):
    """Attribute change and preservation of an edit, as `EditEffect`.

    `before` and `after` [N, A]: a classifier's probabilities in [0, 1] for the same images before
    and after; `target`: column of the edited attribute; `direction`: +1 if the attribute is wanted,
    -1 if its absence is. Logits are taken of probabilities clipped to [1e-6, 1 - 1e-6]. Raises
    ValueError for other shapes or ranges.
    """
    before, after = _probabilities(before), _probabilities(after)
    if before.shape != after.shape:
        raise ValueError(f"Probabilities must match, found {before.shape} and {after.shape}.")
    if not 0 <= target < before.shape[1] or direction not in (1, -1):
        raise ValueError(f"No target {target} with direction {direction} in {before.shape[1]}.")
    had, has = ((p[:, target] > 0.5) == (direction > 0) for p in (before, after))
    absolute = np.abs(after - before)
    flipped = ((after > 0.5) != (before > 0.5)).astype(float)
    absolute[:, target] = flipped[:, target] = np.nan
    return EditEffect(
        success=np.where(had, np.nan, has.astype(float)),
        probability_change=direction * (after - before)[:, target],
        logit_change=direction * (_logit(after) - _logit(before))[:, target],
        absolute_change=absolute,
        flipped=flipped,
    )


def _probabilities(values):
    values = as_numpy(values).astype(float)
    if values.ndim != 2 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"Probabilities must be [N, A] within [0, 1], found shape {values.shape}.")
    return values


def _logit(p):
    p = p.clip(1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))


def _mean(values):
    """Mean of the values that are not NaN; NaN if there are none."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else float("nan")
