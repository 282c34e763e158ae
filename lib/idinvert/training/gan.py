"""GAN training: logistic loss, lazy R1, style mixing, growing resolution, average of weights."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idinvert import data, losses, models
from idinvert.codes import render, sample_codes
from idinvert.data import grid
from idinvert.metrics import features, frechet, kid
from idinvert.models import pretrained
from idinvert.nn import projected
from idinvert.nn.architecture import NETWORKS, build
from idinvert.nn.stylegan import Noise
from idinvert.processes import ALONE, Share
from idinvert.settings import Count, NotNegative, Positive, settings
from idinvert.settings import Share as Fraction

from .entries import Entry, Published, check_network, task
from .net2net import take_codes, wider
from .steps import (
    NetworkTask,
    autocast,
    descend,
    detached,
    draw_batch,
    first_share,
    penalised,
    place,
    resident,
)

TEACHER_SHARE = 0.25  # of a batch, whose features are compared with those of the teacher's images


@settings
class Recipe:
    """Settings of a GAN run."""

    batch: Count = 16
    learning_rate: Positive = 2e-3
    discriminator_rate: Positive = 1.0  # learning rate of the discriminator relative to that
    # Learning rate of the mapping network relative to that; its layers scale theirs by 0.01
    # already, which takes millions of images to shape the distribution of codes.
    mapping_rate: Positive = 1.0
    # weight of the R1 penalty, or (thousand images, weight) knots: small images want less
    r1_gamma: NotNegative | tuple[tuple[float, float], ...] = 0.1
    r1_every: Count = 16  # steps between two R1 penalties (lazy regularisation, StyleGAN2)
    style_mixing: Fraction = 0.3  # probability that a sample mixes two latents
    # Largest weight of the noise inputs. Images without texture of chance want none, but on small
    # budgets the discriminator is slow to teach it: samples stay grainy, and their KID high.
    noise_limit: NotNegative | None = None
    ema_kimg: NotNegative = 4.0  # half-life of the average of weights, in thousand images
    ema_rampup: Positive = 0.05  # half-life of at most this share of the images so far
    w_avg_beta: Fraction = 0.998  # decay of the average code per step
    # (thousand images, lod) knots; level of detail 0 is full resolution, 2 a quarter of it
    growth: tuple[tuple[float, NotNegative], ...] = ((0, 0),)
    # The papers have no teacher, whose images of the same codes the generator learns to render: it
    # spares the millions of images in which a generator finds out what there is to paint, and keeps
    # it from painting a few pictures only. For so many thousand images at the start there is
    # nothing else, and later this weight beside the adversarial loss.
    teacher_kimg: NotNegative = 0.0
    teacher_weight: NotNegative = 5.0
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
                 recipe: Recipe, device: str = "cpu", teacher: nn.Module | None = None,
                 share: Share = ALONE):
        place(generator, device)
        for network in (generator, discriminator):
            if any(lod for _, lod in recipe.growth) and not getattr(network, "grows", False):
                raise ValueError(f"{network.architecture} does not grow: leave growth out of the "
                                 "recipe.")
        if recipe.teacher_kimg and teacher is None:
            raise ValueError(f"The recipe begins with {recipe.teacher_kimg:g} thousand images of a "
                             "teacher, but there is none.")
        self.teacher = teacher
        if teacher is not None:
            place(teacher, device).eval()
            generator.mapping.requires_grad_(False)
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        super().__init__(resident(images, device), recipe, device, share, generator=generator,
                         discriminator=discriminator, average=average)
        self.compiled = None
        if recipe.compile:
            judge = discriminator
            if penalised(discriminator):  # a projected one is VGG-16, where nothing is to be fused
                judge = torch.compile(discriminator, dynamic=False)
            self.compiled = torch.compile(generator.synthesis, dynamic=False), judge
        lazy = recipe.r1_every / (recipe.r1_every + 1) if penalised(discriminator) else 1.0
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
        self.share_batch(discriminator.minibatch_group)

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
            judged = self.judged_by(images)
            figures = self.generator_step(judged, lod, imitation)
            figures |= self.discriminator_step(real, detached(judged), lod)
            if step % self.recipe.r1_every == 0 and penalised(self.discriminator):
                figures |= self.r1_step(real, lod, self.r1_gamma(step))
        self.limit_noise()
        self.update_average(step)
        return self.means(figures) | {"lod": lod}

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
        x = self.part(draw_batch(self.images, self.batch, self.device))
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
        return tuple(map(self.part, (z, other, cut, mixed)))

    def codes(self) -> Tensor:
        """Codes [batch, L, D] of random latents, mixed from two latents at a random layer."""
        g = self.generator
        z, other, cut, mixed = self.latents()
        w, other = g.mapping(z), g.mapping(other)
        layer = torch.arange(g.num_layers, device=self.device)
        with torch.no_grad():  # the average code follows the mean code of the batch
            g.w_avg.lerp_(self.mean(w.mean(0)), 1 - self.recipe.w_avg_beta)
        return torch.where((mixed & (layer >= cut)).unsqueeze(2), other, w)

    def noise(self, lod: float) -> Noise:
        """The noise of a batch of images, as `synthesis` takes it: among several processes maps of
        the layers that render this level of detail, in the order in which one process draws them.
        """
        if self.share.world == 1:
            return "random"
        layers = self.generator.layers[: self.generator.num_layers - 2 * int(lod)]
        return [self.part(torch.randn(self.batch, *layer.noise.shape[1:], device=self.device))
                for layer in layers]

    def render(self, codes: Tensor, lod: float) -> Tensor:
        """Images of codes, which the mapping network made in float32."""
        noise = self.noise(lod)
        synthesis, _ = self.networks_at(lod)
        with autocast(self.device):
            return synthesis(codes, noise, **level(lod))

    def imitation(self, images: Tensor, codes: Tensor, lod: float) -> Tensor:
        """Mean squared distance to the teacher's images of the same codes, and the perceptual term
        for a part of them where the discriminator has VGG-16."""
        with torch.no_grad(), autocast(self.device):
            wanted = self.teacher.synthesis(codes, **level(lod))
        found = target = None
        if not penalised(self.discriminator):
            with autocast(self.device):
                found, target = (self.discriminator.vgg(first_share(x, TEACHER_SHARE))
                                 for x in (images, wanted))
        return losses.equation2(images, wanted, image_features=found, target_features=target)[0]

    def judged_by(self, images: Tensor) -> Tensor | list[Tensor]:
        """What the discriminator judges images by: a projected one by their features."""
        if penalised(self.discriminator):
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
        descend(self.optimizers[1], losses.lazy_r1(penalty, gamma, self.recipe.r1_every))
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
        images = torch.cat([self.average(x.to(self.device), **level(lod))
                            for x in z.split(16)])
        return grid(images.cpu(), columns=8)


def adam(groups: Sequence[tuple[Iterable[nn.Parameter], float]], lazy: float = 1.0
         ) -> torch.optim.Adam:
    """Adam (0, 0.99) for (parameters, learning rate) groups.

    `lazy` corrects for the extra penalty steps (StyleGAN2, appendix B).
    """
    return torch.optim.Adam([{"params": list(p), "lr": rate * lazy} for p, rate in groups],
                            betas=(0.0, 0.99**lazy), eps=1e-8)


def new_discriminator(architecture: str, generator: Mapping[str, Any], device: str = "cpu"
                      ) -> nn.Module:
    """An untrained discriminator as wide as the generator of these settings, ready to judge."""
    known = inspect.signature(NETWORKS[architecture]).parameters
    shared = {name: value for name, value in generator.items() if name in known}
    return with_features(build(architecture, shared), device)


def mirror(architecture: str) -> str:
    """Architecture of the discriminator that mirrors a generator: FAMILY.Discriminator."""
    return f"{architecture.removesuffix('.Generator')}.Discriminator"


def with_features(discriminator: nn.Module, device: str) -> nn.Module:
    """A discriminator, with VGG-16 if it is a projected one."""
    if isinstance(discriminator, projected.Discriminator):
        discriminator.attach(pretrained.load_vgg16(device))
    return discriminator


def discriminator_of(name: str, device: str = "cpu") -> nn.Module:
    """The discriminator of a generator, or a new one where it was imported without."""
    own = models.companions(name, "discriminator").get(models.DEFAULT)
    if own:
        return with_features(models.load(own), device)
    card = models.card(name)
    return new_discriminator(mirror(card["architecture"]), card["settings"], device)


def widen_discriminator(discriminator: nn.Module, name: str) -> None:
    """Give a discriminator the weights of a generator's own, unless that is of another kind."""
    shipped = models.load(models.companion(name, "discriminator"))
    if type(shipped) is type(discriminator):
        discriminator.load_state_dict(wider(shipped.state_dict(), discriminator))


@torch.no_grad()
def generator_figures(generator: nn.Module, domain: str, count: int = 1000) -> dict[str, float]:
    """KID x 1e3 and FD of `count` samples, without truncation, against as many test images."""
    device = next(generator.parameters()).device
    judge = pretrained.load_efficientnet_lite0(device)
    real = data.to_float(data.load(domain, "test", count).images)
    codes = sample_codes(generator, count, seed=1)
    found = features.extract(render(generator, codes), judge)
    wanted = features.extract(real.to(device), judge)
    return {"kid_x1e3": 1e3 * kid.mmd2(found, wanted), "fd": frechet.fd(found, wanted),
            "images": count}


@task("gan")
class GanEntry(Entry):
    """A generator with its discriminator.

    Both begin with a parent's weights, the discriminator only if the parent's is of its kind. A
    teacher gives its codes, and its discriminator.
    """

    architecture: str
    settings: dict[str, Any]
    discriminator: str = "projected.Discriminator"
    recipe: Recipe = Recipe()
    parent: str | None = None
    teacher: str | None = None

    role: ClassVar[str] = "generator"
    published: ClassVar[tuple[Published, ...]] = (
        Published("average", 8, 6), Published("discriminator", 4, 4, "discriminator"))
    several_processes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_network(self.architecture, self.settings)
        check_network(self.discriminator, {})
        base, resolution = (self.settings.get(x) for x in ("channel_base", "resolution"))
        if base and resolution and base < resolution:
            raise ValueError(f"channel_base is {base}, which leaves the layers of {resolution} px "
                             f"without channels: it must be {resolution} or more")

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> GanTask:
        torch.manual_seed(self.seed)
        generator = build(self.architecture, self.settings)
        discriminator = new_discriminator(self.discriminator, self.settings, device)
        teacher = None
        if self.parent:
            parent = models.load(self.parent)
            generator.load_state_dict(wider(parent.state_dict(), generator))
            widen_discriminator(discriminator, self.parent)
        if self.teacher:
            teacher = models.load(self.teacher)
            take_codes(generator, teacher)
            widen_discriminator(discriminator, self.teacher)
        images = self.training_images(generator.resolution, share)
        return GanTask(generator, discriminator, images, self.recipe, device, teacher, share)

    def adopt(self, task: GanTask) -> None:
        """Begin as what is published, also with more channels than that has."""
        state = wider(models.load(self.name).state_dict(), task.generator)
        widen_discriminator(task.discriminator, self.name)
        for network in (task.generator, task.average):
            network.load_state_dict(state)

    def facts(self, task: GanTask) -> dict:
        found = {"discriminator": self.discriminator}
        found |= {key: getattr(self, key) for key in ("parent", "teacher") if getattr(self, key)}
        if self.domain:
            found["evaluation"] = generator_figures(task.average, self.domain)
        return found
