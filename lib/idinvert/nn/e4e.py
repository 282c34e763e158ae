"""The encoder of Tov et al. 2021, "Designing an encoder for StyleGAN image manipulation" (e4e)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .architecture import network
from .encoder import Encoder
from .layers import EqualLinear, leaky_relu


@network("e4e.OffsetEncoder")
class OffsetEncoder(Encoder):
    """One code for all layers plus small offsets, of which the first `active` are in use.

    Arguments are those of `Encoder`. The code of layer i is w_avg + w_std (v + d_i): v is that of
    the first layer, d_i the offset of layer i. The authors' generator repeats one w; where each
    layer has codes of its own, dividing by the average and the spread of each layer makes v common
    to all. The batch norm fixes the size of v, so that offsets have a gain, learned from 0: a layer
    that becomes active begins where it was.
    """

    def __init__(self, resolution: int = 64, w_dim: int = 64, channel_base: int = 32,
                 channel_max: int = 64, w_avg: Tensor | None = None,
                 w_std: Tensor | None = None):
        super().__init__(resolution, w_dim, channel_base, channel_max, w_avg, w_std)
        self.gain = nn.Parameter(torch.zeros(self.num_layers - 1, w_dim))
        self.register_buffer("active", torch.zeros((), dtype=torch.long))

    def offsets(self, codes: Tensor) -> Tensor:
        """Offsets d_i [N, L - 1, D] of codes, in units of `w_std`."""
        standard = self.standardised(codes)
        return standard[:, 1:] - standard[:, :1]

    def standardised(self, codes: Tensor) -> Tensor:
        """Codes [N, L, D] minus `w_avg`, in units of `w_std`."""
        return (codes - self.w_avg) / self.w_std

    def code(self, features: Tensor) -> Tensor:
        """Codes [N, L, D] of the last features; the offsets that are not in use are 0."""
        x = self.norm(self.fc(features.flatten(1))).float().unflatten(1, (-1, self.w_dim))
        first, rest = x[:, :1], x[:, 1:] * self.gain
        layer = torch.arange(self.num_layers - 1, device=x.device)[:, None]
        offsets = torch.where(layer < self.active, rest, torch.zeros_like(rest))
        return torch.cat([first, first + offsets], 1) * self.w_std + self.w_avg


class LatentDiscriminator(nn.Module):
    """Tells sampled codes from encoded ones: [N, K, D] of the first K layers -> logits [N, K].

    A perceptron that sees the code of one layer at a time and, since layers may differ, which layer
    it is.

    Args:
        w_avg, w_std: mean and standard deviation [L, D] of sampled codes, by which it standardises.
        hidden, depth: width and number of the hidden layers.
    """

    def __init__(self, w_avg: Tensor, w_std: Tensor, hidden: int = 128, depth: int = 4):
        super().__init__()
        layers, w_dim = w_avg.shape
        sizes = [w_dim + layers] + [hidden] * depth
        self.dense = nn.ModuleList(EqualLinear(a, b) for a, b in pairwise(sizes))
        self.output = EqualLinear(hidden, 1, gain=1.0)
        self.register_buffer("w_avg", w_avg.detach().clone())
        self.register_buffer("w_std", w_std.detach().clone())

    def forward(self, codes: Tensor) -> Tensor:
        """Logits [N, K] of codes [N, K, D], high for sampled ones."""
        count, layers = codes.shape[1], len(self.w_avg)
        x = (codes - self.w_avg[:count]) / self.w_std[:count]
        which = torch.eye(layers, device=x.device)[:count].expand(len(x), -1, -1)
        x = torch.cat([x, which], 2)
        for layer in self.dense:
            x = leaky_relu(layer(x))
        return self.output(x).squeeze(2).float()


class CodePool(nn.Module):
    """Codes of earlier batches, so that the discriminator does not forget them (as in e4e's code).

    `codes` [size, L, D] is the store, of which the first `filled` are in use.
    """

    def __init__(self, size: int, layers: int, w_dim: int):
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, layers, w_dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def exchange(self, new: Tensor) -> Tensor:
        """Take new codes [N, L, D] and return as many, new and stored ones mixed.

        While there is room, new codes are stored and returned. Later, each is returned itself with
        probability 1/2; otherwise it takes the place of a stored one, which is returned instead.
        """
        size, filled = len(self.codes), int(self.filled)
        room = min(size - filled, len(new))
        self.codes[filled : filled + room] = new[:room]
        self.filled += room
        given = new.clone()
        for start in range(room, len(new), size):
            late = given[start : start + size]
            slots = torch.randperm(size)[: len(late)].to(new.device)
            swap = (torch.rand(len(late), 1, 1) < 0.5).to(new.device)
            stored = self.codes[slots]
            self.codes[slots] = torch.where(swap, late, stored)
            given[start : start + size] = torch.where(swap, stored, late)
        return given
