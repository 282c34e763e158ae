"""Verdicts, their p-values, and Holm's correction over all notebooks."""

import numpy as np
import pandas as pd
import pytest
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims
from scipy import stats


@pytest.mark.parametrize("estimate, expected", [
    (Estimate(1, 0.2, 2), "reproduced"),
    (Estimate(1, -0.2, 2), "not resolved"),
    (Estimate(-1, -2, -0.1), "contradicted"),
    (Estimate(1, np.nan, np.nan), "not resolved"),  # of one image
])
def test_verdict(estimate, expected):
    row = claims.row("C1", "a", "b", estimate)
    assert claims.verdict(estimate) == row["verdict"] == expected
    assert (row["p"] < 0.05) == (expected != "not resolved")


def test_p_value_is_that_of_the_normal_distribution():
    half = stats.norm.ppf(0.975) * 2.0  # of a standard error of 2
    for value in (0.5, 3.0, -7.0):
        found = claims.p_value(Estimate(value, value - half, value + half))
        assert found == pytest.approx(2 * stats.norm.sf(abs(value) / 2))
        ratio = claims.p_value(Estimate(value + 1, value + 1 - half, value + 1 + half), equal=1.0)
        assert ratio == pytest.approx(found)


def test_p_value_takes_the_side_towards_the_bound_and_that_of_the_resamples():
    assert claims.p_value(Estimate(2, 1, 9)) == claims.p_value(Estimate(2, 1, 3))
    assert claims.p_value(Estimate(-2, -9, -1)) == claims.p_value(Estimate(-2, -3, -1))
    assert claims.p_value(Estimate(1, 1, 1, p=0.01)) == 0.01
    assert claims.p_value(Estimate(0, 0, 0)) == 1
    assert claims.p_value(Estimate(5, 5, 5)) == 0


@pytest.mark.parametrize("estimate", [
    Estimate(1.0, 1.2, 2.0), Estimate(0.5, -2.0, -0.1), Estimate(0.1, 0.1 + 2e-17, 0.1 + 2e-17),
    Estimate(np.nextafter(0.3, 0), 0.3, 0.3), Estimate(0.5, -2.0, 0.1)])
def test_p_value_agrees_with_the_verdict_where_the_estimate_is_outside_its_interval(estimate):
    found = claims.p_value(estimate)
    assert 0 <= found <= 1
    assert (found < 0.05) == (claims.verdict(estimate) != "not resolved")


def test_holm_by_hand():
    """0.01 <= 0.05 / 4, 0.012 <= 0.05 / 3, 0.03 > 0.05 / 2, and so 0.0251 / 1 falls with it."""
    assert claims.holm([0.03, 0.01, 0.04, 0.012]).tolist() == [False, True, False, True]
    assert claims.holm([0.01, np.nan]).tolist() == [True, False]
    assert claims.holm([0.03, np.nan]).tolist() == [False, False]  # a NaN counts among them
    assert claims.holm([]).tolist() == []


def test_holm_errs_in_at_most_one_of_twenty_studies():
    rng = np.random.default_rng(0)
    studies = rng.uniform(size=(2000, 100))
    assert np.mean([claims.holm(p).any() for p in studies]) == pytest.approx(0.05, abs=0.015)
    assert (studies < 0.05).any(1).mean() > 0.99  # without a correction nearly every one does


@pytest.fixture
def tables(tmp_path):
    """Two notebooks: four rows of claims, one of none; the strong ones stand, the weak do not."""
    strong, weak, none = Estimate(10, 8, 12), Estimate(2, 0.1, 3.9), Estimate(0.1, -1, 1.2)
    first = [claims.row("C1", "a", "-", strong), claims.row("C1", "b", "-", weak),
             claims.row("-", "c", "-", strong)]
    second = [claims.row("C2", "d", "-", Estimate(-10, -12, -8)), claims.row("C2", "e", "-", none)]
    claims.frame(first).to_csv(tmp_path / "02_paper_and_ours.csv", index=False)
    claims.frame(second).to_csv(tmp_path / "04_paper_and_ours.csv", index=False)
    pd.DataFrame({"id": ["C1", "C2", "C3"]}).to_csv(tmp_path / "claims.csv", index=False)
    return tmp_path


def test_summary_counts_before_and_after_the_correction(tables):
    found = claims.summary(tables, tables / "claims.csv")
    assert (found.claims, found.measured, found.comparisons, found.rows) == (3, 2, 4, 5)
    assert found.before == {"reproduced": 2, "not resolved": 1, "contradicted": 1}
    assert found.after == {"reproduced": 1, "not resolved": 2, "contradicted": 1}
    assert str(found) == (
        "2 of the paper's 3 claims are measured, in 4 comparisons: 2 reproduced, 1 not resolved, "
        "1 contradicted; after Holm's correction for the number of comparisons: 1 reproduced, "
        "2 not resolved, 1 contradicted.")
    rows = claims.read_verdicts(tables)
    assert list(rows["notebook"]) == ["02"] * 3 + ["04"] * 2
    assert list(rows["after Holm"]) == ["reproduced", "not resolved", "reproduced", "contradicted",
                                        "not resolved"]


def test_tables_without_p_values_have_nothing_that_stands(tables):
    path = tables / "02_paper_and_ours.csv"
    pd.read_csv(path).drop(columns="p").to_csv(path, index=False)
    found = claims.summary(tables, tables / "claims.csv")
    assert found.before["reproduced"] == 2 and found.after["reproduced"] == 0
    assert claims.summary(tables / "nothing", tables / "claims.csv").comparisons == 0
