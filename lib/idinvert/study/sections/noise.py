"""Section 6.3: encoders that predict noise maps besides codes (Table 6, Figure 13)."""

from __future__ import annotations

import torch

from idinvert.metrics import bootstrap, pixel
from idinvert.study import claims, scores
from idinvert.study.scores import Seen

from .encoders import Encoded

VARIANTS = {f"b{k}": f"B-{k}" for k in range(1, 6)}


def noise_claims(domain: str, found: dict[str, Encoded], real: Seen, others: Seen) -> list[dict]:
    """C23 and C24: with each block of noise maps MSE falls and SSIM rises, the MSE by a factor of
    over 100 from first to last, while interpolations get worse."""
    levels, images = range(len(found)), [encoded.images for encoded in found.values()]
    mse, ssim = (torch.stack([metric(x.images, real.images) for x in images], 1)
                 for metric in (pixel.mse, pixel.ssim))
    falls = scores.scaled(scores.trend(levels, mse), -1)
    rises = scores.trend(levels, ssim)
    factor = bootstrap.interval(lambda e: e[:, 0].mean() / e[:, -1].mean(), mse)
    between = [encoded.between.features for encoded in found.values()]
    worse = scores.kid_trend(levels, between, others.features)
    return [
        claims.row("C23", f"{domain}: each block of noise maps lowers the MSE", "falls (Tab. 6)",
                   falls),
        claims.row("C23", f"{domain}: each block of noise maps raises the SSIM", "rises (Tab. 6)",
                   rises),
        claims.row("C23", f"{domain}: MSE of the first over that of the last", "over 100", factor,
                   equal=100.0),
        claims.row("C24", f"{domain}: interpolations get worse with each block, KID", "FID rises "
                   "(Tab. 6)", worse),
    ]
