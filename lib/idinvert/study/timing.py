"""Seconds that something takes, with an interval over runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from idinvert.metrics import bootstrap
from idinvert.metrics.bootstrap import Estimate


def now() -> float:
    """The clock, in seconds, when the GPU has done what it was told too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def elapsed(work: Callable, *arguments) -> float:
    """Seconds that a call takes, on the GPU too."""
    start = now()
    work(*arguments)
    return now() - start


def median_seconds(repeats: int, work: Callable, *arguments) -> Estimate:
    """Median of `repeats` runs (at least 6) and its interval by order statistics.

    What happens in a first run alone must have happened before.
    """
    return bootstrap.median([elapsed(work, *arguments) for _ in range(repeats)])
