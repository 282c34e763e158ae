"""The boundaries of a generator: nothing is trained step by step, codes are sampled and judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert import models
from idinvert.boundaries import Boundary, regression, sefa, svm
from idinvert.codes import manipulate, sample_codes
from idinvert.data import standins, to_float
from idinvert.settings import Count, NotNegative, Share, settings

from . import faces
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
        models.save_boundaries(self.generator, fitted, add=True)
        return fitted


# Layers of `ffhq` that are moved for an attribute: those in which it is, and little else of a face
LAYERS = {"age": range(8), "gender": range(8), "smile": range(3, 7), "eyeglasses": range(5),
          "pose": range(8)}
STEP = 2.0  # along a boundary, to see what it changes
# Directions of `ffhq` that need no score, by what they are seen to change: layers, number and sign
SEEN = {"hair_length": (range(2, 4), 4, -1), "hair_brightness": (range(6, 8), 3, -1),
        "hard_light": (range(6, 8), 4, 1), "warm_light": (range(8, 12), 5, 1)}


def seen(generator: nn.Module) -> Iterator[Boundary]:
    """The boundaries of SEEN."""
    for name, (layers, number, sign) in SEEN.items():
        found = sefa.fit(generator, layers, number)[-1]
        yield replace(found, name=name, normal=sign * found.normal,
                      intercept=sign * found.intercept)


def changes(generator: nn.Module, fitted: list[Boundary], codes: Tensor) -> Tensor:
    """By how much a step along each of the boundaries changes each score, [A, A]: means over codes
    [N, L, D] that are moved by STEP to either side."""
    rows, codes = [], codes.to(generator.w_avg.device)
    for boundary in tqdm(fitted, "changes"):
        more, less = (standins.render(generator, list(manipulate(codes, boundary.direction, step)))
                      for step in (STEP, -STEP))
        change = faces.scores(to_float(more["images"])) - faces.scores(to_float(less["images"]))
        rows.append(change.mean(0) / (2 * STEP))
    return torch.stack(rows)


@task("boundaries_of_photographs")
class PhotographBoundariesEntry(BoundariesEntry):
    """The boundaries of a generator of photographs, scored by what packages carry: see `faces`."""

    classifier: str | None = None
    stand_ins: Count = 1000  # images that are scored
    people: Count = 32  # plain samples that are moved, to see what else changes

    def fit(self, device: str = "cpu") -> list[Boundary]:
        """Fit and publish the boundaries."""
        generator = models.load(self.generator, device)
        found = standins.load(self.generator, generator, "train", self.stand_ins)
        judged = [faces.scores(to_float(part)) for part in tqdm(found.images.split(20), "scores")]
        scores = dict(zip(faces.ATTRIBUTES, torch.cat(judged).T))
        fitted = regression.fit(found.codes, scores, LAYERS)
        seen_to_change = changes(generator, fitted, found.every_second().codes[:self.people])
        fitted = [*regression.apart(fitted, seen_to_change, found.codes, scores), *seen(generator)]
        models.save_boundaries(self.generator, fitted, add=True)
        return fitted
