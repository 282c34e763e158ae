"""Edits of codes that several notebooks make: steps along a boundary, and images between two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from idinvert.codes import interpolate, manipulate, render

from .networks import StudyModel
from .scores import ImageSet, image_set

STEP = 0.25  # code units between two steps that `calibrate` tries
BATCH = 20  # codes between two looks at how many show an attribute
RING = 3  # images that are each other's partners


class CalibrationError(ValueError):
    """No step along a boundary brings about its attribute; the message says why."""


def calibrate(model: StudyModel, attribute: str, codes: Tensor, rate: float = 0.6,
              largest: float = 16.0) -> float:
    """Smallest step along a boundary after which `rate` of the codes [N, L, D] show the attribute.

    Only codes whose images lack the attribute count. Steps are tried from small to large, in code
    units: far along the normal images fall apart, and what a classifier says of them means nothing.
    CalibrationError: no code lacks it, or not even `largest` suffices, or the classifier does not
    know the attribute.
    """
    try:
        target = model.column(attribute)
    except ValueError as error:
        raise CalibrationError(str(error)) from None
    lacking = codes[model.probabilities(render(model.generator, codes))[:, target] < 0.5]
    if not len(lacking):
        raise CalibrationError(f"All {len(codes)} samples show {attribute} already.")

    for alpha in np.arange(1, round(largest / STEP) + 1) * STEP:
        moved = manipulate(lacking, model.boundaries[attribute].direction, float(alpha))
        if reaches(model, moved, target, rate):
            return float(alpha)
    raise CalibrationError(f"No step up to {largest} shows {attribute} in {rate:.0%} of the "
                           "samples.")


def reaches(model: StudyModel, codes: Tensor, attribute: int, rate: float) -> bool:
    """Whether `rate` of the codes [N, L, D] show the attribute of a column; ends as soon as too
    many do not."""
    missed = 0
    for part in codes.split(BATCH):
        shows = model.probabilities(render(model.generator, part))[:, attribute] > 0.5
        missed += int((~shows).sum())
        if (len(codes) - missed) / len(codes) < rate:
            return False
    return True


def step_sizes(model: StudyModel, names: Sequence[str], samples: Tensor) -> dict[str, float]:
    """The step along each boundary that `calibrate` finds on sampled codes.

    Attributes that no step brings about are left out, each with a line that says so.
    CalibrationError: none is left.
    """
    steps = {}
    for name in names:
        try:
            steps[name] = calibrate(model, name, samples)
        except CalibrationError as error:
            print(f"{name} is left out: {error}")
    if not steps:
        raise CalibrationError(
            f"No step brings about any of {', '.join(names) or 'no attributes'}: the generator or "
            "its boundaries need more training.")
    return steps


# --- halfway between two images ----------------------------------------------------------------


def partners(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """For each of `count` images another one, and the ring [count] to which both belong.

    Images are drawn into rings of three, the last one of up to five, in which each is the partner
    of the one before. What is made of an image and its partner depends on the images of one ring
    alone, so that rings are independent and are what intervals resample.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    other, ring = torch.empty_like(order), torch.empty_like(order)
    rings = max(1, count // RING)
    for number in range(rings):
        start, end = number * RING, count if number == rings - 1 else (number + 1) * RING
        members = order[start:end]
        other[members], ring[members] = members.roll(-1), number
    return other, ring


def halfway(model: StudyModel, codes: Tensor, seed: int = 0) -> ImageSet:
    """Images halfway between each code [N, L, D] and that of its partner; the unit is the ring."""
    other, ring = partners(len(codes), seed)
    between = interpolate(codes, codes[other], steps=1)[:, 0]
    return image_set(model, render(model.generator, between), ring)
