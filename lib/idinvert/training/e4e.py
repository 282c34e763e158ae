"""Training of the e4e encoder (Tov et al. 2021): a code plus small offsets, near sampled ones.

Reconstruction terms are those of Eq. (2), where the authors add an identity network and use LPIPS.
Nothing judges images: a latent discriminator judges codes. Defaults are the authors', but for those
of `encoder.Recipe`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idinvert import losses
from idinvert.codes import code_statistics
from idinvert.models import pretrained
from idinvert.nn.e4e import CodePool, LatentDiscriminator
from idinvert.processes import ALONE, Share
from idinvert.settings import Count, NotNegative, Positive, settings

from . import encoder
from .entries import task
from .steps import autocast, descend, draw_batch, first_share, place


@settings
class Recipe(encoder.Recipe):
    """Settings of a run; `lambda_adv`, `r1_gamma` and `r1_every` are the latent discriminator's."""

    lambda_offset: NotNegative = 2e-4
    latent_rate: Positive = 0.2  # learning rate of the latent discriminator, relative
    pool: Count = 50  # codes of earlier batches that are kept, of either kind
    offsets_from: NotNegative = 0.1  # share of the schedule after which the first offset is in use
    offsets_every: Positive = 0.01  # share of the schedule between two of them


def offset_penalty(offsets: Tensor) -> Tensor:
    """Sum over layers of the norms of offsets [N, K, D], batch mean."""
    return offsets.norm(dim=2).sum(1).mean()


class OffsetTask(encoder.EncoderTask):
    """Trains an `nn.e4e.OffsetEncoder` against an `nn.e4e.LatentDiscriminator`.

    features: VGG-16 conv4_3.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, discriminator: nn.Module,
                 features: nn.Module, images: Tensor, recipe: Recipe, device: str = "cpu",
                 held_out: int = 200, judge: nn.Module | None = None, share: Share = ALONE):
        super().__init__(encoder, generator, images, recipe, device, held_out, judge, share)
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
        done = step * self.batch / (self.recipe.schedule_kimg * 1000) - self.recipe.offsets_from
        count = 0 if done < 0 else 1 + int(done / self.recipe.offsets_every)
        return min(count, self.encoder.num_layers - 1)

    def encoder_step(self, real: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Eq. (2) with the latent discriminator, and offsets; returns the terms and the codes."""
        recipe, used = self.recipe, int(self.encoder.active)
        self.discriminator.requires_grad_(False)
        with autocast(self.device):
            codes = self.encoder(real)
            fake = self.generator.synthesis(codes)
            real_features, fake_features = (self.features(first_share(x, recipe.vgg_share))
                                            for x in (real, fake))
        loss, terms = losses.equation2(
            fake, real, image_features=fake_features, target_features=real_features,
            fake_logits=self.discriminator(codes[:, : used + 1]), lambda_vgg=recipe.lambda_vgg,
            lambda_adv=recipe.lambda_adv)
        terms["offset"] = offset_penalty(self.encoder.offsets(codes)[:, :used])
        descend(self.optimizers[0], loss + recipe.lambda_offset * terms["offset"])
        self.discriminator.requires_grad_(True)
        return {name: value.detach() for name, value in terms.items()}, codes.detach()

    def discriminator_step(self, encoded: Tensor, step: int) -> dict[str, Tensor]:
        """Logistic loss on codes in use, sampled and encoded, now and before, with R1."""
        recipe, used = self.recipe, int(self.encoder.active) + 1
        real = self.sampled_pool.exchange(self.sampled_codes())[:, :used]
        fake = self.encoded_pool.exchange(encoded)[:, :used]
        loss = losses.equation3(self.discriminator(real), self.discriminator(fake))
        figures = {"d_loss": loss.detach()}
        if step % recipe.r1_every == 0:
            penalty = losses.r1_penalty(self.discriminator, real) / used  # of one layer's code
            loss = loss + losses.lazy_r1(penalty, recipe.r1_gamma, recipe.r1_every)
            figures["r1"] = penalty.detach()
        descend(self.optimizers[1], loss)
        return figures


@task("e4e")
class OffsetEntry(encoder.EncoderEntry):
    """An e4e encoder."""

    architecture: str = "e4e.OffsetEncoder"
    recipe: Recipe = Recipe()

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> OffsetTask:
        network, generator = self.networks()
        judge = LatentDiscriminator(*code_statistics(generator))
        return OffsetTask(network, generator, judge, pretrained.load_vgg16(),
                          **self.options(generator, device, share))
