"""Subjects: for each domain of a study, a generator with its networks, and test images.

A profile lists its subjects; without a list they are the embedded worlds. Paths in a profile may
contain environment variables, and relative paths start at the profile's folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pandas as pd
import torch
from pydantic import BeforeValidator
from torch import Tensor

from idinvert import data
from idinvert.boundaries import labelled
from idinvert.data import sources
from idinvert.files import present
from idinvert.models import ModelsError, companion_name, importing
from idinvert.settings import SettingsError, read, settings

if TYPE_CHECKING:
    from .networks import StudyModel


class SubjectError(ValueError):
    """A subject that the profile does not have; the message lists its subjects."""


def place(given: Any) -> Any:
    """A path as a profile has it, `~` and environment variables filled in; ValueError: nothing is
    left of it, which would be the profile's own folder, or there is no such user."""
    if not isinstance(given, str):
        return given
    path = os.path.expanduser(os.path.expandvars(given))
    if not path.strip():
        raise ValueError("should name a file or folder")
    if path.startswith("~"):
        raise ValueError("should be of a user that there is")
    return path


Place = Annotated[Path, BeforeValidator(place)]


@settings
class Subject:
    """One domain, as a profile lists it: its models, and where its own images are, if it has any.

    Without `images`, those of the embedded world of the domain.
    """

    generator: str
    classifier: str | None = None  # default: GENERATOR-classifier
    images: Place | None = None  # folder, zip or LMDB; None: the test images of the embedded world
    split: Literal["ffhq", "lsun", "all"] = "all"  # which images are the test images
    labels: Place | None = None  # CSV as in `boundaries.labelled`; None: the classifier's opinion
    files: tuple[Place, ...] = ()  # published files that the models are imported from
    domain: str = ""  # the name under which it is listed

    def __post_init__(self):
        if not self.classifier:
            object.__setattr__(self, "classifier", companion_name(self.generator, "classifier"))

    def prepare(self) -> Subject:
        """Import published files that the registry lacks; FileNotFoundError if a path is wrong."""
        importing.import_missing(self.files, self.generator)
        for path, what in ((self.images, "test images"), (self.labels, "labels")):
            if path is not None:
                present(path, f"{what} of {self.domain}")
        return self

    def photos(self, size: int, start: int | None = None, stop: int | None = None) -> Tensor:
        """Test images from `start` to `stop` (default: all), [N, 3, size, size] in [-1, 1].

        ValueError: -N as the start, where of N last images of a user some are among the N first.
        """
        if self.images is None:
            return data.to_float(data.load(self.domain, "test", size=size).images[start:stop])
        source, names = self.listed()
        if -2 * (start or 0) > len(names):
            raise ValueError(f"{self.domain} has {len(names)} test images, but {-start} and "
                             f"{-start} others are needed: list more, or lower num_images.")
        return data.to_float(read_named(source, names[start:stop], size)[0])

    def test(self, model: StudyModel, count: int | None = None) -> LabelledImages:
        """The first `count` test images (default: all) with their labels.

        A user's images without a label are left out. ValueError: there are fewer than `count`, or
        there are no labels.
        """
        size = model.generator.resolution
        if self.images is None:
            split = data.load(self.domain, "test", count, size)
            return LabelledImages(split.images, data.binary_labels(split.labels, self.domain))
        source, names = self.listed()
        if self.labels is None:
            images, _ = read_named(source, names, size, count)
            labels = opinions(model, images)
        else:
            table = labelled.read_labels(self.labels)
            table = table[[name for name in table if name in model.boundaries]].dropna()
            table = table.astype("int64")
            pairs = labelled.match(table, names)
            images, kept = read_named(source, list(pairs), size, count)
            labels = table.loc[[pairs[name] for name in kept]].reset_index(drop=True)
        if len(images) < (count or 1):
            raise ValueError(f"{self.domain} has {len(images)} test images, fewer than {count}.")
        known = [name for name in labels if name in model.boundaries]
        return LabelledImages(images, labels[known])

    def listed(self) -> tuple[sources.Source, list[str]]:
        """The source of a user's images, and the names of the test images in it."""
        source = sources.open_source(self.images)
        _, index = sources.split(len(source.names), self.split)
        return source, [source.names[i] for i in index] or list(source.names)


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images uint8 [N, 3, H, W], and a column of 0 and 1 for each known attribute."""

    images: Tensor
    labels: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)

    def floats(self, start: int | None = None, stop: int | None = None) -> Tensor:
        """A part of the images, in [-1, 1]; ValueError: there are none in it."""
        if not len(part := self.images[start:stop]):
            raise ValueError(f"There are {len(self)} test images, but more than {start} are "
                             "needed: list more, or lower num_images.")
        return data.to_float(part)


def of_profile(listed: Any, folder: Path) -> dict[str, Subject]:
    """The subjects of a profile by domain; `listed` is its list, `folder` where it lies.

    SettingsError: a subject lacks its generator or its images, or has an unknown setting.
    """
    if listed is None:
        return {d: Subject(f"{d}-stylegan-layerwise", companion_name(d, "classifier"), domain=d)
                for d in data.DOMAINS}
    if not isinstance(listed, dict):
        raise SettingsError(f"The subjects should be listed by domain, not {listed!r:.40}.")
    return {str(domain): read_subject(str(domain), entry, folder)
            for domain, entry in listed.items()}


def read_subject(domain: str, entry: Any, folder: Path) -> Subject:
    """One subject of a profile."""
    found = read(Subject, entry, f"Subject {domain!r}")
    if found.images is None and domain not in data.DOMAINS:
        raise SettingsError(f"Subject {domain!r}: its test images are missing (images: PATH); only "
                            f"{', '.join(data.DOMAINS)} have embedded ones.")
    return replace(found, domain=domain, images=located(found.images, folder),
                   labels=located(found.labels, folder),
                   files=tuple(located(path, folder) for path in found.files))


def ready(domains: Iterable[str], prepare: Callable[[str], Any]) -> dict[str, Any]:
    """What `prepare` makes of each domain; one whose models or files are missing, or that the
    profile lacks, is left out with a line that says so. If none is left, the first such error is
    raised: ModelsError, SubjectError or FileNotFoundError."""
    found, reasons = {}, []
    for domain in domains:
        try:
            found[domain] = prepare(domain)
        except (ModelsError, SubjectError, FileNotFoundError) as error:
            print(f"{domain} is left out: {error}")
            reasons.append(error)
    if reasons and not found:
        raise reasons[0]
    return found


def located(path: Path | None, folder: Path) -> Path | None:
    """A path in a profile that is in `folder`."""
    return path and folder / path


def read_named(source: sources.Source, names: list[str], size: int, count: int | None = None
               ) -> tuple[Tensor, list[str]]:
    """The first `count` of a user's images that can be read (default: all), and their names; a line
    reports each of the others."""
    parts, kept = [], []
    while not parts or names and len(kept) < (count or 0):
        now = names[:None if count is None else count - len(kept)]
        images, own, errors = sources.load_images(source, size, now)
        for error in errors:
            print(f"left out: {error}")
        parts, kept, names = [*parts, images], kept + own, names[len(now):]
    return parts[0] if len(parts) == 1 else torch.cat(parts), kept


def opinions(model: StudyModel, images: Tensor) -> pd.DataFrame:
    """Labels from the classifier, as in the paper."""
    if not model.has("classifier"):
        raise ValueError("The test images have no labels: give the profile a CSV file (labels), or "
                         "train an attribute classifier (idinvert train classifier).")
    probabilities = [model.probabilities(data.to_float(x).to(model.device)).cpu()
                     for x in images.split(64)]
    return pd.DataFrame((torch.cat(probabilities) > 0.5).long().numpy(), columns=model.attributes)
