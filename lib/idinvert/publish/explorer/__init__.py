"""The explorer: `Session` inverts and edits one image, `Panel` shows a session in JupyterLab, and
`flip` lets a reader of the published page go through pictures that were made beforehand."""

from .panel import Panel, read_upload
from .pictures import (
    LAMBDAS,
    blends,
    flip,
    picture,
    score_table,
    scores,
    slider,
    still,
)
from .session import Session, Stopped

__all__ = ["LAMBDAS", "Panel", "Session", "Stopped", "blends", "flip", "picture", "read_upload",
           "score_table", "scores", "slider", "still"]
