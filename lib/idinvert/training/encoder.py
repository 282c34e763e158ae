"""Encoder training through a frozen generator: domain-guided (Eq. 2-3) and conventional (Eq. 1).

An encoder that predicts noise maps as well (section 6.3) is trained by the same Eq. (2) and (3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from idinvert import losses
from idinvert.codes import encode_with_noise, render_with_noise, sample_codes
from idinvert.data import grid, to_float
from idinvert.metrics import features, kid

from .steps import (
    NetworkTask,
    autocast,
    descend,
    detached,
    draw_batch,
    looked_at,
    penalised,
    place,
    resident,
)


@dataclass(frozen=True)
class Recipe:
    """Settings of an encoder run."""

    batch: int = 32
    learning_rate: float = 1e-4
    kimg: float = 14_000  # length of the schedule over which the learning rate decays
    decay: float = 0.8  # factor of the learning rate every quarter of the schedule, smoothly
    lambda_vgg: float = losses.LAMBDA_VGG
    lambda_adv: float = losses.LAMBDA_ADV
    r1_gamma: float = losses.R1_GAMMA
    r1_every: int = 1  # steps between two penalties, each weighted by this number
    # Thousand images at the start that are sampled, their codes recovered as by Eq. (1): the space
    # of codes is found sooner. The paper has none.
    warmup_kimg: float = 0.0
    # Share of every batch that VGG-16 looks at, for the perceptual term and for a projected
    # discriminator: VGG is the larger part of a step's time, and the mean over a random part is an
    # unbiased estimate of the mean over all.
    vgg_share: float = 1.0


class EncoderTask(NetworkTask):
    """What all kinds of encoder training share: data, schedule, held-out evaluation.

    Args:
        encoder: maps images to codes; trained.
        generator: frozen.
        images: uint8 [N, 3, r, r] training images; the last `held_out` only evaluate.
        judge: maps images to features [N, F], in which the KID of reconstructions is taken; None
            leaves it out.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, images: Tensor, recipe: Recipe,
                 device: str = "cpu", held_out: int = 200, judge: nn.Module | None = None):
        super().__init__(resident(images[:-held_out], device), recipe, device, encoder=encoder)
        self.held_out = images[-held_out:]
        self.judge = judge if judge is None else place(judge, device).eval()
        self.generator = place(generator, device).eval().requires_grad_(False)
        trained = [p for p in encoder.parameters() if p.requires_grad]
        self.optimizers = [torch.optim.Adam(trained, recipe.learning_rate, (0.9, 0.99))]

    def schedule(self, step: int) -> None:
        """Learning rate of this step: decay^(4 x share of the schedule that is done)."""
        done = step * self.batch / (self.recipe.kimg * 1000)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * self.recipe.decay ** (4 * done)

    def code_step(self) -> dict[str, Tensor]:
        """Eq. (1): one encoder step on freshly sampled images, whose codes are known."""
        with torch.no_grad():
            codes = self.sampled(self.batch)
            with autocast(self.device):
                images = self.generator.synthesis(codes)
        with autocast(self.device):
            encoded = self.encoder(images)
        loss = losses.equation1(codes, encoded)
        descend(self.optimizers[0], loss)
        return {"code": loss.detach()}

    @torch.no_grad()
    def sampled(self, count: int) -> Tensor:
        """Codes [count, L, D] of random latents."""
        return self.generator.mapping(
            torch.randn(count, self.generator.z_dim, device=self.device))

    def reconstruct(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Held-out images, their codes and reconstructions, encoder in eval mode, on the CPU."""
        x = to_float(self.held_out[:count].to(self.device))
        codes, noise = encode_with_noise(self.encoder, x)
        return x.cpu(), codes.cpu(), render_with_noise(self.generator, codes, noise).cpu()

    def evaluate(self) -> dict[str, float]:
        """Of held-out images: MSE and KID of reconstructions, distance of codes to sampled ones."""
        x, codes, y = self.reconstruct(len(self.held_out))
        sampled = sample_codes(self.generator, 1000, seed=1).cpu()
        figures = {"held_out_mse": losses.squared_error(x, y).mean().item(),
                   "code_distance": code_distance(codes, sampled)}
        if self.judge is not None:
            seen = features.extract(y, self.judge)
            figures["held_out_kid_x1e3"] = 1e3 * kid.mmd2(seen, self.held_out_features)
        return figures

    @cached_property
    def held_out_features(self) -> Tensor:
        """Features [N, F] of the held-out images, which never change."""
        return features.extract(to_float(self.held_out), self.judge)

    def sample(self) -> Tensor:
        """Sheet: held-out images above their reconstructions."""
        x, _, y = self.reconstruct(32)
        return torch.cat([torch.cat([grid(a, 16), grid(b, 16)], 1)
                          for a, b in zip(x.split(16), y.split(16))], 1)


def code_distance(codes: Tensor, sampled: Tensor) -> float:
    """Mean distance of codes to the nearest sampled one, relative to that among sampled ones."""
    half = len(sampled) // 2
    reference, other = sampled[:half].flatten(1), sampled[half:].flatten(1)
    own = torch.cdist(other, reference).min(1).values.mean()
    return (torch.cdist(codes.flatten(1), reference).min(1).values.mean() / own).item()


class DomainGuidedTask(EncoderTask):
    """Eq. (2) and (3): real images through encoder and generator, against the discriminator.

    discriminator: the generator's own, fine-tuned on the way; features: VGG-16 conv4_3.
    """

    def __init__(self, encoder, generator, discriminator, features, images, recipe, device="cpu",
                 held_out=200, judge=None):
        super().__init__(encoder, generator, images, recipe, device, held_out, judge)
        self.keep(discriminator=discriminator.train().requires_grad_(True))
        self.features = place(features, device).eval().requires_grad_(False)
        self.optimizers.append(
            torch.optim.Adam(discriminator.parameters(), recipe.learning_rate, (0.9, 0.99))
        )

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One encoder and one discriminator step on the same batch, after the warm-up."""
        self.schedule(step)
        if step * self.batch < self.recipe.warmup_kimg * 1000:
            return self.code_step()
        real = self.real()
        with torch.no_grad():
            seen, wanted = self.look(real)
        figures, shown = self.encoder_step(real, wanted)
        return figures | self.discriminator_step(real, seen, shown, step)

    def real(self) -> Tensor:
        """A batch of training images, flipped at random."""
        return draw_batch(self.images, self.batch, self.device)

    def look(self, images: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        """What the discriminator judges a batch by, and its features for the perceptual term.

        A projected discriminator shares the one pass through VGG-16, and judges no more images
        than that is given.
        """
        part = looked_at(images, self.recipe.vgg_share)
        with autocast(self.device):
            if penalised(self.discriminator):
                return images, self.features(part)
            return self.discriminator.features_and_conv4_3(part)

    def encoder_step(self, real: Tensor, wanted: Tensor
                     ) -> tuple[dict[str, Tensor], Tensor | list[Tensor]]:
        """Eq. (2), `wanted` being the features of the images.

        Returns the terms, and what the discriminator judged the reconstructions by.
        """
        recipe = self.recipe
        self.discriminator.requires_grad_(False)
        with autocast(self.device):
            fake = self.generator.synthesis(*self.encoder.with_noise(real))
        shown, found = self.look(fake)
        with autocast(self.device):
            logits = self.discriminator(shown)
        terms = {"pixel": losses.squared_error(fake, real).mean(),
                 "feature": losses.squared_error(found.float(), wanted.float()).mean(),
                 "adversarial": losses.adversarial_loss(logits)}
        descend(self.optimizers[0], terms["pixel"] + recipe.lambda_vgg * terms["feature"]
                + recipe.lambda_adv * terms["adversarial"])
        self.discriminator.requires_grad_(True)
        return {name: value.detach() for name, value in terms.items()}, detached(shown)

    def discriminator_step(self, real: Tensor, seen: Tensor | list[Tensor],
                           shown: Tensor | list[Tensor], step: int) -> dict[str, Tensor]:
        """Eq. (3) on what is seen of the images and shown of their reconstructions; the penalty,
        on the images, in float32."""
        with autocast(self.device):
            real_logits, fake_logits = self.discriminator(seen), self.discriminator(shown)
        loss = losses.equation3(real_logits, fake_logits)
        figures = {"d_loss": loss.detach()}
        if step % self.recipe.r1_every == 0 and penalised(self.discriminator):
            penalty = losses.r1_penalty(self.discriminator, real)
            loss = loss + self.recipe.r1_gamma / 2 * self.recipe.r1_every * penalty
            figures["r1"] = penalty.detach()
        descend(self.optimizers[1], loss)
        return figures


class ConventionalTask(EncoderTask):
    """Eq. (1): sampled codes are recovered from their own images; no real image is seen."""

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One encoder step on freshly sampled images."""
        self.schedule(step)
        return self.code_step()
