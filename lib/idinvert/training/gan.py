"""GAN training: logistic loss, lazy R1, style mixing, growing resolution, average of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert import losses
from idinvert.data import grid
from idinvert.nn import projected
from idinvert.nn.stylegan import Noise

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

TEACHER_SHARE = 0.25  # of a batch, whose features are compared with those of the teacher's images


@dataclass(frozen=True)
class Recipe:
    """Settings of a GAN run."""

    batch: int = 32
    learning_rate: float = 2e-3
    discriminator_rate: float = 1.0  # learning rate of the discriminator relative to that
    # Learning rate of the mapping network relative to that; its layers scale theirs by 0.01
    # already, which takes millions of images to shape the distribution of codes.
    mapping_rate: float = 1.0
    # weight of the R1 penalty, or (thousand images, weight) knots: small images want less
    r1_gamma: float | Sequence[tuple[float, float]] = 1.0
    r1_every: int = 16  # steps between two R1 penalties (lazy regularisation, StyleGAN2)
    style_mixing: float = 0.9  # probability that a sample mixes two latents
    # Largest weight of the noise inputs. Images without texture of chance want none, but on small
    # budgets the discriminator is slow to teach it: samples stay grainy, and their KID high.
    noise_limit: float | None = None
    ema_kimg: float = 10.0  # half-life of the average of weights, in thousand images
    ema_rampup: float = 0.05  # half-life of at most this share of the images seen so far
    w_avg_beta: float = 0.998  # decay of the average code per step
    # (thousand images, lod) knots; level of detail 0 is full resolution, 2 a quarter of it
    growth: Sequence[tuple[float, float]] = ((0, 0),)
    # The papers have no teacher, whose images of the same codes the generator learns to render: it
    # spares the millions of images in which a generator finds out what there is to paint, and keeps
    # it from painting a few pictures only. For so many thousand images at the start there is
    # nothing else, and later this weight beside the adversarial loss.
    teacher_kimg: float = 0.0
    teacher_weight: float = 5.0
    compile: bool = False  # generator and discriminator by torch.compile, for a GPU


def interpolate(knots: Sequence[tuple[float, float]], kimg: float) -> float:
    """Piecewise linear between (thousand images, value) knots, constant before and after them."""
    for (k0, before), (k1, after) in pairwise(knots):
        if kimg < k1:
            return before + (after - before) * max(kimg - k0, 0) / (k1 - k0)
    return knots[-1][1]


def level(lod: float) -> dict[str, float]:
    """The argument that tells a network its level of detail, below full resolution: only those of
    StyleGAN, which grow, have one."""
    return {"lod": lod} if lod else {}


class GanTask(NetworkTask):
    """Trains a generator and a discriminator of either StyleGAN generation.

    Args:
        generator, discriminator: networks that share resolution.
        images: uint8 [N, 3, r, r] training images.
        teacher: a frozen generator, if any; the generator has its mapping network, which is frozen
            too.

    ValueError: the recipe begins with a teacher, and there is none; or it has a growth, and a
    network does not grow.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, images: Tensor,
                 recipe: Recipe, device: str = "cpu", teacher: nn.Module | None = None):
        place(generator, device)
        if recipe.teacher_kimg and teacher is None:
            raise ValueError(f"The recipe begins with {recipe.teacher_kimg:g} thousand images of a "
                             "teacher, but there is none.")
        for network in (generator, discriminator):
            if any(lod for _, lod in recipe.growth) and not getattr(network, "grows", False):
                raise ValueError(f"{network.architecture} does not grow: leave growth out of the "
                                 "recipe.")
        self.teacher = teacher
        if teacher is not None:
            place(teacher, device).eval()
            generator.mapping.requires_grad_(False)
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        super().__init__(resident(images, device), recipe, device, generator=generator,
                         discriminator=discriminator, average=average)
        self.compiled = None
        if recipe.compile:
            judge = discriminator
            if penalised(discriminator):  # a projected one is VGG-16, where nothing is to be fused
                judge = torch.compile(discriminator, dynamic=False)
            self.compiled = torch.compile(generator.synthesis, dynamic=False), judge
        lazy = recipe.r1_every / (recipe.r1_every + 1)
        mapping = list(generator.mapping.parameters())
        others = [p for p in generator.parameters() if not any(p is m for m in mapping)]
        self.optimizers = [
            adam([(mapping, recipe.learning_rate * recipe.mapping_rate),
                  (others, recipe.learning_rate)]),
            adam([(discriminator.parameters(),
                   recipe.learning_rate * recipe.discriminator_rate)], lazy),
        ]
        self.noise_scales = [p for network in (generator, average)
                             for name, p in network.named_parameters() if ".noise_" in name]
        self.step_count = 0

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One generator and one discriminator step on a fresh batch."""
        self.step_count = step
        lod = self.lod(step)
        real, codes = self.real(lod), self.codes()
        images = self.render(codes, lod)
        imitation = None if self.teacher is None else self.imitation(images, codes, lod)
        if step * self.batch < self.recipe.teacher_kimg * 1000:
            descend(self.optimizers[0], imitation)
            figures = {"imitation": imitation.detach()}
        else:
            fake = self.seen(images)
            figures = self.generator_step(fake, lod, imitation)
            figures |= self.discriminator_step(real, detached(fake), lod)
            if step % self.recipe.r1_every == 0 and penalised(self.discriminator):
                figures |= self.r1_step(real, lod, self.r1_gamma(step))
        self.limit_noise()
        self.update_average(step)
        return figures | {"lod": lod}

    def lod(self, step: int) -> float:
        """Level of detail of this step."""
        return interpolate(self.recipe.growth, step * self.batch / 1000)

    def r1_gamma(self, step: int) -> float:
        """Weight of the R1 penalty at this step."""
        gamma = self.recipe.r1_gamma
        knots = ((0, gamma),) if isinstance(gamma, int | float) else gamma
        return interpolate(knots, step * self.batch / 1000)

    def networks_at(self, lod: float) -> tuple[Callable, Callable]:
        """Synthesis and discriminator, the compiled ones once images have their full size: before,
        every level of detail would be compiled anew."""
        if self.compiled is None or lod:
            return self.generator.synthesis, self.discriminator
        return self.compiled

    def real(self, lod: float) -> Tensor:
        """A batch of flipped-at-random training images at the current resolution."""
        x = draw_batch(self.images, self.batch, self.device)
        for _ in range(int(lod)):
            x = F.avg_pool2d(x, 2)
        if lod % 1:  # the real images fade in as the generated ones do
            x = torch.lerp(x, F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), lod % 1)
        return x

    def latents(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the codes of a batch are made of: two latents [batch, Z], the layer at which the
        second one takes over [batch, 1], and whether it does."""
        g = self.generator
        z = torch.randn(self.batch, g.z_dim, device=self.device)
        other = torch.randn(self.batch, g.z_dim, device=self.device)
        cut = torch.randint(1, g.num_layers, (self.batch, 1), device=self.device)
        mixed = torch.rand(self.batch, 1, device=self.device) < self.recipe.style_mixing
        return z, other, cut, mixed

    def codes(self) -> Tensor:
        """Codes [batch, L, D] of random latents, mixed from two latents at a random layer."""
        g = self.generator
        z, other, cut, mixed = self.latents()
        w, other = g.mapping(z), g.mapping(other)
        layer = torch.arange(g.num_layers, device=self.device)
        self.follow(w.detach().mean(0))
        return torch.where((mixed & (layer >= cut)).unsqueeze(2), other, w)

    @torch.no_grad()
    def follow(self, code: Tensor) -> None:
        """Move the average code towards the mean code [L, D] of a batch."""
        self.generator.w_avg.lerp_(code, 1 - self.recipe.w_avg_beta)

    def noise(self, lod: float) -> Noise:
        """The noise of a batch of images, as `synthesis` takes it."""
        return "random"

    def render(self, codes: Tensor, lod: float) -> Tensor:
        """Images of codes, which the mapping network made in float32."""
        noise = self.noise(lod)
        synthesis, _ = self.networks_at(lod)
        with autocast(self.device):
            return synthesis(codes, noise, **level(lod))

    def imitation(self, images: Tensor, codes: Tensor, lod: float) -> Tensor:
        """Mean squared distance to the teacher's images of the same codes, and the perceptual term
        for a part of them where the discriminator looks through VGG-16."""
        with torch.no_grad(), autocast(self.device):
            wanted = self.teacher.synthesis(codes, **level(lod))
        loss = losses.squared_error(images, wanted).mean()
        if not isinstance(self.discriminator, projected.Discriminator):
            return loss
        pair = looked_at(images, TEACHER_SHARE), looked_at(wanted, TEACHER_SHARE)
        with autocast(self.device):
            terms = losses.reconstruction_terms(*pair, self.discriminator.vgg)
        return loss + losses.LAMBDA_VGG * terms["feature"].mean()

    def seen(self, images: Tensor) -> Tensor | list[Tensor]:
        """What the discriminator judges images by: their features, where it looks through some."""
        if not isinstance(self.discriminator, projected.Discriminator):
            return images
        with autocast(self.device):
            return self.discriminator.features(images)

    def discriminator_step(self, real: Tensor, fake: Tensor | list[Tensor], lod: float
                           ) -> dict[str, Tensor]:
        """Eq. (3) without its penalty, on what the generator was just judged by."""
        _, discriminator = self.networks_at(lod)
        with autocast(self.device):
            real_logits, fake_logits = (discriminator(x, **level(lod)) for x in (real, fake))
        loss = losses.equation3(real_logits, fake_logits)
        descend(self.optimizers[1], loss)
        return {"d_loss": loss.detach(), "d_real": real_logits.detach().mean(),
                "d_fake": fake_logits.detach().mean()}

    def r1_step(self, real: Tensor, lod: float, gamma: float) -> dict[str, Tensor]:
        """The penalty of Eq. (3), in float32, weighted for the steps it is left out of."""
        penalty = losses.r1_penalty(lambda x: self.discriminator(x, **level(lod)), real)
        descend(self.optimizers[1], penalty * (gamma / 2 * self.recipe.r1_every))
        return {"r1": penalty.detach()}

    def generator_step(self, fake: Tensor | list[Tensor], lod: float,
                       imitation: Tensor | None = None) -> dict[str, Tensor]:
        """Non-saturating logistic loss, and the distance to the teacher's images."""
        self.discriminator.requires_grad_(False)
        _, discriminator = self.networks_at(lod)
        with autocast(self.device):
            logits = discriminator(fake, **level(lod))
        loss = losses.adversarial_loss(logits)
        figures = {"g_loss": loss.detach()}
        if imitation is not None:
            loss = loss + self.recipe.teacher_weight * imitation
            figures["imitation"] = imitation.detach()
        descend(self.optimizers[0], loss)
        self.discriminator.requires_grad_(True)
        return figures

    @torch.no_grad()
    def limit_noise(self) -> None:
        """Keep the weights of the noise inputs within the recipe's limit."""
        limit = self.recipe.noise_limit
        for scale in self.noise_scales if limit is not None else ():
            scale.clamp_(-limit, limit)

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Exponential moving average of the generator's weights; buffers are copied."""
        images = (step + 1) * self.batch
        half_life = min(self.recipe.ema_kimg * 1000, images * self.recipe.ema_rampup)
        weight = 1 - 0.5 ** (self.batch / max(half_life, 1e-8))
        pair = list(self.average.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(*pair, weight)
        for old, new in zip(self.average.buffers(), self.generator.buffers(), strict=True):
            old.copy_(new)

    def evaluate(self) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def sample(self) -> Tensor:
        """Sheet of 8 x 8 samples of the averaged generator, always of the same latents."""
        z = torch.randn(64, self.average.z_dim, generator=torch.Generator().manual_seed(0))
        lod = self.lod(self.step_count)
        images = torch.cat([self.average(x.to(self.device), **level(lod)) for x in z.split(16)])
        return grid(images.cpu(), columns=8)


def adam(groups: Sequence[tuple[Iterable[nn.Parameter], float]], lazy: float = 1.0
         ) -> torch.optim.Adam:
    """Adam (0, 0.99) for (parameters, learning rate) groups.

    `lazy` corrects for the extra penalty steps (StyleGAN2, appendix B).
    """
    return torch.optim.Adam([{"params": list(p), "lr": rate * lazy} for p, rate in groups],
                            betas=(0.0, 0.99**lazy), eps=1e-8)
