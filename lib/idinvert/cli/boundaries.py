"""Fit boundaries of attributes to labelled images.

    idinvert boundaries --model mine --labels labels.csv --images photos/

fits, for every column of 0 and 1 in the CSV file, the boundary between the codes of both groups of
images, adds it to the boundaries of the model, and prints its accuracy on codes that were held out.
`idinvert edit` then takes the attribute by the column's name, for instance smile=2.

    idinvert boundaries --model mine --unsupervised 5 --layers 2 3

needs no labels: it adds the five directions, sefa-1 to sefa-5, that change most of what these
layers render (SeFa). What that is, you see in `idinvert edit photo.png sefa-1=3`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import torch
from tyro.conf import create_mutex_group

from idinvert import boundaries, devices, models
from idinvert.boundaries import Boundary, labelled, sefa
from idinvert.boundaries.boundary import check_layers
from idinvert.data import open_source
from idinvert.data.sources import text
from idinvert.inversion.inverted import inverted_codes
from idinvert.inversion.model import Model
from idinvert.models import importing
from idinvert.photographs import faces_of
from idinvert.settings import Seed, Whole
from idinvert.training.images import FEWEST_LABELS

from . import UsageError, check_writable, given, read_options
from ._origins import warn_of_codes, warn_of_encoder

Where = create_mutex_group(required=False, title="where the codes come from")


@dataclass(frozen=True)
class Command:
    model: str
    """generator, see `idinvert models`"""
    labels: Path | None = None
    """CSV: a column 'image', and one of 0 and 1 for each attribute"""
    images: Annotated[Path | None, Where] = None
    """folder, zip or LMDB of the labelled images, or photographs, which the encoder encodes"""
    inverted: Annotated[Path | None, Where] = None
    """folder that `idinvert invert` wrote for these images: its codes are taken"""
    encoder: str | None = None
    """encoder of --images; MODEL-base if not given"""
    unsupervised: Whole = 0
    """add so many directions that need no labels"""
    space: Literal[boundaries.SPACES] = "whole"
    """one plane for all layers, or one for each"""
    layers: tuple[int, ...] = ()
    """layers that the boundary moves, counted from 0; all if not given"""
    seed: Seed = 0
    """chooses the held-out codes"""
    replace: bool = False
    """replace boundaries that the model has under the same names"""
    device: str = "auto"
    """cuda if there is one, else cpu"""


def main(arguments: list[str]) -> None:
    """Fit the boundaries and save them."""
    options = read_options(Command, arguments, __name__, __doc__)
    if bool(options.labels) == bool(options.unsupervised):
        raise UsageError("give either --labels or --unsupervised.")
    if options.labels and not (options.images or options.inverted):
        raise UsageError("--labels needs --images or --inverted, where the codes come from.")
    refuse_unused(options)
    check_writable(models.folder())
    for boundary in (fit_labels if options.labels else fit_unsupervised)(options):
        print(f"{boundary.name:24} " + ("" if math.isnan(boundary.accuracy) else
                                        f"accuracy {boundary.accuracy:.3f} on held-out codes"))


def refuse_unused(options: Command) -> None:
    """UsageError if an option is given that has no effect beside the others."""
    unused = dict.fromkeys(("encoder", "device"), "--inverted") if options.inverted else {}
    if options.unsupervised:
        unused = dict.fromkeys(("images", "inverted", "encoder", "space", "seed", "device"),
                               "--unsupervised")
    for name in given(options):
        if name in unused:
            raise UsageError(f"{unused[name]} does not use --{name}: leave it out.")


def fit_labels(options: Command) -> list[Boundary]:
    """A boundary for each column of the labels that enough images have, and lack."""
    labels = labelled.read_labels(options.labels)
    check_layers(options.layers, models.load_working(options.model).num_layers, "--layers")
    check_names(options, list(labels))
    codes, labels = codes_of(options, labels)
    fitted = labelled.fit_labels(codes, enough(labels), options.space, options.layers or None,
                                 options.seed)
    save(options, fitted)
    return fitted


def fit_unsupervised(options: Command) -> list[Boundary]:
    """As many directions as --unsupervised says."""
    generator = models.check_generator(options.model, models.load(options.model))
    layers = options.layers or range(len(generator.layers))
    fitted = sefa.fit(generator, layers, options.unsupervised)
    save(options, fitted)
    return fitted


def save(options: Command, fitted: list[Boundary]) -> None:
    """Add boundaries of the generator that was loaded to those of the model; errors as
    `check_names`, for another command may have added some meanwhile."""
    made_for = models.loaded[options.model]
    with importing.adding():
        check_names(options, [boundary.name for boundary in fitted])
        models.save_boundaries(
            options.model, [replace(found, generator=made_for) for found in fitted], add=True)


def codes_of(options: Command, labels: pd.DataFrame) -> tuple[torch.Tensor, pd.DataFrame]:
    """Codes [N, L, D] of the labelled images, and their labels; images are only encoded if there
    are `enough`."""
    if options.inverted:
        codes, names = inverted_codes(options.inverted)
        check_codes(codes, options)
        pairs = matched(labels, names)
        kept = [i for i, name in enumerate(names) if name in pairs]
        return codes[kept], labels.loc[[pairs[names[i]] for i in kept]]
    source = faces_of(open_source(options.images), options.model)
    if source.others:
        print(f"idinvert boundaries: {source.left_out()}", file=sys.stderr)
    pairs = matched(labels, source.names)
    chosen = {} if options.encoder is None else {"encoder": options.encoder}
    model = Model(options.model, devices.pick(options.device), **chosen)
    if options.encoder is not None:
        warn_of_encoder(options.encoder, options.model)
    labels = enough(labels.loc[list(pairs.values())])
    codes, names, errors = labelled.encoded_codes(model.encoder, source, list(pairs))
    for error in errors:
        print(f"idinvert boundaries: left out: {text(str(error))}", file=sys.stderr)
    return codes, labels.loc[[pairs[name] for name in names]]


def enough(labels: pd.DataFrame) -> pd.DataFrame:
    """The attributes that enough images have, and lack; says which others are left out.
    ValueError: there are no such attributes."""
    few = {}
    for name in labels:
        positive, known = int(labels[name].sum()), int(labels[name].count())
        if min(positive, known - positive) < FEWEST_LABELS:
            few[name] = (f"Attribute {name!r} has {positive} positive and {known - positive} "
                         f"negative images: {FEWEST_LABELS} of each are needed.")
    if len(few) == len(labels.columns):
        raise ValueError(next(iter(few.values())))
    for sentence in few.values():
        print(f"idinvert boundaries: left out: {sentence}", file=sys.stderr)
    return labels.drop(columns=list(few))


def check_codes(codes: torch.Tensor, options: Command) -> None:
    """ValueError unless there are codes [N, L, D] of the model; a warning if they are of another
    one."""
    if not len(codes):
        raise ValueError(f"{options.inverted} has no image that was inverted without diverging.")
    shape = tuple(models.load_working(options.model).w_avg.shape)
    if codes.shape[1:] != shape:
        raise ValueError(f"{options.inverted} has codes of {tuple(codes.shape[1:])} layers and "
                         f"dimensions, but {options.model} takes {shape}.")
    warn_of_codes(options.inverted, options.model)


def matched(labels: pd.DataFrame, names: Sequence[str]) -> dict[str, str]:
    """As `labelled.match`; says how many images have no label, and how many labels no image."""
    pairs = labelled.match(labels, names)
    for everything, what, lack in ((names, "images", "label"), (labels, "labels", "image")):
        if left := len(everything) - len(pairs):
            print(f"idinvert boundaries: {left} of {len(everything)} {what} have no {lack} and are "
                  "left out.", file=sys.stderr)
    return pairs


def check_names(options: Command, names: list[str]) -> None:
    """ValueError if a boundary would be overwritten, or has no name."""
    fitted = models.companions(options.model, "boundaries")
    known = models.load_boundaries(options.model) if fitted else {}
    for name in names:
        importing.check_attribute(name)
        if name in known and not options.replace:
            other = "name the column differently, or take " if options.labels else "take "
            raise ValueError(f"{options.model} has a boundary {name!r}: {other}--replace.")
