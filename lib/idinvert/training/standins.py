"""Encoders of photographs, trained on stand-ins: see `data.standins`.

The encoder's network is frozen. A linear head on its features has its best weights by Eq. (1) in
closed form, with which both kinds of encoders begin: the conventional one on plain samples, at
which it stays, the domain-guided one on stand-ins as well. That goes on by Eq. (2) through the
generator, on new stand-ins in every step, for it knows those of the fit by heart. There is no
discriminator, which would see no real image: that the codes of the stand-ins are known, up to their
distortions, takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import field
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert import losses, models
from idinvert.data import grid, standins, to_float
from idinvert.models import pretrained
from idinvert.nn.protocols import Generator
from idinvert.nn.reduced import ReducedFeatures
from idinvert.processes import ALONE, Share
from idinvert.settings import Count, NotNegative, Positive, settings
from idinvert.settings import Share as Fraction

from .encoder import ConventionalRecipe, EncoderEntry, new_encoder
from .entries import Entry, Published, task
from .runs import curve, is_new
from .steps import ScheduledTask, descend, first_share, freeze

BITS = 5  # in which the head is stored
HELD_OUT = 16  # stand-ins of the test split on which encoders are judged
FEATURE_BATCH = 20  # images


@settings
class Recipe(ConventionalRecipe):
    """Settings of a run; Eq. (1) needs `penalty` alone."""

    batch: Count = 8  # images of a step
    learning_rate: Positive = 1e-4  # at the start
    decay: Positive = 0.4  # factor of the learning rate every quarter of the schedule, smoothly
    penalty: Positive = 1.0  # of the ridge regression by which Eq. (1) is solved
    lambda_vgg: NotNegative = losses.LAMBDA_VGG  # weight of the perceptual term
    lambda_code: NotNegative = 0.2  # weight of Eq. (1) beside Eq. (2)
    vgg_share: Fraction = 0.5  # share of every batch of which VGG-16 takes features


@cache
def threads(device: str) -> ThreadPoolExecutor:
    """As many threads as there are processors. Beside a GPU each has one for itself; without one
    the networks need them too, and PyTorch has as many threads as before."""
    alone = {"initializer": torch.set_num_threads, "initargs": (1,)}
    return ThreadPoolExecutor(os.cpu_count(), **(
        alone if torch.device(device).type == "cuda" else {}))


def distorting(images: Tensor, split: str, index: Iterable[int], device: str
               ) -> list[Future[Tensor]]:
    """The stand-ins of images of a split, to be waited for: one thread distorts a hundred in a
    second, of which a GPU renders more."""
    return [threads(device).submit(standins.distorted, image, standins.random(split, i, "image"))
            for image, i in zip(images, index, strict=True)]


class NewStandIns:
    """Stand-ins of the split "train" from number `first` on, each of which is seen once.

    Those of the next batch are rendered before they are asked for: threads distort them while the
    step on this batch is taken.
    """

    def __init__(self, generator: Generator, first: int, batch: int, device: str):
        self.generator, self.first, self.batch, self.device = generator, first, batch, device
        self.begun: dict[int, tuple[list[Future[Tensor]], Tensor]] = {}  # by their step

    def of_step(self, step: int) -> tuple[Tensor, Tensor]:
        """Stand-ins uint8 [N, 3, 256, 256] of a step, and the codes [N, L, D] of their images. The
        step alone chooses them: a run that is continued sees what it would have seen."""
        images, codes = self.begun.get(step) or self.begin(step)
        self.begun = {step + 1: self.begin(step + 1)}
        return torch.stack([image.result() for image in images]), codes

    def begin(self, step: int) -> tuple[list[Future[Tensor]], Tensor]:
        """Render the images of a step and let them be distorted."""
        start = self.first + step * self.batch
        index = range(start, start + self.batch)
        made = standins.render(
            self.generator, [standins.code(self.generator, "train", i) for i in index])
        return distorting(made["images"], "train", index, self.device), made["codes"]


class StandInTask(ScheduledTask):
    """Eq. (2) through the generator, on new stand-ins in every step.

    Args:
        encoder: with a frozen network, see `nn.pooled`; its head is trained.
        generator: frozen, at the size of the encoder's images; its `whole` renders stand-ins.
        vgg: frozen, for the perceptual term.
        held_out: uint8 [M, 3, r, r], stand-ins that only evaluate.
        first: number of the first stand-in that is new.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, vgg: nn.Module, held_out: Tensor,
                 first: int, recipe: Recipe, device: str = "cpu"):
        super().__init__(None, recipe, device, encoder=encoder)
        self.generator, self.vgg = freeze(generator, device), freeze(vgg, device)
        self.held_out = to_float(held_out)
        self.new = NewStandIns(self.generator.whole, first, self.batch, device)
        self.optimizers = [torch.optim.Adam(
            encoder.parameters(), recipe.learning_rate, (0.9, 0.99))]

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One step down Eq. (2) and, with its weight, Eq. (1)."""
        self.schedule(step)
        target, known = (x.to(self.device) for x in self.new.of_step(step))
        target = to_float(target)
        codes = self.encoder(target)
        image = self.run(self.generator.synthesis, codes)
        shown = [first_share(x, self.recipe.vgg_share) for x in (image, target)]
        loss, terms = losses.equation2(
            image, target, image_features=self.run(self.vgg, shown[0]),
            target_features=self.run(self.vgg, shown[1]), lambda_vgg=self.recipe.lambda_vgg)
        terms["code"] = losses.equation1(known, codes)
        descend(self.optimizers[0], loss + self.recipe.lambda_code * terms["code"])
        return self.means(terms)

    @torch.no_grad()
    def reconstruct(self) -> Tensor:
        """Reconstructions of the held-out stand-ins, on the CPU."""
        return torch.cat([self.run(self.generator.synthesis, self.encoder(part.to(self.device)))
                          .float().cpu() for part in self.held_out.split(self.batch)])

    def evaluate(self) -> dict[str, float]:
        """MSE of the reconstructions of held-out stand-ins."""
        return {"held_out_mse": losses.squared_error(
            self.held_out, self.reconstruct()).mean().item()}

    def sample(self) -> Tensor:
        """Sheet: held-out stand-ins above their reconstructions."""
        return torch.cat([grid(self.held_out[:8], 8), grid(self.reconstruct()[:8], 8)], 1)


@torch.no_grad()
def features_of(encoder: nn.Module, found: standins.StandIns, distorted: bool, device: str
                ) -> Tensor:
    """Features [N, F] of images, or of their stand-ins, on the device."""
    parts = []
    for start in tqdm(range(0, len(found), FEATURE_BATCH), desc="features", unit="20 img"):
        images = found.images[start:start + FEATURE_BATCH]
        if distorted:
            index = range(start, start + len(images))
            images = torch.stack(
                [image.result() for image in distorting(images, found.split, index, device)])
        parts.append(encoder.features(to_float(images.to(device))))
    return torch.cat(parts)


@settings
class StandInEntry(Entry):
    """What both kinds of encoders say."""

    generator: str
    architecture: str = "pooled.Encoder"
    settings: dict[str, Any] = field(default_factory=dict)
    stand_ins: Count = 1500  # images to train on, the plain ones included
    recipe: Recipe = Recipe()

    published: ClassVar[tuple[Published, ...]] = (Published("encoder", BITS, BITS),)
    guided: ClassVar[bool]  # by stand-ins, not by plain samples alone

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> StandInTask:
        generator = models.load_working(self.generator, device)
        torch.manual_seed(self.seed)
        encoder = new_encoder(generator, self.architecture, self.settings, average=True).to(device)
        if is_new(self.name):
            self.fit(encoder, generator, device)
        held_out = standins.load(self.generator, generator.whole, "test", HELD_OUT)
        tests = torch.stack([held_out.distorted(i) for i in range(HELD_OUT)])
        vgg = ReducedFeatures(pretrained.load_vgg16(), 2)
        return StandInTask(encoder, generator, vgg, tests, self.stand_ins, self.scheduled_recipe(),
                           device)

    def fit(self, encoder: nn.Module, generator: nn.Module, device: str) -> None:
        """Eq. (1) in closed form on plain samples and, where they guide, on stand-ins."""
        found = standins.load(self.generator, generator.whole, "train", self.stand_ins)
        if not self.guided:
            found = found.every_second()
        ways = (True, False) if self.guided else (False,)
        features = [features_of(encoder, found, distorted, device) for distorted in ways]
        codes = found.codes.to(device)
        encoder.fit(torch.cat(features), torch.cat([codes] * len(ways)), self.recipe.penalty)

    def facts(self, task: StandInTask) -> dict:
        then = ", then new ones in every step" if self.guided else ""
        return {"average": True, "curve": curve(self.name), "domain": "photograph",
                "data": f"{self.stand_ins} stand-ins{then}, images of {self.generator}"}


@task("conventional_of_photographs")
class Conventional(StandInEntry):
    """A conventional encoder: Eq. (1) on plain samples."""

    role: ClassVar[str] = "conventional"
    guided: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kimg:
            raise ValueError(f"kimg must be 0, not {self.kimg:g}: a conventional encoder of "
                             "photographs has its best weights in closed form and takes no steps.")


@task("domain_guided_of_photographs")
class DomainGuided(StandInEntry):
    """A domain-guided encoder: Eq. (1) to begin with, Eq. (2) on stand-ins."""

    role: ClassVar[str] = "encoder"
    guided: ClassVar[bool] = True
    lasting = EncoderEntry.lasting
