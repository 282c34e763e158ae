"""Section 4.2, Figure 3: do the codes of real images lie on the right side of the boundaries?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from idinvert.boundaries import Boundary
from idinvert.inversion import METHODS
from idinvert.metrics import bootstrap
from idinvert.metrics.attributes import average_precision, precision_recall
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims, figures, scores


def attributes_of_figure(labels: pd.DataFrame) -> list[str]:
    """The attributes of the paper's Figure 3 that the images have, or else all of theirs."""
    return [a for a in ("age", "gender", "eyeglasses", "pose") if a in labels] or list(labels)


def distances(codes: dict[str, Tensor], boundary: Boundary) -> dict[str, np.ndarray]:
    """Signed distance [N] of each method's codes [N, L, D] to a boundary: the score of Figure 3."""
    return {name: boundary.distance(w).cpu().numpy() for name, w in codes.items()}


def average_precisions(domain: str, codes: dict[str, Tensor], boundaries: dict[str, Boundary],
                       labels: pd.DataFrame) -> pd.DataFrame:
    """Average precision of every attribute by every method, with its interval, beside chance.

    labels: the exact attributes of the images, 0 or 1. Chance is the share of positives.
    """
    rows = []
    for attribute in labels:
        truth = labels[attribute].to_numpy()
        for name, values in distances(codes, boundaries[attribute]).items():
            estimate = bootstrap.interval(average_precision, values, truth)
            rows.append({"domain": domain, "attribute": attribute, "method": name,
                         "images": len(truth), "chance": truth.mean(),
                         **scores.spread({"ap": estimate})})
    return pd.DataFrame(rows)


def separation_gain(codes: dict[str, Tensor], boundary: Boundary, truth: np.ndarray,
         better: str = "in-domain", worse: str = "image2stylegan") -> Estimate:
    """Average precision of one method less that of another, bootstrapped over the same images."""
    values = distances(codes, boundary)
    return bootstrap.interval(
        lambda a, b, t: average_precision(a, t) - average_precision(b, t),
        values[better], values[worse], truth)


def separation_claims(domain: str, codes: dict[str, Tensor], boundaries: dict[str, Boundary],
                   labels: pd.DataFrame, attributes: Sequence[str]) -> list[dict]:
    """Verdicts on C6, one per attribute; and, which the paper does not compare, on the encoder."""
    rows = []
    for claim, worse, theirs in (("C6", "image2stylegan", "curve above (Fig. 3)"),
                                 ("-", "domain-guided", "not compared")):
        for attribute in attributes:
            truth = labels[attribute].to_numpy()
            gain = separation_gain(codes, boundaries[attribute], truth, worse=worse)
            text = (f"{domain}: {attribute} is told better from in-domain codes than from those of "
                    f"{METHODS[worse].title} (average precision)")
            rows.append(claims.row(claim, text, theirs, gain))
    return rows


def separation_curves(codes: dict[str, Tensor], boundaries: dict[str, Boundary],
                      labels: pd.DataFrame, attributes: Sequence[str]) -> Figure:
    """Figure 3: a panel of precision-recall curves for each attribute."""
    panels = []
    for attribute in attributes:
        truth, lines = labels[attribute].to_numpy(), {}
        for name, values in distances(codes, boundaries[attribute]).items():
            curve = precision_recall(values, truth)
            label = f"{METHODS[name].title}, {curve.average:.2f}"
            lines[label] = curve.precision, curve.recall
        panels.append((attribute, truth.mean(), lines))
    return figures.precision_recall_curves(panels)


def cosines(boundaries: dict[str, Boundary]) -> pd.DataFrame:
    """Cosine of the angle between the normals of every two boundaries."""
    normals = torch.stack([b.normal.flatten() for b in boundaries.values()]).double()
    normals = normals / normals.norm(dim=1, keepdim=True)
    return pd.DataFrame(normals @ normals.T, list(boundaries), list(boundaries))
