"""Subjects: for each domain of a study, a generator with its networks, and test images.

A profile lists its subjects; without a list they are the embedded worlds. Paths in a profile may
hold variables of the environment, and relative ones start at the profile's folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import torch
from torch import Tensor

from idinvert import data
from idinvert.boundaries import labelled
from idinvert.data import sources
from idinvert.files import present
from idinvert.models import companion_name, importing
from idinvert.settings import SettingsError, read, settings

if TYPE_CHECKING:
    from .networks import Models


class SubjectError(ValueError):
    """A subject that the profile does not have; the message names those that it has."""


@settings
class Entry:
    """A subject as a profile lists it, under the name of its domain."""

    generator: str
    classifier: str | None = None  # None: GENERATOR-classifier
    images: Path | None = None  # folder, zip or LMDB; None: the test images of the embedded world
    split: Literal["ffhq", "lsun", "all"] = "all"  # which images are the test images
    labels: Path | None = None  # CSV as in `boundaries.labelled`; None: the classifier's opinion
    files: tuple[Path, ...] = ()  # published files that the models are imported from


@dataclass(frozen=True)
class Subject:
    """One domain: its models by name, and where its own images are if it is no embedded world."""

    domain: str
    generator: str
    classifier: str
    images: Path | None = None
    split: str = "all"
    labels: Path | None = None
    files: tuple[Path, ...] = ()

    def prepare(self) -> None:
        """Import published files that the registry lacks; FileNotFoundError if a path is wrong."""
        importing.import_missing(self.files, self.generator)
        for path, what in ((self.images, "test images"), (self.labels, "labels")):
            if path is not None:
                present(path, f"{what} of {self.domain}")

    def photos(self, size: int, start: int | None = None, stop: int | None = None) -> Tensor:
        """Test images from `start` to `stop` (default: all), [N, 3, size, size] in [-1, 1]."""
        if self.images is None:
            return data.to_float(data.load(self.domain, "test", size=size).images[start:stop])
        source, names = self.listed()
        return data.to_float(read_named(source, names[start:stop], size)[0])

    def test(self, models: Models, count: int | None = None) -> LabelledImages:
        """The first `count` test images (default: all) with their labels.

        Of one's own images, those that lack a label are left out. ValueError: there are fewer, or
        nothing tells labels.
        """
        size = models.generator.resolution
        if self.images is None:
            split = data.load(self.domain, "test", count, size)
            return LabelledImages(split.images, data.binary_labels(split.labels, self.domain))
        source, names = self.listed()
        if self.labels is None:
            images, _ = read_named(source, names[:count], size)
            labels = opinions(models, images)
        else:
            table = labelled.read_labels(self.labels).dropna().astype("int64")
            pairs = labelled.match(table, names)
            images, kept = read_named(source, list(pairs)[:count], size)
            labels = table.loc[[pairs[name] for name in kept]].reset_index(drop=True)
        if len(images) < (count or 1):
            raise ValueError(f"{self.domain} has {len(images)} test images, fewer than {count}.")
        known = [name for name in labels if name in models.boundaries]
        return LabelledImages(images, labels[known])

    def listed(self) -> tuple[sources.Source, list[str]]:
        """Where one's own images are, and the names of the test images."""
        source = sources.open_source(self.images)
        _, index = sources.split(len(source.names), self.split)
        return source, [source.names[i] for i in index] or list(source.names)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images uint8 [N, 3, H, W] and a column of 0 and 1 for each attribute that is known."""

    images: Tensor
    labels: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)

    def floats(self, start: int | None = None, stop: int | None = None) -> Tensor:
        """A part of the images, in [-1, 1]."""
        return data.to_float(self.images[start:stop])


def of_profile(listed: Any, folder: Path) -> dict[str, Subject]:
    """The subjects of a profile by domain; `listed` is its list, `folder` where it lies.

    SettingsError: a subject lacks its generator or its images, or has an unknown setting.
    """
    if listed is None:
        return {d: Subject(d, f"{d}-stylegan-layerwise", companion_name(d, "classifier"))
                for d in data.DOMAINS}
    if not isinstance(listed, dict):
        raise SettingsError(f"The subjects should be listed by domain, not {listed!r:.40}.")
    return {str(domain): subject(str(domain), entry, folder) for domain, entry in listed.items()}


def ready(described: dict[str, Subject]) -> dict[str, Subject]:
    """The subjects whose files are there; the others are left out with a line that says why.

    FileNotFoundError: nothing is left.
    """
    found, reasons = {}, []
    for domain, subject in described.items():
        try:
            subject.prepare()
            found[domain] = subject
        except FileNotFoundError as error:
            print(f"{domain} is left out: {error}")
            reasons.append(error)
    if reasons and not found:
        raise reasons[0]
    return found


def subject(domain: str, listed: Any, folder: Path) -> Subject:
    """One subject of a profile."""
    entry = read(Entry, listed, f"Subject {domain!r}")
    if entry.images is None and domain not in data.DOMAINS:
        raise SettingsError(f"Subject {domain!r}: its test images are missing (images: PATH); only "
                            f"{', '.join(data.DOMAINS)} have embedded ones.")
    classifier = entry.classifier or companion_name(entry.generator, "classifier")
    return Subject(domain, entry.generator, classifier, located(entry.images, folder),
                   entry.split, located(entry.labels, folder),
                   tuple(located(path, folder) for path in entry.files))


def located(path: Path | None, folder: Path) -> Path | None:
    """A path of a profile that lies in `folder`, its variables of the environment filled in."""
    return path and folder / Path(os.path.expandvars(path)).expanduser()


def read_named(source: sources.Source, names: list[str], size: int) -> tuple[Tensor, list[str]]:
    """One's own images and the names of those that can be read; the others are told."""
    images, kept, errors = sources.load_images(source, size, names)
    for error in errors:
        print(f"left out: {error}")
    return images, kept


def opinions(models: Models, images: Tensor) -> pd.DataFrame:
    """Labels by the classifier, as the paper takes them."""
    if models.classifier is None:
        raise ValueError("Nothing tells the labels of the test images: give the profile a CSV file "
                         "(labels), or train an attribute classifier "
                         "(idinvert.training classifier).")
    device = next(models.generator.parameters()).device
    seen = [models.probabilities(data.to_float(x).to(device)).cpu() for x in images.split(64)]
    return pd.DataFrame((torch.cat(seen) > 0.5).long().numpy(), columns=models.attributes)
