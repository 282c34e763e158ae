"""Latent editing consistency: does an encoder see an edit as the edit it was?"""

from typing import NamedTuple

import torch

from .pixel import mse


class Consistency(NamedTuple):
    """Code distance [N] and image distance [N] of each image."""

    code: torch.Tensor
    image: torch.Tensor


@torch.no_grad()
def editing_consistency(images, encode, generate, offset, batch_size=16):
    """Encode, edit, render, encode again, undo the edit: how far is the result from the start?

    O. Tov et al., "Designing an Encoder for StyleGAN Image Manipulation" (e4e), SIGGRAPH 2021:
    w = encode(x), w' = encode(generate(w + offset)) - offset. `code` is |w' - w|, the Euclidean
    norm over layers and dimensions; `image` is the mean squared error between generate(w') and
    generate(w) in [-1, 1]. Both are 0 for an encoder that inverts the generator exactly; neither
    says how well x is reconstructed, nor how much the edit changes.

    images [N, 3, H, W] in [-1, 1]; `encode` gives codes [B, L, D] and `generate` images from them;
    `offset` broadcasts over codes: an edit's step times its boundary, [D] or [L, D].
    """
    found = [_one(batch, encode, generate, offset) for batch in images.split(batch_size)]
    return Consistency(*(torch.cat(parts) for parts in zip(*found)))


def _one(images, encode, generate, offset):
    codes = encode(images)
    returned = encode(generate(codes + offset)) - offset
    code = (returned - codes).flatten(1).norm(dim=1)
    return code, mse(generate(returned), generate(codes))
