"""GAN training: logistic loss, lazy R1, style mixing, growing resolution, average of weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, ValidationError, WrapValidator
from torch import Tensor, nn

from idinvert import data, losses, models
from idinvert.codes import render, sample_codes
from idinvert.data import grid
from idinvert.metrics import features, frechet, kid
from idinvert.models import pretrained
from idinvert.nn.protocols import Generator
from idinvert.nn.stylegan import Noise
from idinvert.processes import ALONE, Share
from idinvert.settings import Count, NotNegative, Positive, settings
from idinvert.settings import Share as Fraction

from . import augment
from .discriminators import new_discriminator, penalised, widen_discriminator
from .entries import Entry, Published, check_network, task, untrained
from .net2net import take_codes, wider
from .runs import evaluations
from .steps import NetworkTask, autocast, descend, detached, draw_batch, first_share, freeze

SMALLEST = 4  # px, of images that networks grow from
TEACHER_SHARE = 0.25  # of a batch, whose features are compared with those of the teacher's images


def rising(knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """The (thousand images, value) knots; ValueError: there are none, or they are not in order."""
    times = [kimg for kimg, _ in knots]
    if not times or any(after < before for before, after in pairwise(times)):
        raise ValueError("should be pairs of thousand images, in increasing order, and a value")
    return knots


def weight(value: Any, check: Callable[[Any], Any]) -> Any:
    """A weight that fits its type; ValueError in words for both kinds."""
    try:
        return check(value)
    except ValidationError:
        raise ValueError("should be a number from 0, or pairs of thousand images, in increasing "
                         "order, and such a number") from None


Knots = Annotated[tuple[tuple[NotNegative, NotNegative], ...], AfterValidator(rising)]
Weight = Annotated[NotNegative | Knots, WrapValidator(weight)]


@settings
class Recipe:
    """Settings of a GAN run.

    Defaults suit small images and short runs. StyleGAN2 trains on FFHQ with 25,000 thousand images
    in batches of 32, a penalty of weight 10, two latents in 0.9 of the samples, an average of
    weights whose half-life is 10 thousand images without a ramp-up, and an average code that
    decays by 0.995. It has no limit of the noise inputs and no teacher.
    """

    batch: Count = 16  # images of a step
    learning_rate: Positive = 2e-3  # of the generator
    discriminator_rate: Positive = 1.0  # learning rate of the discriminator, relative
    # Learning rate of the mapping network, relative. Its layers scale theirs by 0.01 already, so
    # that it takes millions of images to shape the distribution of codes.
    mapping_rate: Positive = 1.0
    # weight of the R1 penalty, or (thousand images, weight) knots: small images want less
    r1_gamma: Weight = 0.1
    r1_every: Count = 16  # steps between two R1 penalties (lazy regularisation, StyleGAN2)
    style_mixing: Fraction = 0.3  # probability that a sample mixes two latents
    # Largest weight of the noise inputs. Images without random texture want none, but in a short
    # run the discriminator is slow to teach it: samples stay grainy, and their KID high.
    noise_limit: NotNegative | None = None
    ema_kimg: NotNegative = 4.0  # half-life of the average of weights, in thousand images
    ema_rampup: Positive = 0.05  # half-life of at most this share of the images so far
    w_avg_beta: Fraction = 0.998  # decay of the average code per step
    # (thousand images, level of detail) knots: level 0 is full resolution, 2 a quarter of it
    growth: Knots = ((0, 0),)
    # Thousand images at the start in which the generator only learns to render what its teacher
    # renders of the same codes. This spares the millions of images in which a generator finds out
    # what there is to paint, and keeps it from painting a few pictures only.
    teacher_kimg: NotNegative = 0.0
    teacher_weight: NotNegative = 5.0  # of the distance to the teacher's images after that
    # Change light, colour and place of images at random, and cover a part, before they are judged:
    # a discriminator soon knows some thousand images by heart.
    augment: bool = False
    compile: bool = False  # generator and discriminator by torch.compile, for a GPU


def interpolate(knots: float | Sequence[tuple[float, float]], kimg: float) -> float:
    """Piecewise linear between (thousand images, value) knots, constant before and after them; a
    number is the value everywhere."""
    if isinstance(knots, int | float):
        return knots
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
        generator, discriminator: networks of the same resolution.
        images: uint8 [N, 3, r, r] training images.
        teacher: a generator with the same mapping network, if any; that network is then frozen.
        domain: one of the study, with whose test images samples are compared at every checkpoint.

    ValueError: the recipe begins with a teacher, and there is none; or it has a growth, and a
    network does not grow, or not from so small images.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, images: Tensor,
                 recipe: Recipe, device: str = "cpu", teacher: nn.Module | None = None,
                 share: Share = ALONE, domain: str | None = None):
        for network in (generator, discriminator):
            if any(lod for _, lod in recipe.growth) and not getattr(network, "grows", False):
                raise ValueError(f"{network.architecture} does not grow: leave growth out of the "
                                 "recipe.")
        deepest, largest = math.log2(generator.resolution / SMALLEST), max(
            lod for _, lod in recipe.growth)
        if largest > deepest:
            raise ValueError(f"growth has level {largest:g}, but images of {generator.resolution} "
                             f"px have levels of detail up to {deepest:g}.")
        if recipe.teacher_kimg and teacher is None:
            raise ValueError(f"The recipe begins with {recipe.teacher_kimg:g} thousand images of a "
                             "teacher, but there is none.")
        self.teacher, self.domain = teacher, domain
        if teacher is not None:
            freeze(teacher, device)
            generator.mapping.requires_grad_(False)
        average = copy.deepcopy(generator).eval().requires_grad_(False)
        super().__init__(images, recipe, device, share, generator=generator,
                         discriminator=discriminator, average=average)
        # Adam is corrected for the extra penalty steps (StyleGAN2, appendix B).
        lazy = recipe.r1_every / (recipe.r1_every + 1) if penalised(discriminator) else 1.0
        self.at_full_size = generator.synthesis, discriminator
        if recipe.compile:  # of a projected discriminator, which is VGG-16, nothing can be fused
            judge = (torch.compile(discriminator, dynamic=False) if penalised(discriminator)
                     else discriminator)
            self.at_full_size = torch.compile(generator.synthesis, dynamic=False), judge
        rate = recipe.learning_rate
        others = [p for name, p in generator.named_parameters() if not name.startswith("mapping.")]
        self.optimizers = [
            torch.optim.Adam([{"params": list(generator.mapping.parameters()),
                               "lr": rate * recipe.mapping_rate}, {"params": others}],
                             rate, (0.0, 0.99)),
            torch.optim.Adam(discriminator.parameters(), rate * recipe.discriminator_rate * lazy,
                             (0.0, 0.99**lazy))]
        self.noise_scales = [p for network in (generator, average)
                             for name, p in network.named_parameters() if ".noise_" in name]
        self.step_count = 0
        self.share_batch(discriminator.minibatch_group)

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One generator and one discriminator step on a fresh batch; in the teacher's time one
        step of the generator towards its images."""
        self.step_count, lod = step, self.lod(step)
        real, codes = self.real(lod), self.codes()
        images = self.render(codes, lod)
        figures = {} if self.teacher is None else {
            "imitation": self.imitation(images, codes, lod)}
        if step * self.batch < self.recipe.teacher_kimg * 1000:
            descend(self.optimizers[0], figures["imitation"])
        else:
            judged = self.judged_by(images)
            figures |= self.generator_step(judged, lod, figures.get("imitation", 0.0))
            figures |= self.discriminator_step(self.changed(real), detached(judged), lod)
            if step % self.recipe.r1_every == 0 and penalised(self.discriminator):
                figures |= self.r1_step(real, lod, self.r1_gamma(step))
        self.limit_noise()
        self.update_average(step)
        return self.means(figures) | {"lod": lod}

    def generator_step(self, fake: Tensor | list[Tensor], lod: float,
                       imitation: Tensor | float = 0.0) -> dict[str, Tensor]:
        """Non-saturating logistic loss, and the distance to the teacher's images."""
        self.discriminator.requires_grad_(False)
        logits = self.run(self.networks_at(lod)[1], fake, **level(lod))
        loss = losses.adversarial_loss(logits)
        descend(self.optimizers[0], loss + self.recipe.teacher_weight * imitation)
        self.discriminator.requires_grad_(True)
        return {"g_loss": loss}

    def discriminator_step(self, real: Tensor, fake: Tensor | list[Tensor], lod: float
                           ) -> dict[str, Tensor]:
        """Eq. (3) without its penalty, on what the generator was just judged by."""
        _, discriminator = self.networks_at(lod)
        with autocast(self.device):
            real_logits, fake_logits = (discriminator(x, **level(lod)) for x in (real, fake))
        loss = losses.equation3(real_logits, fake_logits)
        descend(self.optimizers[1], loss)
        return {"d_loss": loss, "d_real": real_logits.mean(), "d_fake": fake_logits.mean()}

    def r1_step(self, real: Tensor, lod: float, gamma: float) -> dict[str, Tensor]:
        """The penalty of Eq. (3), in float32, weighted for the steps that leave it out."""
        penalty = losses.r1_penalty(lambda x: self.discriminator(x, **level(lod)), real)
        descend(self.optimizers[1], losses.lazy_r1(penalty, gamma, self.recipe.r1_every))
        return {"r1": penalty}

    def imitation(self, images: Tensor, codes: Tensor, lod: float) -> Tensor:
        """Mean squared distance to the teacher's images of the same codes, and the perceptual term
        for a part of them where the discriminator has VGG-16."""
        with torch.no_grad():
            wanted = self.run(self.teacher.synthesis, codes, **level(lod))
        found = target = None
        if not penalised(self.discriminator):
            found, target = (self.run(self.discriminator.vgg, first_share(x, TEACHER_SHARE))
                             for x in (images, wanted))
        return losses.equation2(images, wanted, image_features=found, target_features=target)[0]

    def judged_by(self, images: Tensor) -> Tensor | list[Tensor]:
        """What the discriminator judges images by: a projected one by their features."""
        images = self.changed(images)
        if penalised(self.discriminator):
            return images
        return self.run(self.discriminator.features, images)

    def changed(self, images: Tensor) -> Tensor:
        """Images as the discriminator sees them."""
        if not self.recipe.augment:
            return images
        return augment.changed(images, self.part(augment.draw(self.batch, self.device)))

    def lod(self, step: int) -> float:
        """Level of detail of this step."""
        return interpolate(self.recipe.growth, step * self.batch / 1000)

    def r1_gamma(self, step: int) -> float:
        """Weight of the R1 penalty at this step."""
        return interpolate(self.recipe.r1_gamma, step * self.batch / 1000)

    def networks_at(self, lod: float) -> tuple[Callable, Callable]:
        """Synthesis and discriminator. Compiled ones render images of full size only: else each
        level of detail would be compiled anew."""
        return (self.generator.synthesis, self.discriminator) if lod else self.at_full_size

    def real(self, lod: float) -> Tensor:
        """A batch of training images, flipped at random, at the current resolution."""
        x = self.part(draw_batch(self.images, self.batch, self.device))
        for _ in range(int(lod)):
            x = F.avg_pool2d(x, 2)
        if lod % 1:  # the real images fade in as the generated ones do
            x = torch.lerp(x, F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), lod % 1)
        return x

    def codes(self) -> Tensor:
        """Codes [batch, L, D] of random latents, mixed from two latents at a random layer."""
        g, size, on = self.generator, (self.batch, 1), {"device": self.device}
        z, other, cut, chance = map(self.part, (
            torch.randn(self.batch, g.z_dim, **on), torch.randn(self.batch, g.z_dim, **on),
            torch.randint(1, g.num_layers, size, **on), torch.rand(size, **on)))
        w, other = g.mapping(z), g.mapping(other)
        switched = (chance < self.recipe.style_mixing) & (torch.arange(g.num_layers, **on) >= cut)
        with torch.no_grad():  # the average code follows the mean code of the batch
            g.w_avg.lerp_(self.mean(w.mean(0)), 1 - self.recipe.w_avg_beta)
        return torch.where(switched.unsqueeze(2), other, w)

    def noise(self, lod: float) -> Noise:
        """The noise of a batch of images, as `synthesis` takes it. Several processes draw the maps
        of the layers that render this level of detail, in the order in which one process does."""
        if self.share.world == 1:
            return "random"
        layers = self.generator.layers[: self.generator.num_layers - 2 * int(lod)]
        return [self.part(torch.randn(self.batch, *layer.noise.shape[1:], device=self.device))
                for layer in layers]

    def render(self, codes: Tensor, lod: float) -> Tensor:
        """Images of codes, which the mapping network made in float32."""
        return self.run(self.networks_at(lod)[0], codes, self.noise(lod), **level(lod))

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
        old, new = self.average, self.generator
        torch._foreach_lerp_(list(old.parameters()), list(new.parameters()), weight)
        torch._foreach_copy_(list(old.buffers()), list(new.buffers()))

    def evaluate(self) -> dict[str, float]:
        """KID and FD of the averaged generator, where there is something to compare it with."""
        return generator_figures(self.average, self.domain) if self.domain else {}

    @torch.no_grad()
    def sample(self) -> Tensor:
        """Sheet of 8 x 8 samples of the averaged generator, always of the same latents."""
        z = torch.randn(64, self.average.z_dim, generator=torch.Generator().manual_seed(0))
        lod = level(self.lod(self.step_count))
        parts = z.split(self.batch // self.share.world)  # as many as a step can take
        images = torch.cat([self.average(x.to(self.device), **lod) for x in parts])
        return grid(images.cpu(), columns=8)


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
        Published("average", 8, 6), Published("discriminator", 3.5, 3.5, "discriminator"))
    several_processes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_network(self.discriminator, {})
        base, resolution = (self.settings.get(x) for x in ("channel_base", "resolution"))
        if base and resolution and base < resolution:
            raise ValueError(f"channel_base is {base}, which leaves the layers of {resolution} px "
                             f"without channels: it must be {resolution} or more")

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> GanTask:
        torch.manual_seed(self.seed)
        generator = untrained(self.architecture, self.settings, Generator)
        discriminator = new_discriminator(self.discriminator, self.settings, device)
        teacher = None
        if self.parent:
            parent = models.check_generator(self.parent, models.load(self.parent))
            generator.load_state_dict(wider(parent.state_dict(), generator))
            widen_discriminator(discriminator, self.parent)
        if self.teacher:
            teacher = models.check_generator(self.teacher, models.load(self.teacher))
            take_codes(generator, teacher)
            widen_discriminator(discriminator, self.teacher)
        images = self.training_images(generator.resolution, share)
        return GanTask(generator, discriminator, images, self.recipe, device, teacher, share,
                       self.domain)

    def adopt(self, task: GanTask) -> None:
        """Begin as what is published, also with more channels than that has, but with the codes
        of the teacher as it is now."""
        state = wider(models.load(self.name).state_dict(), task.generator)
        widen_discriminator(task.discriminator, self.name)
        for network in (task.generator, task.average):
            network.load_state_dict(state)
            if task.teacher is not None:
                take_codes(network, task.teacher)

    def facts(self, task: GanTask) -> dict:
        figures = {} if evaluations(self.name) else task.evaluate()  # no step, no checkpoint
        return {"discriminator": self.discriminator} | ({"evaluation": figures} if figures else {})
