"""Equations (1)-(4) of the paper, each with its reduction.

Images are [N, 3, H, W] in [-1, 1], codes [N, L, D]. Reconstruction terms come per image, [N], the
mean over everything but the batch; a training loss is their batch mean.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LAMBDA_VGG = 5e-5  # weight of the perceptual term, for means over VGG features of 0-255 images
LAMBDA_ADV = 0.1  # weight of the adversarial term of Eq. (2); the published code has 0.05 and 0.08
LAMBDA_DOM = 2.0  # weight of the code term of Eq. (4)
R1_GAMMA = 10.0  # weight of the gradient penalty of Eq. (3)

Network = Callable[[Tensor], Tensor]


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference per batch item, [N]: the ||.||_2 terms of Eq. (1), (2) and (4).

    The published code takes means where the paper prints norms; the loss weights belong to means.
    """
    return (a - b).square().flatten(1).mean(1)


def code_loss(codes: Tensor, encoded: Tensor) -> Tensor:
    """Eq. (1), the conventional encoder: ||z_sam - E(G(z_sam))||, mean over codes and batch."""
    return squared_error(codes, encoded).mean()


def reconstruction_terms(image: Tensor, target: Tensor, features: Network | None = None,
                         target_features: Tensor | None = None,
                         mask: Tensor | None = None) -> dict[str, Tensor]:
    """The pixel and the perceptual term of Eq. (2) and (4), unweighted, each [N].

    pixel: mean over channels and pixels of (x - x')^2; feature: mean over the elements of
    (F(x) - F(x'))^2, only if the network `features` is given. `target_features` is F of the
    (masked) target where that is known already. `mask` [N or 1, 1, H, W] in {0, 1} keeps part of
    both images (semantic diffusion, section 4.3); the means stay over the whole frame.
    """
    if mask is not None:
        image, target = image * mask, target * mask
    terms = {"pixel": squared_error(image, target)}
    if features is not None:
        wanted = features(target) if target_features is None else target_features
        terms["feature"] = squared_error(features(image).float(), wanted.float())
    return terms


def domain_term(codes: Tensor, image: Tensor, encoder: Network) -> Tensor:
    """The last term of Eq. (4) without its weight, [N]: mean over codes of (z - E(G(z)))^2."""
    return squared_error(codes, encoder(image))


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """Adversarial term of Eq. (2): softplus(-D(G(E(x)))), batch mean.

    Non-saturating logistic form of the published code, where the paper prints -D(.).
    """
    return F.softplus(-fake_logits).mean()


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """First two terms of Eq. (3): softplus(D(fake)) + softplus(-D(real)), batch mean."""
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def r1_penalty(discriminator: Network, real: Tensor) -> Tensor:
    """Last term of Eq. (3) without gamma / 2: |dD/dx|^2, sum over pixels, batch mean."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
