"""What the notebooks share: profiles, runs, comparisons and their statistics, figures.

    run = study.begin("06_tradeoff", profile="embedded", num_images=8)
    run.table("fig10", frame)
    run.figure("fig10", figures.curves(frame, ...))
    run.finish()
"""

from .profiles import NOTEBOOKS
from .run import Run, begin

__all__ = ["NOTEBOOKS", "Run", "begin"]
