"""Discriminators of generators: new ones, those that were trained, and what they judge."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from idinvert import models
from idinvert.models import pretrained
from idinvert.nn import projected
from idinvert.nn.architecture import NETWORKS
from idinvert.nn.protocols import Discriminator

from .entries import untrained
from .net2net import wider

PROJECTED = "projected.Discriminator"


def penalised(discriminator: nn.Module) -> bool:
    """Whether the gradient penalty of Eq. (3) applies: spectral norms bound a projected
    discriminator already, and the penalty would go through VGG-16 twice."""
    return not isinstance(discriminator, projected.Discriminator)


def mirror(architecture: str) -> str:
    """Architecture of the discriminator that mirrors a generator: FAMILY.Discriminator."""
    return f"{architecture.removesuffix('.Generator')}.Discriminator"


def new_discriminator(architecture: str, generator: Mapping[str, Any], device: str = "cpu"
                      ) -> nn.Module:
    """An untrained discriminator as wide as the generator of these settings, ready to judge."""
    known = inspect.signature(NETWORKS[architecture]).parameters
    shared = {name: value for name, value in generator.items() if name in known}
    return with_features(untrained(architecture, shared, Discriminator), device)


def with_features(discriminator: nn.Module, device: str) -> nn.Module:
    """A discriminator, with VGG-16 if it is a projected one."""
    if not penalised(discriminator):
        discriminator.attach(pretrained.load_vgg16(device))
    return discriminator


def discriminator_of(name: str, device: str = "cpu") -> nn.Module:
    """The discriminator of a generator, or a new one if the generator was imported without one.

    ValueError: it judges images of another size, as one that is left of another generator.
    """
    own, architecture = own_or_new(name)
    card, size = models.card(name), models.advice(name).get("resolution")
    if own:
        trained, wanted = models.load(own), size or card["settings"].get("resolution")
        if wanted and trained.resolution != wanted:
            raise ValueError(f"{own} judges images of {trained.resolution} px, but {name} renders "
                             f"{wanted}: remove it for a new one, or put that of {name} there.")
        return with_features(trained, device)
    settings = card["settings"] | ({"resolution": size} if size else {})
    return new_discriminator(architecture, settings, device)


def own_or_new(name: str) -> tuple[str | None, str]:
    """A generator's discriminator, if it has one, and the architecture of that or of a new one."""
    if own := models.companions(name, "discriminator").get(models.DEFAULT):
        return own, models.card(own)["architecture"]
    mirrored = mirror(models.card(name)["architecture"])
    return None, mirrored if mirrored in NETWORKS else PROJECTED  # a family without discriminators


def widen_discriminator(discriminator: nn.Module, name: str) -> None:
    """Give a discriminator the weights of a generator's own, unless that is of another kind."""
    shipped = models.load(models.companion(name, "discriminator"))
    if type(shipped) is type(discriminator):
        discriminator.load_state_dict(wider(shipped.state_dict(), discriminator))
