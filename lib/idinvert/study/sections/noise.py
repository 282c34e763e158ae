"""Section 6.3: encoders that predict noise maps besides codes (Table 6, Figure 13)."""

from __future__ import annotations

from itertools import pairwise

from idinvert.metrics import bootstrap
from idinvert.study import claims, logs, scores
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


def loss_claims(domain: str, repeated: dict[str, str]) -> list[dict]:
    """C25: the training loss is lower the more blocks are replaced, over repetitions of the
    encoders {variant: name}: the pixel term falls on the whole with each block, and is lower
    throughout with all of them than with one."""
    found = [variant for variant in VARIANTS if variant in repeated]
    if len(found) < 2:
        return []
    title, paper = logs.TITLES["pixel"], "lower and lower (Fig. 14a)"
    rows = [claims.row("C25", f"{domain}: {title} lower in {VARIANTS[more]} than in "
                       f"{VARIANTS[fewer]} on the whole", paper,
                       logs.mean_gap("pixel", repeated[fewer], repeated[more]))
            for fewer, more in pairwise(found)]
    first, last = found[0], found[-1]
    return [*rows, claims.row("C25", f"{domain}: {title} lower in {VARIANTS[last]} than in "
                              f"{VARIANTS[first]} throughout", paper,
                              logs.smallest_gap("pixel", repeated[first], repeated[last]))]


def training_claims(domain: str, names: dict[str, str]) -> list[dict]:
    """C25 by the trainings of Table 6 themselves, which are longer, and one of each encoder
    {variant: name}: the unit of the interval is a stretch of the log."""
    return [claims.row("C25", f"{domain}: {logs.TITLES['pixel']} lower in {VARIANTS[more]} than in "
                       f"{VARIANTS[fewer]}, stretches of one training", "lower and lower "
                       "(Fig. 14a)", logs.gap_in_one_training("pixel", names[fewer], names[more]))
            for fewer, more in pairwise(names)]
