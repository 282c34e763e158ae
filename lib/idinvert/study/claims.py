"""Verdicts on the paper's claims: direction of a difference, and whether its interval agrees.

Each verdict by itself errs in one of twenty comparisons without a true difference. `corrected`
says which of them stand after Holm's correction for their number (S. Holm, "A Simple Sequentially
Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 1979), over the rows of all
notebooks: the probability of even one wrong verdict among those is then at most 5 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

from idinvert.metrics.bootstrap import Estimate

from . import scores
from .scores import ImageSet

PAPER_TABLES = Path(__file__).with_name("paper_tables.csv")  # the numbers of Tables 1 to 7
VERDICTS = ("reproduced", "not resolved", "contradicted")
LEVEL = 0.05  # probability of a wrong verdict
Z = NormalDist().inv_cdf(1 - LEVEL / 2)
COLUMNS = ("claim", "what", "paper", "ours", "low", "high", "p", "verdict")


def verdict(ours: Estimate, equal: float = 0.0) -> str:
    """Verdict on "ours > equal": by the side on which the whole 95 % interval lies.

    "reproduced", "contradicted", or "not resolved" if `equal` is inside.

    >>> verdict(Estimate(1.0, 0.2, 2.0)), verdict(Estimate(1.0, -0.2, 2.0))
    ('reproduced', 'not resolved')
    """
    if ours.low > equal:
        return "reproduced"
    return "contradicted" if ours.high < equal else "not resolved"


def p_value(ours: Estimate, equal: float = 0.0) -> float:
    """Two-sided p-value of "ours = equal".

    That of the resamples where the estimate brings it, as trends and training runs do. Otherwise
    the normal approximation from the interval: half its width on the side towards `equal` is 1.96
    standard errors, so that p is below 0.05 exactly where there is a verdict. It does not count
    resamples, since 1,000 of them cannot show the p below 0.0005 that Holm's correction asks of the
    strongest of a hundred comparisons. An estimate outside its own percentile interval counts as
    the middle of that.

    >>> round(p_value(Estimate(2.0, 1.0, 4.0)), 6)
    8.9e-05
    """
    if ours.p is not None and equal == 0:
        return ours.p
    value = ours.value if ours.low <= ours.value <= ours.high else (ours.low + ours.high) / 2
    distance = abs(value - equal)
    half = value - ours.low if value > equal else ours.high - value
    if not distance or not half:
        return 1.0 if not distance else 0.0
    return math.erfc(Z * distance / half / math.sqrt(2))


def row(claim: str, text: str, paper: str, ours: Estimate, equal: float = 0.0) -> dict:
    """One row of "Paper and ours"; the claim says that `ours` is above `equal`: 0 for a difference,
    1 for a ratio."""
    values = (claim, text, paper, ours.value, ours.low, ours.high, p_value(ours, equal),
              verdict(ours, equal))
    return dict(zip(COLUMNS, values))


def nearer(claim: str, text: str, paper: str, metric: str, better: ImageSet, worse: ImageSet,
           real: ImageSet, paired: bool = True) -> dict:
    """The row on "`better` is nearer to `real` than `worse`" by a metric: `scores.advantage`."""
    gain = scores.advantage(metric, better, worse, real, paired)
    return row(claim, f"{text}, {scores.title(metric)}", paper, gain)


def frame(rows: list[dict]) -> pd.DataFrame:
    """The rows as a table."""
    return pd.DataFrame(rows, columns=COLUMNS)


# --- all notebooks together ------------------------------------------------------------------


def holm(p_values) -> np.ndarray:
    """Which of the p-values [M] stand after Holm's correction at 5 %: [M] of bool.

    The k-th smallest stands if it and all smaller ones are at most 0.05 / (M - k + 1); NaN counts
    among the M and does not stand.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [True, False, False]
    """
    values = np.asarray(p_values, float)
    order = np.argsort(values)  # NaN last
    passes = values[order] <= LEVEL / np.arange(len(values), 0, -1)
    stands = np.empty(len(values), bool)
    stands[order] = np.logical_and.accumulate(passes)
    return stands


def read_verdicts(tables: Path) -> pd.DataFrame:
    """The rows of every "Paper and ours" in a folder of tables, with the notebook of each.

    The column `after Holm` has the verdict, "not resolved" where it does not stand the correction
    over all these rows. A table of before p-values were kept has none that stands.
    """
    frames = [pd.read_csv(path).assign(notebook=path.stem.removesuffix("_paper_and_ours"))
              for path in sorted(tables.glob("*_paper_and_ours.csv"))]
    columns = [*COLUMNS, "notebook"]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return corrected(rows.reindex(columns=columns))


def corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with the column `after Holm`: verdicts that stand, others "not resolved"."""
    stands = holm(rows["p"].to_numpy(float))
    return rows.assign(**{"after Holm": rows["verdict"].where(stands, "not resolved")})


@dataclass(frozen=True)
class Summary:
    """What the study found: the numbers that README and the book tell.

    claims: of the paper; measured: those that have a comparison. comparisons: rows that belong to a
    claim; before, after: how many of these have each verdict, by itself and after Holm's correction
    over all `rows`, those included that the paper does not claim.
    """

    claims: int
    measured: int
    comparisons: int
    rows: int
    before: dict[str, int]
    after: dict[str, int]

    def __str__(self) -> str:
        """One sentence."""
        before, after = (", ".join(f"{counts[v]} {v}" for v in VERDICTS)
                         for counts in (self.before, self.after))
        return (f"{self.measured} of the paper's {self.claims} claims are measured, in "
                f"{self.comparisons} comparisons: {before}; after Holm's correction for the number "
                f"of comparisons: {after}.")


def summary(tables: Path, claims: Path) -> Summary:
    """The counts of a folder of tables; `claims` is the list of the paper's claims, a CSV file."""
    known, rows = pd.read_csv(claims)["id"], read_verdicts(tables)
    of_claims = rows[rows["claim"].isin(known)]
    before, after = ({v: int((of_claims[column] == v).sum()) for v in VERDICTS}
                     for column in ("verdict", "after Holm"))
    return Summary(len(known), int(known.isin(rows["claim"]).sum()), len(of_claims), len(rows),
                   before, after)


# --- the paper's numbers ---------------------------------------------------------------------

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
    """The paper's two numbers of a comparison, "worse -> better"; KID stands beside its FID.
    Empty where the paper has none, as for a domain of one's own."""
    name = "fd" if metric == "kid" else metric
    numbers = [paper_value(table, domain, method, name, task) for method in (worse, better)]
    if all(map(math.isnan, numbers)):
        return ""
    shown = " -> ".join(f"{number:g}" for number in numbers)
    return f"FID {shown}" if name == "fd" else shown
