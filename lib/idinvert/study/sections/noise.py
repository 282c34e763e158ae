"""Section 6.3: encoders that predict noise maps besides codes (Table 6, Figure 13)."""

from __future__ import annotations

from idinvert.metrics import bootstrap
from idinvert.study import claims, scores
from idinvert.study.encoding import Encoded, stacked
from idinvert.study.scores import ImageSet

VARIANTS = {f"b{k}": f"B-{k}" for k in range(1, 6)}


def noise_claims(domain: str, encoded: dict[str, Encoded], real: ImageSet, others: ImageSet
                 ) -> list[dict]:
    """C23 and C24: with each block of noise maps MSE falls and SSIM rises, the MSE by a factor of
    over 100 from first to last, while interpolations get worse."""
    levels, mse = range(len(encoded)), stacked("mse", encoded, real)
    falls = scores.scaled(scores.trend(levels, mse), -1)
    rises = scores.trend(levels, stacked("ssim", encoded, real))
    factor = bootstrap.interval(lambda e: e[:, 0].mean() / e[:, -1].mean(), mse)
    worse = scores.kid_trend(levels, [one.between for one in encoded.values()], others)
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
