"""Verdicts on the paper's claims: direction of a difference, and whether its interval agrees."""

from __future__ import annotations

import pandas as pd

from ..metrics.bootstrap import Estimate


def verdict(difference: Estimate) -> str:
    """Verdict on "difference > 0": by the side of zero on which the whole 95 % interval lies.

    "reproduced", "contradicted", or "not resolved" if zero is inside.
    """
    if difference.low > 0:
        return "reproduced"
    return "contradicted" if difference.high < 0 else "not resolved"


def row(claim: str, text: str, paper: str, ours: Estimate) -> dict:
    """One row of "Paper and ours"; `ours` is the quantity that the claim says is positive."""
    return {"claim": claim, "what": text, "paper": paper, "ours": ours.value, "low": ours.low,
            "high": ours.high, "verdict": verdict(ours)}


def frame(rows: list[dict]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(rows)
