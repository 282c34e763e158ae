"""Encoders that predict noise maps besides codes (section 6.3, Table 6, Figure 12)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .architecture import network
from .encoder import Encoder

EFFECT = 0.1  # by which a map of standard deviation 1 is to move what a convolution gives


def map_scales(generator: nn.Module) -> Tensor:
    """Scales of the maps of a generator of either generation, one a layer, so that they have an
    EFFECT.

    Images without texture of chance teach a generator to ignore its noise: with weights of 1e-4,
    as in this study, unscaled maps could not say anything.
    """
    weights = [p.detach() for name, p in generator.named_parameters()
               if name.endswith(("noise_weight", "noise_strength"))]
    return torch.stack([EFFECT / w.square().mean().sqrt().clamp_min(1e-8) for w in weights])


@network("noise_encoder.NoiseEncoder")
class NoiseEncoder(Encoder):
    """Predicts noise maps besides codes (section 6.3): B-k for `noise_blocks` k.

    The base encoder has the resolutions of the generator's blocks. Two 1x1 convolutions, held as
    one of two channels, turn its features at 4, 8, ... px into the maps of the first k blocks, two
    layers each; the other blocks keep their stored maps. B-0 is the base encoder.

    map_scale: scales [2 k] of the maps, see `map_scales`; None leaves them at 1, as published.
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
        """Codes [N, L, D] and L maps, [N, 1, 4, 4] and so on; None for those that are stored."""
        features = self.features(image)
        maps = [conv(x).float() for conv, x in zip(self.to_noise, reversed(features))]
        noise = [part for pair in maps for part in pair.split(1, 1)]
        noise = [scale * part for scale, part in zip(self.map_scale, noise)]
        return self.code(features[-1]), noise + [None] * (self.num_layers - len(noise))
