"""Seconds with intervals that hold what they promise."""

import numpy as np
import pytest
from idinvert.metrics import bootstrap
from idinvert.study import timing
from idinvert.study.encoding import REPEATS as ENCODER_RUNS
from idinvert.study.sections.reconstruction import REPEATS as METHOD_RUNS


@pytest.mark.parametrize("runs", [METHOD_RUNS, ENCODER_RUNS])
def test_interval_of_the_median_covers_it(runs):
    """Of skewed times: in 95 or more of 100 experiments, and not always."""
    rng, experiments = np.random.default_rng(0), 1000
    times = rng.lognormal(size=(experiments, runs))  # of median 1
    found = [bootstrap.median(row) for row in times]
    covered = np.mean([low <= 1 <= high for _, low, high, _ in found])
    assert 0.94 <= covered <= 0.98


def test_times_are_those_of_the_clock(monkeypatch):
    ticks = iter([0, 3, 10, 11, 20, 22, 30, 39, 40, 44, 50, 55])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    assert timing.median_seconds(6, lambda x: x, 1) == bootstrap.Estimate(3.5, 1, 9)


def test_too_few_runs_are_refused():
    with pytest.raises(ValueError, match="6 values or more, found 5"):
        timing.median_seconds(5, lambda: None)
