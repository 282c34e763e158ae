"""Networks that go on from others: wider ones, a code of its own for every layer, or one for all.

A larger network computes what the smaller one did (Chen et al., "Net2Net", ICLR 2016): channels
are repeated, and what reads them is divided by their number. A little noise lets the copies part.
A generator of one code begins with the mean of the codes that a layer-wise one has for its layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

NOISE = 0.02  # standard deviation; the weights of these networks have one of 1 at the start


def wider(state: dict[str, Tensor], network: nn.Module, noise: float = NOISE) -> dict[str, Tensor]:
    """The state of a parent for `network`, of the same architecture with more channels or codes.

    For StyleGAN's generator and discriminator, of which no layer of the parent is wider, but for
    the codes of a layer-wise mapping network.
    ValueError: a tensor of the network is no multiple of the parent's.
    """
    return {key: repeated(key, state[key], target.shape, noise)
            for key, target in network.state_dict().items()}


def repeated(key: str, tensor: Tensor, shape: torch.Size, noise: float) -> Tensor:
    """One tensor, its channels repeated to a shape; noise is added only where that differs."""
    if tensor.shape == shape:
        return tensor
    codes = key.startswith("mapping.") and tensor.shape[1:] == shape[1:]
    if codes and len(tensor) > shape[0] and len(tensor) % shape[0] == 0:
        return tensor.unflatten(0, (-1, shape[0])).mean(0)
    if tensor.ndim != len(shape) or any(new % old for new, old in zip(shape, tensor.shape)):
        raise ValueError(f"{key} of shape {list(tensor.shape)} cannot be widened to {list(shape)}.")
    times = [new // old for new, old in zip(shape, tensor.shape)]
    if ".style." in key:  # scales of all channels, then their biases
        halves = tensor.chunk(2)
        return torch.cat([half.repeat(times) for half in halves])
    tensor = tensor.repeat(times)
    if tensor.ndim == 1 or key.startswith("mapping."):
        return tensor
    # A layer scales its weight by 1 / sqrt(inputs), which is less now by sqrt(times) already.
    return tensor / math.sqrt(times[1]) + noise * torch.randn(shape)


@torch.no_grad()
def take_codes(generator: torch.nn.Module, teacher: torch.nn.Module) -> None:
    """Give a generator the mapping network of another one, of the other generation or its own, so
    that both make the same codes of a latent.

    A layer of StyleGAN multiplies its inputs, one of StyleGAN2 its output by sqrt(2): as the leaky
    ReLU in between is the same for multiples, only the biases differ, by that factor.
    """
    factor = teacher.mapping.activation_gain / generator.mapping.activation_gain
    state = teacher.mapping.state_dict()
    generator.mapping.load_state_dict(
        {key: value * factor if key.endswith("bias") else value for key, value in state.items()})
    generator.w_avg.copy_(teacher.w_avg)
