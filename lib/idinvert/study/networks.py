"""The models that a notebook works with: each a `Model` and the networks that judge its images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from idinvert import models
from idinvert.inversion import Method
from idinvert.inversion.cache import cached_codes
from idinvert.inversion.model import Model
from idinvert.metrics import features
from idinvert.models import pretrained
from idinvert.nn.protocols import FeatureNetwork

from .subjects import Subject, ready

if TYPE_CHECKING:
    from .run import Run

NEEDS = ("classifier", "boundaries")


class StudyModel(Model):
    """The model of a subject, with the subject's classifier and the features of FD and KID.

    Its networks are in the layout in which convolutions are faster, channels last.
    """

    def __init__(self, subject: Subject, device: str):
        found = models.exists(subject.classifier)
        super().__init__(subject.generator, device,
                         **{"classifier": subject.classifier} if found else {})

    def network(self, role: str) -> nn.Module:
        """The frozen network in a role, in eval mode."""
        return super().network(role).to(memory_format=torch.channels_last)

    @cached_property
    def features(self) -> FeatureNetwork:
        """F, the VGG-16 up to conv4_3 of the perceptual term."""
        return super().features.to(memory_format=torch.channels_last)

    @cached_property
    def judge(self) -> nn.Module:
        """The ImageNet network in whose features FD and KID are measured."""
        return pretrained.load_judge(self.device).to(memory_format=torch.channels_last)

    def judge_features(self, images: Tensor) -> Tensor:
        """Features [N, F] for FD and KID of images [N, 3, H, W] in [-1, 1]."""
        return features.extract(images, self.judge)

    def column(self, attribute: str) -> int:
        """Column of an attribute in `probabilities`; ValueError lists the attributes."""
        if attribute not in self.attributes:
            known = ", ".join(self.attributes)
            raise ValueError(f"Unknown attribute {attribute!r}: expected one of {known}.")
        return self.attributes.index(attribute)


def load(subject: Subject, device: str, needs: Sequence[str] = NEEDS) -> StudyModel:
    """The model of one subject; published files that the registry lacks are imported first.

    Generator, encoder and `needs` (of NEEDS) are loaded at once, other networks when first used.
    ModelsError or FileNotFoundError says how to get what is missing.
    """
    subject.prepare()
    check_trained(subject, needs)
    model = StudyModel(subject, device)
    for role in ("generator", "encoder", *needs):
        getattr(model, role)
    return model


def invert(model: StudyModel, images: Tensor, settings: Mapping[str, Method],
           names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Codes [N, L, D] of images [N, 3, H, W] by each of the `methods`, kept in the cache."""
    return {name: cached_codes(model, method, images)
            for name, method in methods(model, settings, names).items()}


def methods(model: StudyModel, settings: Mapping[str, Method], names: Sequence[str] | None = None
            ) -> dict[str, Method]:
    """The inversion methods whose networks are trained: all, or those of `names`, in this order.

    Those that tune the generator are left out, because codes alone do not tell their images.
    settings: every method with its settings, as a profile has them.
    """
    available = [n for n in model.available() if not getattr(settings[n], "tunes", False)]
    return {name: settings[name] for name in names or available if name in available}


def check_trained(subject: Subject, needs: Sequence[str]) -> None:
    """ModelsError if the registry lacks a model of a subject, with the commands that make it."""
    generator, labelled = subject.generator, "--images PATH --labels labels.csv"
    made_by = {
        "generator": (generator, f"train gan {generator} --images PATH"),
        "encoder": (models.companion_name(generator, "encoder"),
                    f"train encoder --generator {generator} --images PATH"),
        "classifier": (subject.classifier, f"train classifier {subject.classifier} {labelled}"),
        "boundaries": (models.companion_name(generator, "boundaries"),
                       f"boundaries --model {generator} {labelled}"),
    }
    missing = dict(made_by[role] for role in ("generator", "encoder", *needs)
                   if not models.exists(made_by[role][0]))
    if missing:
        own = missing.values() if subject.images else [f"train {' '.join(missing)}"]
        raise models.ModelsError(f"Not trained: {', '.join(missing)}. Run "
                                 f"{'; '.join(f'idinvert {command}' for command in own)}")


def load_domains(run: Run, domains: Sequence[str] | None, needs: Sequence[str] = NEEDS
                 ) -> dict[str, StudyModel]:
    """The models of the run's subjects: of those named, or of all; see `subjects.ready` for what is
    left out."""
    return ready(domains or run.listed, lambda d: load(run.subject(d), run.device, needs))
