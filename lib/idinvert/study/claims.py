"""Verdicts on the paper's claims: direction of a difference, and whether its interval agrees."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from idinvert.metrics.bootstrap import Estimate

PAPER_TABLES = Path(__file__).with_name("paper_tables.csv")  # the numbers of Tables 1 to 7


def verdict(ours: Estimate, equal: float = 0.0) -> str:
    """Verdict on "ours > equal": by the side on which the whole 95 % interval lies.

    "reproduced", "contradicted", or "not resolved" if `equal` is inside.
    """
    if ours.low > equal:
        return "reproduced"
    return "contradicted" if ours.high < equal else "not resolved"


def row(claim: str, text: str, paper: str, ours: Estimate, equal: float = 0.0) -> dict:
    """One row of "Paper and ours"; the claim says that `ours` is above `equal`: 0 for a difference,
    1 for a ratio."""
    return {"claim": claim, "what": text, "paper": paper, "ours": ours.value, "low": ours.low,
            "high": ours.high, "verdict": verdict(ours, equal)}


def frame(rows: list[dict]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(rows)


# Our names of methods and metrics -> those of the paper's tables.
PAPER_NAMES = {"conventional": "conventional_encoder", "domain-guided": "domain_guided_encoder",
               "in-domain": "in_domain_inversion", "fd": "fid"}


def paper_table(number: int) -> pd.DataFrame:
    """The paper's Table `number` in long form: dataset, generator, method, task, metric, value."""
    table = pd.read_csv(PAPER_TABLES)
    return table[table["table"] == number]


def paper_value(table: pd.DataFrame, domain: str, method: str, metric: str,
                task: str = "reconstruction") -> float:
    """One number of the paper; NaN where it has none (KID)."""
    wanted = {"dataset": domain, "method": PAPER_NAMES.get(method, method), "task": task,
              "metric": PAPER_NAMES.get(metric, metric)}
    found = table[(table[list(wanted)] == pd.Series(wanted)).all(axis=1)]["value"]
    return float(found.iloc[0]) if len(found) else float("nan")


def paper_gain(table: pd.DataFrame, domain: str, better: str, worse: str, metric: str,
               task: str = "reconstruction") -> str:
    """The paper's two numbers of a comparison, "worse -> better"; KID stands beside its FID."""
    name = "fd" if metric == "kid" else metric
    numbers = [paper_value(table, domain, method, name, task) for method in (worse, better)]
    shown = " -> ".join(f"{number:g}" for number in numbers)
    return f"FID {shown}" if name == "fd" else shown
