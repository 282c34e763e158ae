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

    Codes are w_avg + w_std (v + d_i), with v of the first layer and the offset d_i of layer i. The
    authors' generator repeats one w; where each layer has codes of its own, average and spread of
    the layers make v common to them. The batch norm leaves the size of v no choice, so that
    offsets get a gain, which is learned from 0: a layer that becomes active begins where it was.
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
        """Codes less `w_avg`, in units of `w_std`."""
        return (codes - self.w_avg) / self.w_std

    def code(self, features: Tensor) -> Tensor:
        x = self.norm(self.fc(features.flatten(1))).float().unflatten(1, (-1, self.w_dim))
        first, rest = x[:, :1], x[:, 1:] * self.gain
        layer = torch.arange(self.num_layers - 1, device=x.device)[:, None]
        offsets = torch.where(layer < self.active, rest, torch.zeros_like(rest))
        return torch.cat([first, first + offsets], 1) * self.w_std + self.w_avg


class LatentDiscriminator(nn.Module):
    """Tells sampled codes from encoded ones: [N, K, D] of the first K layers -> logits [N, K].

    A perceptron of `depth` hidden layers that sees one layer's code at a time and, since layers may
    differ, which one it is.

    Args:
        w_avg, w_std: average [L, D] and spread of sampled codes, by which codes are standardised.
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
        count, layers = codes.shape[1], len(self.w_avg)
        x = (codes - self.w_avg[:count]) / self.w_std[:count]
        which = torch.eye(layers, device=x.device)[:count].expand(len(x), -1, -1)
        x = torch.cat([x, which], 2)
        for layer in self.dense:
            x = leaky_relu(layer(x))
        return self.output(x).squeeze(2).float()


class CodePool(nn.Module):
    """Codes of earlier batches, so that the discriminator does not forget them (e4e's code).

    codes: buffer [size, L, D], of which `filled` are in use.
    """

    def __init__(self, size: int, layers: int, w_dim: int):
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, layers, w_dim))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def exchange(self, new: Tensor) -> Tensor:
        """Store codes [N, L, D] while there is room; of the others, give back about half as they
        are and put the rest in the place of stored ones, which are given back for them."""
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
