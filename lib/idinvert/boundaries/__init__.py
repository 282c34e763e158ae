"""InterFaceGAN boundaries (Shen et al. 2020): a hyperplane among codes, and its normal, a
direction of editing.

`Boundary` and its files are here; `svm` and `regression` fit one to scored samples, `labelled` to
labelled images, `sefa` to nothing but the generator.
"""

from .boundary import SPACES, Boundary, condition
from .files import by_name, load, save

__all__ = ["SPACES", "Boundary", "by_name", "condition", "load", "save"]
