"""Equations (1) to (4) of the paper, each of them whole: its terms, its weights, its reduction.

Images are [N, 3, H, W] in [-1, 1], codes [N, L, D]. Where the paper prints a norm, the published
code takes a mean of squares, to which the paper's weights belong: `squared_error`, one value per
image. The losses of training, Eq. (1) to (3), are means over the batch; Eq. (4) keeps one value
per image, so that the images of a batch do not affect one another.
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
    """Mean squared difference of each batch item, [N]: the ||.||_2 terms of Eq. (1), (2), (4)."""
    return (a - b).square().flatten(1).mean(1)


def equation1(codes: Tensor, encoded: Tensor) -> Tensor:
    """Eq. (1), the conventional encoder: || z - E(G(z)) ||, mean over codes and batch; a scalar.

    codes: z, [N, L, D], sampled. encoded: E(G(z)), [N, L, D].

    >>> equation1(torch.zeros(2, 10, 64), torch.full((2, 10, 64), 0.5))
    tensor(0.2500)
    """
    return squared_error(codes, encoded).mean()


def equation2(image: Tensor, target: Tensor, *, image_features: Tensor | None = None,
              target_features: Tensor | None = None, fake_logits: Tensor | None = None,
              lambda_vgg: float = LAMBDA_VGG, lambda_adv: float = LAMBDA_ADV
              ) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (2), the domain-guided encoder. Returns the loss and its unweighted terms, scalars:

        || x - G(E(x)) || + lambda_vgg || F(x) - F(G(E(x))) || + lambda_adv softplus(-D(G(E(x))))

    Each term is a mean over the batch. The paper prints -D(.) for the last one, the published code
    has this form.

    Args:
        image, target: G(E(x)) and x.
        image_features, target_features: F of both, [M, ...], or of a part of the batch; None
            leaves the term "feature" out.
        fake_logits: D(G(E(x))), of any shape; None leaves the term "adversarial" out.
        lambda_vgg, lambda_adv: 5e-5 and 0.1 in the paper.
    """
    terms = {"pixel": squared_error(image, target).mean()}
    if image_features is not None:
        terms["feature"] = squared_error(image_features.float(), target_features.float()).mean()
    if fake_logits is not None:
        terms["adversarial"] = adversarial_loss(fake_logits)
    return weighted(terms, feature=lambda_vgg, adversarial=lambda_adv), terms


def equation3(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Eq. (3) without its penalty, the discriminator: softplus(D(G(E(x)))) + softplus(-D(x)).

    Logits have any shape; each term is a mean over all of them; a scalar. The paper prints
    D(.) and -D(.). The penalty is `lazy_r1(r1_penalty(D, x), gamma, every)`.
    """
    return F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean()


def equation4(codes: Tensor, image: Tensor, target: Tensor, *, features: Network | None = None,
              target_features: Tensor | None = None, encoder: Network | None = None,
              lambda_vgg: float = LAMBDA_VGG, lambda_dom: float = LAMBDA_DOM,
              mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. (4), in-domain inversion. Returns the loss [N] and its unweighted terms, each [N]:

        || x - G(z) || + lambda_vgg || F(x) - F(G(z)) || + lambda_dom || z - E(G(z)) ||

    The terms are "pixel", "feature" and "code". The gradient of the last one goes through E(G(z))
    and through z itself.

    Args:
        codes: z, [N, L, D].
        image: G(z), from which the gradient goes back to the codes.
        target: x.
        features, target_features, mask: see `reconstruction_terms`.
        encoder: E, in eval mode.
        lambda_vgg: 5e-5 in the paper.
        lambda_dom: 2 in the paper; 0 leaves the code term out, which then needs no encoder.

    >>> black, white, codes = -torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8), torch.zeros(1, 4, 2)
    >>> total, terms = equation4(codes, black, white, encoder=lambda image: codes + 1)
    >>> total, terms  # pixels differ by 2, codes by 1, whose weight is 2
    (tensor([6.]), {'pixel': tensor([4.]), 'code': tensor([1.])})
    """
    terms = reconstruction_terms(image, target, features, target_features, mask)
    if lambda_dom:
        terms["code"] = squared_error(codes, encoder(image))
    return weighted(terms, feature=lambda_vgg, code=lambda_dom), terms


def reconstruction_terms(image: Tensor, target: Tensor, features: Network | None = None,
                         target_features: Tensor | None = None,
                         mask: Tensor | None = None) -> dict[str, Tensor]:
    """The terms "pixel" and "feature" of Eq. (2) and (4), unweighted, each [N].

    Args:
        image, target: what is compared.
        features: F, the VGG-16 up to conv4_3; None leaves "feature" out.
        target_features: F of the (masked) target where that is known already.
        mask: [N or 1, 1, H, W] in {0, 1}, keeps part of both images (semantic diffusion, section
            4.3); the means stay over the whole frame.
    """
    if mask is not None:
        image, target = image * mask, target * mask
    terms = {"pixel": squared_error(image, target)}
    if features is not None:
        wanted = features(target) if target_features is None else target_features
        terms["feature"] = squared_error(features(image).float(), wanted.float())
    return terms


def weighted(terms: dict[str, Tensor], **weights: float) -> Tensor:
    """Sum of the terms, each times its weight; a term that has none counts once."""
    return sum(weights.get(name, 1.0) * value for name, value in terms.items())


def adversarial_loss(fake_logits: Tensor) -> Tensor:
    """The non-saturating logistic loss of a generator: softplus(-D(.)), mean over the logits."""
    return F.softplus(-fake_logits).mean()


def r1_penalty(discriminator: Network, real: Tensor) -> Tensor:
    """Penalty of Eq. (3) without gamma / 2: |dD/dx|^2, sum over an item's numbers, batch mean.

    real: [N, ...], images in Eq. (3). A scalar.
    """
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()


def lazy_r1(penalty: Tensor, gamma: float = R1_GAMMA, every: int = 1) -> Tensor:
    """What `r1_penalty` adds to Eq. (3): gamma / 2 times the penalty, gamma 10 in the paper.

    every: the penalty is taken in one of so many steps, and weighs as much more (StyleGAN2's lazy
    regularisation).
    """
    return gamma / 2 * every * penalty
