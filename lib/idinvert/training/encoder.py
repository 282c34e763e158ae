"""Encoder training through a frozen generator: domain-guided (Eq. 2-3) and conventional (Eq. 1).

An encoder that predicts noise maps as well (section 6.3) is trained by the same Eq. (2) and (3).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert import losses, models
from idinvert.codes import (
    code_statistics,
    encode_with_noise,
    interpolate,
    render_with_noise,
    sample_codes,
)
from idinvert.data import grid, to_float
from idinvert.metrics import features, kid, pixel, swd
from idinvert.models import pretrained
from idinvert.nn import noise_encoder
from idinvert.nn.architecture import NETWORKS
from idinvert.nn.e4e import OffsetEncoder
from idinvert.nn.protocols import Encoder
from idinvert.nn.stylegan import Noise
from idinvert.processes import ALONE, Share
from idinvert.settings import Count, NotNegative, Positive, settings
from idinvert.settings import Share as Fraction

from .discriminators import discriminator_of, penalised
from .entries import Entry, Published, content, task, untrained
from .parallel import synchronise
from .runs import curve, is_new
from .steps import ScheduledTask, autocast, descend, detached, draw_batch, first_share, freeze

START_BATCH = 4  # samples rendered at once before the first step
HELD_OUT = 200  # training images on which encoders are judged, an eighth of all at most


@settings
class ConventionalRecipe:
    """Settings of a run of Eq. (1)."""

    batch: Count = 32  # images of a step
    learning_rate: Positive = 1e-3  # at the start
    # Thousand images over which the learning rate decays: those of the run that began, unless
    # told. A longer run goes on with that decay.
    schedule_kimg: Positive | None = None
    decay: Positive = 0.8  # factor of the learning rate every quarter of the schedule, smoothly


@settings
class Recipe(ConventionalRecipe):
    """Settings of a run of Eq. (2) and (3).

    The paper has batches of 128, a learning rate of 1e-4, 14,000 thousand images, and a penalty in
    every step.
    """

    batch: Count = 16  # images of a step
    learning_rate: Positive = 5e-4  # at the start
    lambda_vgg: NotNegative = losses.LAMBDA_VGG  # weight of the perceptual term
    lambda_adv: NotNegative = losses.LAMBDA_ADV  # weight of the adversarial term
    r1_gamma: NotNegative = losses.R1_GAMMA  # weight of the gradient penalty of Eq. (3)
    r1_every: Count = 16  # steps between two penalties, each weighted by this number
    # Share of the schedule at the start in which images are sampled, their codes recovered as by
    # Eq. (1): the space of codes is found sooner. The paper has none.
    warmup: Fraction = 0.0
    # Share of every batch of which VGG-16 takes features, for the perceptual term and for a
    # projected discriminator. VGG takes most of a step's time, and the mean over a random part is
    # an unbiased estimate of the mean over all.
    vgg_share: Fraction = 0.25


class EncoderTask(ScheduledTask):
    """What all kinds of encoder training share: data, schedule, held-out evaluation.

    Args:
        encoder: maps images to codes; trained.
        generator: frozen.
        images: uint8 [N, 3, r, r] training images; the last `held_out` only evaluate.
        judge: maps images to features [N, F], in which the KID of reconstructions is taken; None
            leaves it out.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, images: Tensor,
                 recipe: ConventionalRecipe, device: str = "cpu", held_out: int = 200,
                 judge: nn.Module | None = None, share: Share = ALONE):
        if recipe.batch == 1 and any(isinstance(x, nn.BatchNorm1d) for x in encoder.modules()):
            raise ValueError("batch is 1, but the encoder's batch norm compares the images of a "
                             "batch: it must be 2 or more.")
        super().__init__(images[:-held_out], recipe, device, share, encoder=encoder)
        self.held_out = images[-held_out:]
        self.judge = None if judge is None else freeze(judge, device)
        self.generator = freeze(generator, device)
        trained = [p for p in encoder.parameters() if p.requires_grad]
        self.optimizers = [torch.optim.Adam(trained, recipe.learning_rate, (0.9, 0.99))]
        if share.world > 1:
            synchronise(encoder)

    def code_step(self) -> dict[str, Tensor]:
        """Eq. (1): one encoder step on freshly sampled images, whose codes are known."""
        with torch.no_grad():
            codes = self.sampled_codes()
            images = self.run(self.generator.synthesis, codes)
        loss = losses.equation1(codes, self.run(self.encoder, images))
        descend(self.optimizers[0], loss)
        return {"code": loss}

    @torch.no_grad()
    def sampled_codes(self) -> Tensor:
        """Codes [n, L, D] of random latents: this process's part of a batch."""
        latents = torch.randn(self.batch, self.generator.z_dim, device=self.device)
        return self.generator.mapping(self.part(latents))

    @property
    def at_once(self) -> int:
        """Images that this process takes at once in a step, and so can take where it evaluates."""
        return self.batch // self.share.world

    def reconstruct(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Held-out images, their codes and reconstructions, encoder in eval mode, on the CPU."""
        x = to_float(self.held_out[:count].to(self.device))
        codes, noise = encode_with_noise(self.encoder, x, self.at_once)
        found = render_with_noise(self.generator, codes, noise, self.at_once)
        return x.cpu(), codes.cpu(), found.cpu()

    def halfway(self) -> Tensor:
        """Images halfway between each held-out image and the one before, on the CPU."""
        x = to_float(self.held_out.to(self.device))
        codes, noise = encode_with_noise(self.encoder, x, self.at_once)
        other = torch.arange(len(codes), device=self.device).roll(1)
        between = middle(codes, noise, other)
        return render_with_noise(self.generator, *between, self.at_once).cpu()

    def evaluate(self) -> dict[str, float]:
        """Of held-out images: MSE of reconstructions, distance of codes to sampled ones.

        A model of the study also gets distances of sets: of reconstructions from their targets, and
        of images halfway between two from as many training images (`between`). SSIM and SWD want
        images of 16 px.
        """
        x, codes, y = self.reconstruct(len(self.held_out))
        sampled = sample_codes(self.generator, 1000, seed=1).cpu()
        figures = {"held_out_mse": losses.squared_error(x, y).mean().item(),
                   "code_distance": code_distance(codes, sampled)}
        if large := x.shape[-1] >= swd.SMALLEST:
            figures["held_out_ssim"] = pixel.ssim(y, x).mean().item()
        if self.judge is None:
            return figures
        others = to_float(self.images[:len(x)]).cpu()
        for name, images, real in (("held_out", y, x), ("between", self.halfway(), others)):
            found, wanted = (features.extract(part, self.judge) for part in (images, real))
            figures[f"{name}_kid_x1e3"] = 1e3 * kid.mmd2(found, wanted)
            if large:
                figures[f"{name}_swd"] = swd.mean_swd(images, real)
        return figures

    def sample(self) -> Tensor:
        """Sheet: held-out images above their reconstructions."""
        x, _, y = self.reconstruct(32)
        return torch.cat([torch.cat([grid(a, 16), grid(b, 16)], 1)
                          for a, b in zip(x.split(16), y.split(16))], 1)


def middle(codes: Tensor, noise: Noise, other: Tensor) -> tuple[Tensor, Noise]:
    """Codes halfway between each of [N, L, D] and another of them, and the noise maps too."""
    between = interpolate(codes, codes[other], steps=1)[:, 0]
    if isinstance(noise, str):
        return between, noise
    return between, [None if m is None else (m + m[other]) / 2 for m in noise]


def code_distance(codes: Tensor, sampled: Tensor) -> float:
    """Mean distance of codes to the nearest sampled one, relative to that among sampled ones."""
    half = len(sampled) // 2
    reference, other = sampled[:half].flatten(1), sampled[half:].flatten(1)
    own = torch.cdist(other, reference).min(1).values.mean()
    return (torch.cdist(codes.flatten(1), reference).min(1).values.mean() / own).item()


class DomainGuidedTask(EncoderTask):
    """Eq. (2) and (3): real images through encoder and generator, against the discriminator.

    discriminator: the generator's own, fine-tuned on the way; features: VGG-16 conv4_3; the other
    arguments are those of `EncoderTask`.
    """

    judge_betas = (0.9, 0.99)  # of the discriminator's optimiser

    def __init__(self, encoder: nn.Module, generator: nn.Module, discriminator: nn.Module,
                 features: nn.Module, *arguments: Any, **options: Any):
        super().__init__(encoder, generator, *arguments, **options)
        self.keep(discriminator=discriminator.train().requires_grad_(True))
        self.features = freeze(features, self.device)
        self.optimizers.append(torch.optim.Adam(
            discriminator.parameters(), self.recipe.learning_rate, self.judge_betas))
        self.share_batch(getattr(discriminator, "minibatch_group", 1))

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One encoder and one discriminator step on the same batch, after the warm-up."""
        self.schedule(step)
        if step * self.batch < self.recipe.warmup * self.recipe.schedule_kimg * 1000:
            return self.means(self.code_step())
        real = self.part(draw_batch(self.images, self.batch, self.device))
        with torch.no_grad():
            judged_real, real_features = self.features_of(real)
        figures, judged_fake = self.encoder_step(real, real_features)
        with autocast(self.device):
            logits = [self.discriminator(judged) for judged in (judged_real, judged_fake)]
        loss = losses.equation3(*logits)
        return self.means(figures | self.discriminator_step(loss, real, step))

    def features_of(self, images: Tensor) -> tuple[Tensor | list[Tensor], Tensor]:
        """What the discriminator judges a batch by, and its features for the perceptual term.

        A projected discriminator uses the same pass through VGG-16, and judges the same part of the
        batch.
        """
        part = first_share(images, self.recipe.vgg_share)
        if penalised(self.discriminator):
            return images, self.run(self.features, part)
        return self.run(self.discriminator.features_and_conv4_3, part)

    def encoder_step(self, real: Tensor, real_features: Tensor
                     ) -> tuple[dict[str, Tensor], Tensor | list[Tensor]]:
        """Eq. (2). Returns its terms, and what the discriminator judged the reconstructions by."""
        self.discriminator.requires_grad_(False)
        with autocast(self.device):
            fake = self.generator.synthesis(*self.encoder.with_noise(real))
        judged_fake, fake_features = self.features_of(fake)
        loss, terms = losses.equation2(
            fake, real, image_features=fake_features, target_features=real_features,
            fake_logits=self.run(self.discriminator, judged_fake),
            lambda_vgg=self.recipe.lambda_vgg, lambda_adv=self.recipe.lambda_adv)
        descend(self.optimizers[0], loss)
        self.discriminator.requires_grad_(True)
        return terms, detached(judged_fake)

    def discriminator_step(self, loss: Tensor, real: Tensor, step: int, parts: int = 1
                           ) -> dict[str, Tensor]:
        """Down Eq. (3) without its penalty, `loss`, and in every `r1_every`-th step the penalty at
        the real items, in float32, divided by the number of their parts."""
        recipe, figures = self.recipe, {"d_loss": loss}
        if step % recipe.r1_every == 0 and penalised(self.discriminator):
            figures["r1"] = losses.r1_penalty(self.discriminator, real) / parts
            loss = loss + losses.lazy_r1(figures["r1"], recipe.r1_gamma, recipe.r1_every)
        descend(self.optimizers[1], loss)
        return figures


class ConventionalTask(EncoderTask):
    """Eq. (1): sampled codes are recovered from their own images; no real image is used."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.share_batch()

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One encoder step on freshly sampled images."""
        self.schedule(step)
        return self.means(self.code_step())


def new_encoder(generator: nn.Module, architecture: str = "encoder.Encoder",
                settings: Mapping[str, Any] = {}, average: bool = False,
                parent: nn.Module | None = None) -> nn.Module:
    """An encoder, fitted to the codes of its generator.

    It begins with the weights of its parent, if any; those that the parent does not have are new.
    `average` adds the average code (Eq. 6). Noise maps are scaled as the generator weighs them.
    ValueError: noise maps for a generator that does not take two in every block.
    """
    size = {name: getattr(generator, name) for name in ("resolution", "num_layers", "w_dim")
            if name in inspect.signature(NETWORKS[architecture]).parameters}
    network = pretrained.attached(untrained(architecture, size | dict(settings), Encoder))
    if parent is not None:
        network.load_state_dict(network.state_dict() | parent.state_dict())
    codes = code_statistics(generator)
    network.w_std.copy_(codes.std)
    network.w_avg.copy_(codes.mean if average else torch.zeros_like(codes.mean))
    if isinstance(network, noise_encoder.NoiseEncoder):
        scales = noise_encoder.map_scales(generator)
        if network.to_noise and len(scales) % 2:  # StyleGAN2 begins with a single layer
            raise ValueError("An encoder of noise maps predicts two for each block, as StyleGAN "
                             f"takes them; this generator takes {len(scales)} maps, which "
                             "StyleGAN2 does: train another encoder for it.")
        network.map_scale.copy_(scales[:len(network.map_scale)])
    return network


@torch.no_grad()
def fit_to_samples(encoder: nn.Module, generator: nn.Module, device: str, count: int = 400) -> None:
    """Begin with the solution of Eq. (1) on `count` samples, for an encoder that has one in closed
    form: from random weights its codes would be far from any that the generator knows."""
    encoder.to(device), freeze(generator, device)
    codes, found = sample_codes(generator, count), []
    for part in tqdm(codes.split(START_BATCH), desc="Eq. (1)", unit=f"{START_BATCH} img"):
        with autocast(device):
            images = generator.synthesis(part)
        found.append(encoder.features(images.float()))
    encoder.fit(torch.cat(found), codes)


@settings
class EncoderEntry(Entry):
    """What the entries of all kinds of encoders say."""

    generator: str
    architecture: str = "encoder.Encoder"
    settings: dict[str, Any] = field(default_factory=dict)
    average: bool = False  # add the average code to what the encoder predicts (Eq. 6)
    parent: str | None = None  # an encoder whose weights this one begins with

    role: ClassVar[str] = "encoder"
    published: ClassVar[tuple[Published, ...]] = (Published("encoder", 4.5, 4.5),)
    trains: ClassVar[type[EncoderTask]]
    uses_offsets: ClassVar[bool] = False  # of an e4e encoder, one after the other

    def __post_init__(self) -> None:
        super().__post_init__()
        if issubclass(NETWORKS[self.architecture], OffsetEncoder) and not self.uses_offsets:
            raise ValueError(f"{self.architecture} has offsets that only a training of the kind "
                             "'e4e' puts in use, one after the other: name another network")

    def lasting(self, kimg: float) -> EncoderEntry:
        schedule = self.recipe.schedule_kimg or min(self.kimg, kimg)
        return replace(self, kimg=kimg, recipe=replace(self.recipe, schedule_kimg=schedule))

    def guides(self, generator: nn.Module, device: str) -> tuple[nn.Module, ...]:
        """The networks that guide the encoder beside its generator: a discriminator and VGG-16."""
        return ()

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> EncoderTask:
        generator = models.load_working(self.generator)
        parent = models.load(self.parent) if self.parent else None
        torch.manual_seed(self.seed)
        network = new_encoder(generator, self.architecture, self.settings, self.average, parent)
        if parent is None and hasattr(network, "fit") and is_new(self.name):
            fit_to_samples(network, generator, device)
        guides = self.guides(generator, device)
        images = self.training_images(generator.resolution, share)
        judge = None if self.images else pretrained.load_efficientnet_lite0()
        return self.trains(network, generator, *guides, images, self.scheduled_recipe(), device,
                           min(HELD_OUT, len(images) // 8), judge, share)

    def made_for(self) -> dict:
        sha256 = models.digest(self.generator)
        return {"a generator of the hash": sha256[:16]} if sha256 else {}

    def fixed(self, task: EncoderTask) -> dict:
        return super().fixed(task) | {"held-out images of the hash": content(task.held_out)}

    def facts(self, task: EncoderTask) -> dict:
        return {"average": self.average, "curve": curve(self.name)}


@task("conventional")
class ConventionalEntry(EncoderEntry):
    """A conventional encoder."""

    recipe: ConventionalRecipe = ConventionalRecipe()

    role: ClassVar[str] = "conventional"
    several_processes: ClassVar[bool] = True
    trains: ClassVar[type[EncoderTask]] = ConventionalTask


@task("domain_guided")
class DomainGuidedEntry(EncoderEntry):
    """A domain-guided encoder; the discriminator begins as that of the generator."""

    recipe: Recipe = Recipe()

    published: ClassVar[tuple[Published, ...]] = (Published("encoder", 4.5, 3),)
    several_processes: ClassVar[bool] = True
    trains: ClassVar[type[EncoderTask]] = DomainGuidedTask

    def guides(self, generator: nn.Module, device: str) -> tuple[nn.Module, ...]:
        vgg = pretrained.load_vgg16() if self.recipe.lambda_vgg else nn.Identity()
        return discriminator_of(self.generator, device), vgg
