"""Images of one's own as training images."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Literal

import pandas as pd
from torch import Tensor

from idinvert.boundaries import labelled
from idinvert.data import load_images, open_source
from idinvert.data.sources import split, text
from idinvert.models.importing import check_attribute
from idinvert.processes import ALONE, Share
from idinvert.settings import settings

FEWEST = 16  # images
FEWEST_LABELS = 4  # images of each kind for an attribute


@settings
class OwnImages:
    """Where images are, and for a classifier their labels."""

    path: str  # folder, zip or LMDB
    split: Literal["ffhq", "lsun", "all"] = "all"  # whose training images are taken
    labels: str | None = None  # CSV: a column `image`, and one of 0 and 1 for each attribute
    sided: tuple[str, ...] = ()  # attributes that a mirror image reverses, as a pose to the right

    def load(self, size: int, seed: int = 0, share: Share = ALONE,
             among: Callable[[list[str]], list[str]] = list) -> tuple[Tensor, list[str]]:
        """uint8 images [N, 3, size, size] and their names; unreadable ones are named and left out.

        among: picks those wanted from the names of the training images.
        ValueError: fewer than 16 can be read, or the split needs more.
        """
        source = open_source(self.path)
        if source.others and share.first:
            print(source.left_out(), file=sys.stderr)
        index, _ = split(len(source.names), self.split, seed)
        names = among([source.names[i] for i in index])
        images, kept, errors = load_images(source, size, names, progress=share.first)
        if errors and share.first:
            for error in errors:
                print(f"left out: {text(str(error))}", file=sys.stderr)
            print(f"{len(errors)} images left out, {len(kept)} used", file=sys.stderr)
        if len(images) < FEWEST:
            raise ValueError(f"{self.path} has {len(images)} readable images, but at least "
                             f"{FEWEST} are needed.")
        return images, kept

    def load_labelled(self, size: int, seed: int = 0, share: Share = ALONE
                      ) -> tuple[Tensor, pd.DataFrame, pd.DataFrame]:
        """As `load`, the images that have labels in an order drawn by the seed, with their labels
        and those of their mirror images; N rows of 1, 0 or NaN (not known) each.

        ValueError: labels that cannot be read, lack a column of `sided`, or have an attribute
        without a name, or that fewer than 4 of the images have, or lack.
        """
        if self.labels is None:
            raise ValueError(f"The images of {self.path} have no labels: name their table.")
        labels = labelled.read_labels(self.labels).dropna(how="all")
        for name in self.sided:
            if name not in labels:
                raise ValueError(f"{self.labels} has no column {name!r}.")

        pairs: dict[str, str] = {}

        def shuffled(names: list[str]) -> list[str]:  # the last ones are held out: none of a kind
            pairs.update(labelled.match(labels, names))
            for everything, what, lack in ((names, "images", "label"), (labels, "labels", "image")):
                if left := len(everything) - len(pairs):
                    print(f"{left} of {len(everything)} {what} have no {lack} and are left out.",
                          file=sys.stderr)
            return random.Random(seed).sample(list(pairs), len(pairs))

        images, kept = self.load(size, seed, share, shuffled)
        labels = labels.loc[[pairs[name] for name in kept]]
        for name in labels:
            check_attribute(name)
            positive, known = int(labels[name].sum()), int(labels[name].count())
            if min(positive, known - positive) < FEWEST_LABELS:
                raise ValueError(f"Attribute {name!r} has {positive} positive and "
                                 f"{known - positive} negative images: {FEWEST_LABELS} of each are "
                                 "needed.")
        return images, labels, labels.assign(**{name: 1 - labels[name] for name in self.sided})
