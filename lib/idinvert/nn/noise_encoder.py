"""Encoders that predict noise maps besides codes (section 6.3, Table 6, Figure 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .architecture import network
from .encoder import Encoder

EFFECT = 0.1  # what a map of standard deviation 1 should change in a convolution's output


def map_scales(generator: nn.Module) -> Tensor:
    """Scales of the noise maps of a generator, one a layer, that give the maps their EFFECT.

    A generator learns to ignore its noise from images without random texture: where the weights of
    the noise are 1e-4, as in this study, unscaled maps would change nothing.
    """
    weights = [p.detach() for name, p in generator.named_parameters()
               if name.endswith(("noise_weight", "noise_strength"))]
    return torch.stack([EFFECT / w.square().mean().sqrt().clamp_min(1e-8) for w in weights])


@network("noise_encoder.NoiseEncoder")
class NoiseEncoder(Encoder):
    """The paper's B-k: predicts codes, and noise maps of the generator's first k blocks.

    The features of the base encoder have the resolutions of the generator's blocks. A 1x1
    convolution turns those at 4, 8, ... px into two maps each, for the two layers of a block; the
    other blocks keep their stored maps. B-0 is the base encoder.

    Args:
        noise_blocks: k.
        map_scale: scales [2 k] of the maps, see `map_scales`; None leaves them at 1, as published.
        others: as for `Encoder`.

    ValueError: the generator has fewer than k blocks.
    """

    def __init__(self, resolution: int = 64, w_dim: int = 64, channel_base: int = 32,
                 channel_max: int = 64, noise_blocks: int = 1, w_avg: Tensor | None = None,
                 w_std: Tensor | None = None, map_scale: Tensor | None = None):
        super().__init__(resolution, w_dim, channel_base, channel_max, w_avg, w_std)
        if not 0 <= noise_blocks <= len(self.channels):
            raise ValueError(f"noise_blocks must be at most {len(self.channels)} at {resolution} "
                             f"px, not {noise_blocks}")
        coarse_first = self.channels[::-1][:noise_blocks]
        self.to_noise = nn.ModuleList(nn.Conv2d(c, 2, 1) for c in coarse_first)
        for layer in self.to_noise:
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        scale = torch.ones(2 * noise_blocks) if map_scale is None else map_scale.detach().clone()
        self.register_buffer("map_scale", scale)

    def with_noise(self, image: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """Codes [N, L, D] and L maps [N, 1, 4, 4], ..; None where the stored map is used."""
        features = self.features(image)
        maps = [conv(x).float() for conv, x in zip(self.to_noise, reversed(features))]
        noise = [part for pair in maps for part in pair.split(1, 1)]
        noise = [scale * part for scale, part in zip(self.map_scale, noise)]
        return self.code(features[-1]), noise + [None] * (self.num_layers - len(noise))
