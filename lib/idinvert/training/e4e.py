"""Training of the e4e encoder (Tov et al. 2021): a code plus small offsets, near sampled ones.

Reconstruction terms are those of Eq. (2), where the authors add an identity network and use LPIPS.
Nothing judges images: a latent discriminator judges codes. Defaults are the authors'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from idinvert import losses
from idinvert.nn.e4e import CodePool

from . import encoder
from .steps import autocast, descend, draw_batch, looked_at, place


@dataclass(frozen=True)
class Recipe(encoder.Recipe):
    """Settings of a run; `lambda_adv`, `r1_gamma` and `r1_every` are the latent discriminator's."""

    r1_every: int = 16
    lambda_offset: float = 2e-4
    latent_rate: float = 0.2  # learning rate of the latent discriminator relative to the encoder's
    pool: int = 50  # codes of earlier batches that are kept, of either kind
    offsets_from: float = 0.1  # share of the schedule after which the first offset is in use
    offsets_every: float = 0.01  # share of the schedule between two of them


def offset_penalty(offsets: Tensor) -> Tensor:
    """Sum over layers of the norms of offsets [N, K, D], batch mean."""
    return offsets.norm(dim=2).sum(1).mean()


class OffsetTask(encoder.EncoderTask):
    """Trains an `nn.e4e.OffsetEncoder` against an `nn.e4e.LatentDiscriminator`.

    features: VGG-16 conv4_3.
    """

    def __init__(self, encoder, generator, discriminator, features, images, recipe, device="cpu",
                 held_out=200, judge=None):
        super().__init__(encoder, generator, images, recipe, device, held_out, judge)
        self.features = place(features, device).eval().requires_grad_(False)
        shape = recipe.pool, encoder.num_layers, encoder.w_dim
        self.keep(discriminator=discriminator, sampled_pool=CodePool(*shape),
                  encoded_pool=CodePool(*shape))
        self.optimizers.append(torch.optim.Adam(discriminator.parameters(),
                                                recipe.learning_rate * recipe.latent_rate))

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One step of the encoder and one of the latent discriminator."""
        self.schedule(step)
        self.encoder.active.fill_(max(self.offsets_at(step), int(self.encoder.active)))
        figures, codes = self.encoder_step(draw_batch(self.images, self.batch, self.device))
        return figures | self.discriminator_step(codes, step)

    def schedule(self, step: int) -> None:
        super().schedule(step)
        for group in self.optimizers[1].param_groups:
            group["lr"] *= self.recipe.latent_rate

    def offsets_at(self, step: int) -> int:
        """Number of offsets in use: none, then one more after every `offsets_every`."""
        done = step * self.batch / (self.recipe.kimg * 1000) - self.recipe.offsets_from
        count = 0 if done < 0 else 1 + int(done / self.recipe.offsets_every)
        return min(count, self.encoder.num_layers - 1)

    def encoder_step(self, real: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Reconstruction, latent discriminator and offsets; returns the terms and the codes."""
        recipe, used = self.recipe, int(self.encoder.active)
        self.discriminator.requires_grad_(False)
        with autocast(self.device):
            codes = self.encoder(real)
            fake = self.generator.synthesis(codes)
            wanted, found = (self.features(looked_at(x, recipe.vgg_share)).float()
                             for x in (real, fake))
        terms = {
            "pixel": losses.squared_error(fake, real).mean(),
            "feature": losses.squared_error(found, wanted).mean(),
            "adversarial": losses.adversarial_loss(self.discriminator(codes[:, : used + 1])),
            "offset": offset_penalty(self.encoder.offsets(codes)[:, :used]),
        }
        descend(self.optimizers[0],
                terms["pixel"] + recipe.lambda_vgg * terms["feature"]
                + recipe.lambda_adv * terms["adversarial"] + recipe.lambda_offset * terms["offset"])
        self.discriminator.requires_grad_(True)
        return {name: value.detach() for name, value in terms.items()}, codes.detach()

    def discriminator_step(self, encoded: Tensor, step: int) -> dict[str, Tensor]:
        """Logistic loss on codes in use, sampled and encoded, now and before, with R1."""
        used = int(self.encoder.active) + 1
        real = self.sampled_pool.exchange(self.sampled(self.batch))[:, :used]
        fake = self.encoded_pool.exchange(encoded)[:, :used]
        loss = losses.equation3(self.discriminator(real), self.discriminator(fake))
        figures = {"d_loss": loss.detach()}
        if step % self.recipe.r1_every == 0:
            penalty = losses.r1_penalty(self.discriminator, real) / used  # of one layer's code
            loss = loss + self.recipe.r1_gamma / 2 * self.recipe.r1_every * penalty
            figures["r1"] = penalty.detach()
        descend(self.optimizers[1], loss)
        return figures
