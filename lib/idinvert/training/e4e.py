"""Training of the e4e encoder (Tov et al. 2021): a code plus small offsets, near sampled ones.

Reconstruction terms are those of Eq. (2), where the authors add an identity network and use LPIPS.
Nothing judges images: a latent discriminator judges codes. Defaults are the authors', but for those
of `encoder.Recipe`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from idinvert import losses
from idinvert.codes import code_statistics
from idinvert.models import pretrained
from idinvert.nn.e4e import CodePool, LatentDiscriminator
from idinvert.settings import Count, NotNegative, Positive, settings

from . import encoder
from .entries import task
from .steps import descend, draw_batch, first_share


@settings
class Recipe(encoder.Recipe):
    """Settings of a run; `lambda_adv`, `r1_gamma` and `r1_every` are the latent discriminator's."""

    lambda_offset: NotNegative = 2e-4  # weight of the offsets' norms
    latent_rate: Positive = 0.2  # learning rate of the latent discriminator, relative
    pool: Count = 50  # codes of earlier batches that are kept, of either kind
    offsets_from: NotNegative = 0.1  # share of the schedule after which the first offset is in use
    offsets_every: Positive = 0.01  # share of the schedule between two of them


def offset_penalty(offsets: Tensor) -> Tensor:
    """Sum over layers of the norms of offsets [N, K, D], batch mean."""
    return offsets.norm(dim=2).sum(1).mean()


class OffsetTask(encoder.DomainGuidedTask):
    """Trains an `nn.e4e.OffsetEncoder` against an `nn.e4e.LatentDiscriminator`."""

    judge_betas = (0.9, 0.999)

    def __init__(self, encoder: nn.Module, generator: nn.Module, discriminator: nn.Module,
                 *arguments: Any, **options: Any):
        super().__init__(encoder, generator, discriminator, *arguments, **options)
        self.relative_rates = (1.0, self.recipe.latent_rate)
        shape = self.recipe.pool, encoder.num_layers, encoder.w_dim
        self.keep(sampled_pool=CodePool(*shape), encoded_pool=CodePool(*shape))

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One step of the encoder, and one of the latent discriminator on codes in use, sampled and
        encoded, of this batch and of earlier ones."""
        self.schedule(step)
        used = max(self.offsets_at(step), int(self.encoder.active)) + 1
        self.encoder.active.fill_(used - 1)
        real = self.part(draw_batch(self.images, self.batch, self.device))
        figures, codes = self.encoder_step(real, used)
        sampled = self.exchanged(self.sampled_pool, self.sampled_codes())[:, :used]
        encoded = self.exchanged(self.encoded_pool, codes)[:, :used]
        loss = losses.equation3(self.discriminator(sampled), self.discriminator(encoded))
        return self.means(figures | self.discriminator_step(loss, sampled, step, used))

    def exchanged(self, pool: CodePool, codes: Tensor) -> Tensor:
        """What a pool gives for the codes of all processes, which it is the same in: the part of
        this one."""
        return self.part(pool.exchange(self.whole(codes)))

    def offsets_at(self, step: int) -> int:
        """Number of offsets in use: none, then one more after every `offsets_every`."""
        done = step * self.batch / (self.recipe.schedule_kimg * 1000) - self.recipe.offsets_from
        count = 0 if done < 0 else 1 + int(done / self.recipe.offsets_every)
        return min(count, self.encoder.num_layers - 1)

    def encoder_step(self, real: Tensor, used: int) -> tuple[dict[str, Tensor], Tensor]:
        """Eq. (2), where the discriminator judges codes of the layers in use, and the offsets.
        Returns its terms and the codes."""
        recipe = self.recipe
        self.discriminator.requires_grad_(False)
        codes = self.run(self.encoder, real)
        fake = self.run(self.generator.synthesis, codes)
        real_features, fake_features = (self.run(self.features, first_share(x, recipe.vgg_share))
                                        for x in (real, fake))
        loss, terms = losses.equation2(
            fake, real, image_features=fake_features, target_features=real_features,
            fake_logits=self.discriminator(codes[:, :used]), lambda_vgg=recipe.lambda_vgg,
            lambda_adv=recipe.lambda_adv)
        terms["offset"] = offset_penalty(self.encoder.offsets(codes)[:, : used - 1])
        descend(self.optimizers[0], loss + recipe.lambda_offset * terms["offset"])
        self.discriminator.requires_grad_(True)
        return terms, codes.detach()


@task("e4e")
class OffsetEntry(encoder.EncoderEntry):
    """An e4e encoder."""

    architecture: str = "e4e.OffsetEncoder"
    recipe: Recipe = Recipe()

    several_processes: ClassVar[bool] = True
    trains: ClassVar[type[encoder.EncoderTask]] = OffsetTask
    uses_offsets: ClassVar[bool] = True

    def guides(self, generator: nn.Module, device: str) -> tuple[nn.Module, ...]:
        return LatentDiscriminator(*code_statistics(generator)), pretrained.load_vgg16()
