"""Equations (1)-(4) of the paper, each with its reduction.

Images are [N, 3, H, W] in [-1, 1], codes [N, L, D]. Reconstruction terms come per image, [N], the
mean over everything but the batch; a training loss is their batch mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference per batch item, [N]: the ||.||_2 terms of Eq. (1), (2) and (4).

    The published code takes means where the paper prints norms; the loss weights belong to means.
    """
    return (a - b).square().flatten(1).mean(1)


def code_loss(codes: Tensor, encoded: Tensor) -> Tensor:
    """Eq. (1), the conventional encoder: ||z_sam - E(G(z_sam))||, mean over codes and batch."""
    return squared_error(codes, encoded).mean()


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """Adversarial term of Eq. (2): softplus(-D(G(E(x)))), batch mean.

    Non-saturating logistic form of the published code, where the paper prints -D(.).
    """
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """First two terms of Eq. (3): softplus(D(fake)) + softplus(-D(real)), batch mean."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Last term of Eq. (3) without gamma / 2: squared norm of dD/dx, sum over pixels, batch mean."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
