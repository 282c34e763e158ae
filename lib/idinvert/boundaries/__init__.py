"""InterFaceGAN boundaries (Shen et al. 2020): a hyperplane in the space of codes, and its normal, an
editing direction.

`Boundary` and its files are here; `svm` fits one to scored samples, `labelled` to images with labels.
"""

from .boundary import SPACES, Boundary, condition
from .files import load, save

__all__ = ["SPACES", "Boundary", "condition", "load", "save"]
