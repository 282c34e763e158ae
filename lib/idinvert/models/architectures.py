"""Networks of the registry by the names that cards give them."""

from __future__ import annotations

from torch import nn

from idinvert.nn import (
    backbones,
    classifier,
    e4e,
    encoder,
    noise_encoder,
    projected,
    stylegan,
    stylegan2,
)

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "stylegan.Generator": stylegan.Generator,
    "stylegan.Discriminator": stylegan.Discriminator,
    "stylegan2.Generator": stylegan2.Generator,
    "stylegan2.Discriminator": stylegan2.Discriminator,
    "projected.Discriminator": projected.Discriminator,
    "encoder.Encoder": encoder.Encoder,
    "noise_encoder.NoiseEncoder": noise_encoder.NoiseEncoder,
    "e4e.OffsetEncoder": e4e.OffsetEncoder,
    "backbones.ResNet": backbones.ResNet,
    "backbones.MobileNet": backbones.MobileNet,
    "classifier.Classifier": classifier.Classifier,
}


def build(architecture: str, settings: dict) -> nn.Module:
    """A network of one of ARCHITECTURES, untrained."""
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"Unknown architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[architecture](**settings)
