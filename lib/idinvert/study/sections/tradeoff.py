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
from idinvert.study import claims, scores
from idinvert.study.networks import StudyModel
from idinvert.study.scores import ImageSet


@dataclass(frozen=True, eq=False)
class Outcome:
    """One lambda_dom: codes [N, L, D], reconstructions and edited images [N, 3, H, W]."""

    lambda_dom: float
    codes: Tensor
    images: Tensor
    edited: Tensor


def sweep(model: StudyModel, images: Tensor, lambdas: Sequence[float], iterations: int,
          attribute: str, alpha: float, fast: bool = False) -> list[Outcome]:
    """Invert the images once per lambda_dom (see `cached_codes`), `fast` as `Model.invert` does it,
    then move the codes by alpha towards the attribute."""
    outcomes, networks = [], model.fast if fast else model
    for lambda_dom in lambdas:
        method = InDomain(iterations=iterations, lambda_dom=lambda_dom, bf16=True)
        codes = cached_codes(networks, method, images)
        moved = manipulate(codes, model.boundaries[attribute].direction, alpha)
        outcomes.append(Outcome(lambda_dom, codes, render(model.generator, codes),
                                render(model.generator, moved)))
    return outcomes


def measure(model: StudyModel, targets: Tensor, outcomes: Sequence[Outcome], real: ImageSet,
            attribute: str) -> pd.DataFrame:
    """One row per lambda_dom, each figure with the ends of its 95 % interval.

    mse of the inversion, KID x 1e3 and FD of the edited images against `real` ones,
    success (of the images in which the classifier misses the attribute, the share in which it sees
    it after the edit), others_moved (mean absolute change of the other attributes' probabilities)
    and code_error, the mean over codes of (w - E(G(w)))^2.
    """
    before = model.probabilities(targets)
    target = model.column(attribute)
    rows = []
    for outcome in outcomes:
        effect = attributes.edit_effect(before, model.probabilities(outcome.edited), target)
        edited = scores.image_set(model, outcome.edited)
        encoded = encode(model.encoder, outcome.images)
        figures = {
            "mse": scores.per_image(pixel.mse(outcome.images, targets)),
            "kid": scores.score("kid", edited, real, paired=False),
            "fd": scores.score("fd", edited, real, paired=False),
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


def tradeoff_claims(model: StudyModel, targets: Tensor, outcomes: Sequence[Outcome], real: ImageSet,
                    attribute: str) -> list[dict]:
    """Verdicts on C19, and on what the paper does not measure: that the edit is seen more surely.
    """
    lambdas, column = [o.lambda_dom for o in outcomes], model.column(attribute)
    edited = [scores.image_set(model, o.edited) for o in outcomes]
    sure = torch.stack([model.probabilities(o.edited)[:, column] for o in outcomes], 1)
    return [
        claims.row("C19", "MSE of the inversion grows with lambda_dom", "grows (Fig. 10)",
                   mse_trend(targets, outcomes)),
        claims.row("C19", "distance of manipulations to real images falls (KID)",
                   "FID falls (Fig. 10)",
                   scores.scaled(scores.kid_trend(lambdas, edited, real), -1)),
        claims.row("-", "the edit is seen more surely", "not measured",
                   scores.trend(lambdas, sure)),
    ]
