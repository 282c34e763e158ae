"""The networks that a notebook works with, loaded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from idinvert import models
from idinvert.boundaries import Boundary
from idinvert.inversion import Method
from idinvert.inversion.cache import cached_codes
from idinvert.inversion.model import Model
from idinvert.metrics import features
from idinvert.models import pretrained

from .subjects import Subject, SubjectError

if TYPE_CHECKING:
    from .run import Run

NEEDS = ("classifier", "boundaries")


@dataclass(frozen=True, eq=False)
class Models:
    """A generator with its encoder and boundaries, and the networks that judge the results."""

    generator: nn.Module
    encoder: nn.Module
    boundaries: dict[str, Boundary]
    model: Model | None  # the same generator and encoder, for the inversion methods
    classifier: nn.Module | None  # attributes, if there is one
    attributes: list[str]  # of the classifier's logits
    judge: nn.Module  # features of FD and KID
    conventional: nn.Module | None = None  # the encoder of Eq. (1), if there is one

    def column(self, attribute: str) -> int:
        """Column of an attribute in `probabilities`; ValueError names those that there are."""
        if attribute not in self.attributes:
            known = ", ".join(self.attributes)
            raise ValueError(f"Unknown attribute {attribute!r}: expected one of {known}.")
        return self.attributes.index(attribute)

    def probabilities(self, images: Tensor) -> Tensor:
        """Attribute probabilities [N, A] of images [N, 3, H, W]."""
        with torch.no_grad():
            return torch.cat([self.classifier(x).sigmoid() for x in images.split(64)])

    def features(self, images: Tensor) -> Tensor:
        """Features [N, F] for FD and KID."""
        return features.extract(images, self.judge)


def load(subject: Subject, device: str, needs: Sequence[str] = NEEDS) -> Models:
    """Everything for one subject; imports published files and fetches the ImageNet networks if
    need be (`$IDINVERT_VGG16` and `$IDINVERT_INCEPTION` name others, see `pretrained`).

    needs: of NEEDS, what is wanted beside generator and encoder. ModelsError or FileNotFoundError
    says how to get what is missing.
    """
    subject.prepare()
    check_there(subject, needs)
    generator = subject.generator
    names = {role: found["base"] for role in ("generator", "encoder", "conventional")
             if "base" in (found := models.companions(generator, role))}
    if models.exists(subject.classifier):
        names["classifier"] = subject.classifier
    networks = {part: models.load(name, device) for part, name in names.items()}
    model = Model(generator, device)
    for part in ("generator", "encoder", "conventional"):
        if part in networks:
            setattr(model, part, networks[part])
    networks["judge"] = pretrained.load_judge(device)
    for network in (*networks.values(), model.features):
        network.to(memory_format=torch.channels_last)  # the faster layout of convolutions
    attributes = models.card(names["classifier"])["attributes"] if "classifier" in names else []
    return Models(boundaries=model.boundaries, attributes=attributes, model=model,
                  **{"classifier": None} | networks)


def methods(models: Models, settings: Mapping[str, Method], names: Sequence[str] | None = None
            ) -> dict[str, Method]:
    """The inversion methods whose networks there are: all, or those of `names`, in this order.

    settings: every method with its settings, as a profile has them.
    """
    there = models.model.available()
    return {name: settings[name] for name in names or there if name in there}


def invert(models: Models, images: Tensor, settings: Mapping[str, Method],
           names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Codes [N, L, D] of images [N, 3, H, W] by each of the `methods`, kept in the cache."""
    return {name: cached_codes(models.model, method, images)
            for name, method in methods(models, settings, names).items()}


def check_there(subject: Subject, needs: Sequence[str]) -> None:
    """ModelsError if the registry lacks a model of a subject, with the commands that make it."""
    generator, labelled = subject.generator, "--images PATH --labels labels.csv"
    of_own_images = {
        generator: f"train gan {generator} --images PATH",
        models.companion_name(generator, "encoder"):
            f"train encoder --generator {generator} --images PATH",
    }
    if "classifier" in needs:
        of_own_images[subject.classifier] = f"train classifier {subject.classifier} {labelled}"
    if "boundaries" in needs:
        fitted = models.companion_name(generator, "boundaries")
        of_own_images[fitted] = f"boundaries --model {generator} {labelled}"
    missing = [name for name in of_own_images if not models.exists(name)]
    if missing:
        commands = [f"idinvert {of_own_images[name]}" for name in missing]
        if subject.images is None:
            commands = [f"idinvert train {' '.join(missing)}"]
        raise models.ModelsError(
            f"Not trained: {', '.join(missing)}. Run {'; '.join(commands)}")


def load_domains(run: Run, domains: Sequence[str] | None, needs: Sequence[str] = NEEDS
                 ) -> dict[str, Models]:
    """The models of the run's subjects: of those named, or of all.

    What lacks a model or a file, or is not in the profile, is left out with a line that says so; if
    nothing is left, that is the error.
    """
    found, reasons = {}, []
    for domain in domains or run.listed:
        try:
            found[domain] = load(run.subject(domain), run.device, needs)
        except (models.ModelsError, SubjectError, FileNotFoundError) as error:
            print(f"{domain} is left out: {error}")
            reasons.append(error)
    if not found:
        raise reasons[0]
    return found
