"""What the notebooks share: profiles, tables, figures, and the paper beside ours."""

from .run import Run, begin

__all__ = ["Run", "begin"]
