"""The networks that a notebook works with, loaded together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import pretrained, weights
from ..boundaries import Boundary
from ..metrics import features


@dataclass(frozen=True, eq=False)
class Models:
    """A generator with its encoder and boundaries, and the networks that judge the results."""

    generator: nn.Module
    encoder: nn.Module
    boundaries: dict[str, Boundary]
    vgg: nn.Module  # perceptual term
    classifier: nn.Module  # attributes
    attributes: list[str]  # of the classifier's logits
    judge: nn.Module  # features of FD and KID

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


def load(generator: str, classifier: str, device: str, encoder: str = "base") -> Models:
    """Everything for one generator of the registry; fetches the ImageNet networks if need be."""
    networks = {
        "generator": weights.load(generator, device),
        "encoder": weights.load(f"{generator}-{encoder}", device),
        "vgg": pretrained.load_vgg16(device),
        "classifier": weights.load(classifier, device),
        "judge": pretrained.load_efficientnet_lite0(device),
    }
    for network in networks.values():
        network.to(memory_format=torch.channels_last)  # the faster layout of convolutions
    return Models(boundaries=weights.load_boundaries(generator),
                  attributes=weights.card(classifier)["attributes"], **networks)
