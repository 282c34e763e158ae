"""The networks that a notebook works with, loaded together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .. import pretrained, weights
from ..boundaries import Boundary
from ..metrics import features
from ..train import zoo


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
    conventional: nn.Module | None = None  # the encoder of Eq. (1), if it is trained
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256 of the weights by model name

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
    names = {"generator": generator, "encoder": f"{generator}-{encoder}", "classifier": classifier,
             "conventional": f"{generator}-conventional"}
    if names["conventional"] not in weights.names():
        del names["conventional"]
    networks = {part: weights.load(name, device) for part, name in names.items()}
    networks |= {"vgg": pretrained.load_vgg16(device),
                 "judge": pretrained.load_efficientnet_lite0(device)}
    for network in networks.values():
        network.to(memory_format=torch.channels_last)  # the faster layout of convolutions
    return Models(boundaries=weights.load_boundaries(generator),
                  attributes=weights.card(classifier)["attributes"],
                  hashes={name: weights.card(name)["sha256"] for name in names.values()},
                  **networks)


def load_domains(domains: Sequence[str], device: str) -> dict[str, Models]:
    """The layer-wise StyleGAN of each domain with its encoders, where they are trained.

    The others are named in a line each, with the commands that train them.
    """
    found = {}
    for domain in domains:
        generator, classifier = f"{domain}-stylegan-layerwise", f"{domain}-classifier"
        needed = [generator, f"{generator}-conventional", f"{generator}-base", classifier,
                  f"{generator}-boundaries"]
        missing = [name for name in needed if not zoo.trained(name)]
        if missing:
            print(f"{domain} is left out; to train it: python -m idinvert.train "
                  + " ".join(missing))
        else:
            found[domain] = load(generator, classifier, device)
    return found
