"""The boundaries of a generator: nothing is trained step by step, codes are sampled and judged."""

from __future__ import annotations

from dataclasses import KW_ONLY
from typing import ClassVar

from idinvert import models
from idinvert.boundaries import Boundary, svm
from idinvert.codes import sample_codes
from idinvert.settings import Count, NotNegative, Share, settings

from .entries import Entry, task


@settings
class Recipe:
    """How boundaries are fitted."""

    samples: Count = 10_000  # codes that the classifier judges
    share: Share = 0.1  # of the codes, with the highest and with the lowest scores each, is used


@task("boundaries")
class BoundariesEntry(Entry):
    """The boundaries of a generator, one for each attribute of its classifier."""

    generator: str
    classifier: str
    _: KW_ONLY
    kimg: NotNegative = 0
    recipe: Recipe = Recipe()

    role: ClassVar[str] = "boundaries"

    def fit(self, device: str = "cpu") -> list[Boundary]:
        """Fit and publish the boundaries."""
        generator = models.load(self.generator, device)
        codes = sample_codes(generator, self.recipe.samples)
        scores = svm.score(generator, models.load(self.classifier, device), codes, progress=True)
        fitted = [svm.fit(codes.cpu(), scores[:, i], self.recipe.share, name=attribute)
                  for i, attribute in enumerate(models.card(self.classifier)["attributes"])]
        models.save_boundaries(self.generator, fitted)
        return fitted
