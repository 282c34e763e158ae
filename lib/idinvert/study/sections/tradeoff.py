"""Section 6.1: reconstruction against editability as lambda_dom grows (Figures 10 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from idinvert.codes import encode, manipulate, render
from idinvert.inversion import InDomain
from idinvert.inversion.cache import cached_codes
from idinvert.metrics import attributes, pixel
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import scores
from idinvert.study.networks import Models
from idinvert.study.scores import Seen

STEP = 0.25  # code units between two steps that `calibrate` tries


@dataclass(frozen=True, eq=False)
class Outcome:
    """One lambda_dom: codes [N, L, D], reconstructions and edited images [N, 3, H, W]."""

    lambda_dom: float
    codes: Tensor
    images: Tensor
    edited: Tensor


def sweep(models: Models, images: Tensor, lambdas: Sequence[float], iterations: int,
          attribute: str, alpha: float) -> list[Outcome]:
    """Invert the images once per lambda_dom (see `cached_codes`), then move the codes by alpha
    towards the attribute."""
    outcomes = []
    for lambda_dom in lambdas:
        method = InDomain(iterations=iterations, lambda_dom=lambda_dom, bf16=True)
        codes = cached_codes(models.model, method, images)
        moved = manipulate(codes, models.boundaries[attribute].direction, alpha)
        outcomes.append(Outcome(lambda_dom, codes, render(models.generator, codes),
                                render(models.generator, moved)))
    return outcomes


def calibrate(models: Models, attribute: str, codes: Tensor, rate: float = 0.6,
              largest: float = 16.0) -> float:
    """Smallest step along a boundary after which `rate` of the codes [N, L, D] show the attribute.

    Only codes whose images lack the attribute count. Steps are tried from small to large, in code
    units: far along the normal images fall apart, and what a classifier says of them means nothing.
    ValueError: unknown attribute, no code lacks it, or not even `largest` suffices.
    """
    target = models.column(attribute)
    lacking = codes[models.probabilities(render(models.generator, codes))[:, target] < 0.5]
    if not len(lacking):
        raise ValueError(f"All {len(codes)} samples show {attribute} already.")

    for alpha in np.arange(1, round(largest / STEP) + 1) * STEP:
        moved = manipulate(lacking, models.boundaries[attribute].direction, float(alpha))
        seen = models.probabilities(render(models.generator, moved))[:, target] > 0.5
        if seen.double().mean() >= rate:
            return float(alpha)
    raise ValueError(f"No step up to {largest} shows {attribute} in {rate:.0%} of the samples.")


def measure(models: Models, targets: Tensor, outcomes: Sequence[Outcome], real: Seen,
            attribute: str) -> pd.DataFrame:
    """One row per lambda_dom, each figure with the ends of its 95 % interval.

    mse of the inversion, KID x 1e3 and FD of the edited images against `real` ones,
    success (of the images in which the classifier misses the attribute, the share in which it sees
    it after the edit), others_moved (mean absolute change of the other attributes' probabilities)
    and code_error, the mean over codes of (w - E(G(w)))^2.
    """
    before = models.probabilities(targets)
    target = models.column(attribute)
    rows = []
    for outcome in outcomes:
        effect = attributes.edit_effect(before, models.probabilities(outcome.edited), target)
        seen = scores.see(models, outcome.edited)
        encoded = encode(models.encoder, outcome.images)
        figures = {
            "mse": scores.per_image(pixel.mse(outcome.images, targets)),
            "kid": scores.score("kid", seen, real, paired=False),
            "fd": scores.score("fd", seen, real, paired=False),
            "success": scores.per_image(effect.success),
            "others_moved": scores.per_image(np.nanmean(effect.absolute_change, 1)),
            "code_error": scores.per_image((outcome.codes - encoded).square().mean((1, 2))),
        }
        rows.append({"lambda_dom": outcome.lambda_dom, "images": len(targets),
                     **scores.spread(figures)})
    return pd.DataFrame(rows)


def mse_trend(targets: Tensor, outcomes: Sequence[Outcome]) -> Estimate:
    """Rank correlation of lambda_dom and MSE."""
    errors = torch.stack([pixel.mse(o.images, targets) for o in outcomes], 1)
    return scores.trend([o.lambda_dom for o in outcomes], errors)


def kid_trend(models: Models, outcomes: Sequence[Outcome], real: Seen) -> Estimate:
    """Rank correlation of lambda_dom and KID of the edited images."""
    seen = [models.features(o.edited) for o in outcomes]
    return scores.kid_trend([o.lambda_dom for o in outcomes], seen, real.features)


def success_trend(models: Models, targets: Tensor, outcomes: Sequence[Outcome],
                  attribute: str) -> Estimate:
    """Rank correlation of lambda_dom and the probability of the wanted attribute after the edit."""
    target = models.column(attribute)
    seen = torch.stack([models.probabilities(o.edited)[:, target] for o in outcomes], 1)
    return scores.trend([o.lambda_dom for o in outcomes], seen)
