"""Encoders of photographs, trained on stand-ins: see `data.standins`.

The features of the encoder's frozen network are computed once. A linear head then has its best
weights by Eq. (1) in closed form, with which both kinds of encoders begin: the conventional one on
plain samples, at which it stays, the domain-guided one on stand-ins as well. That goes on by Eq.
(2) through the generator. There is no discriminator, which would see no real image: that the codes
of the stand-ins are known, up to their distortions, takes its place.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from idinvert import losses, models
from idinvert.data import grid, standins, to_float
from idinvert.models import pretrained
from idinvert.nn.reduced import ReducedFeatures
from idinvert.processes import ALONE, Share
from idinvert.settings import Count, NotNegative, Positive, settings
from idinvert.settings import Share as Fraction

from .encoder import ConventionalRecipe, EncoderEntry, new_encoder
from .entries import Entry, Published, task
from .runs import begun, curve
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


class StandInTask(ScheduledTask):
    """Eq. (2) through the generator from features that are known.

    Args:
        encoder: with a frozen network, see `nn.pooled`; its head is trained.
        generator: frozen, at the size of the encoder's images.
        vgg: frozen, for the perceptual term.
        images: uint8 [M, 3, r, r] stand-ins; features, codes: those of them [M, F], [M, L, D].
        held_out: stand-ins that only evaluate.
    """

    def __init__(self, encoder: nn.Module, generator: nn.Module, vgg: nn.Module, images: Tensor,
                 features: Tensor, codes: Tensor, held_out: Tensor, recipe: Recipe,
                 device: str = "cpu"):
        super().__init__(images, recipe, device, encoder=encoder)
        self.features, self.codes = features, codes
        self.generator, self.vgg = freeze(generator, device), freeze(vgg, device)
        self.held_out = to_float(held_out)
        self.optimizers = [torch.optim.Adam(
            encoder.parameters(), recipe.learning_rate, (0.9, 0.99))]

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One step down Eq. (2) and, with its weight, Eq. (1)."""
        self.schedule(step)
        index = torch.randint(len(self.images), (self.batch,))
        target = to_float(self.images[index].to(self.device))
        codes = self.encoder.code(self.features[index].to(self.device))
        image = self.run(self.generator.synthesis, codes)
        shown = [first_share(x, self.recipe.vgg_share) for x in (image, target)]
        loss, terms = losses.equation2(
            image, target, image_features=self.run(self.vgg, shown[0]),
            target_features=self.run(self.vgg, shown[1]), lambda_vgg=self.recipe.lambda_vgg)
        terms["code"] = losses.equation1(self.codes[index].to(self.device), codes)
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
def features_of(encoder: nn.Module, found: standins.StandIns, distorted: bool) -> Tensor:
    """Features [N, F] of images, or of their stand-ins."""
    parts = []
    for start in tqdm(range(0, len(found), FEATURE_BATCH), desc="features", unit="20 img"):
        index = range(start, min(start + FEATURE_BATCH, len(found)))
        images = [found.distorted(i) if distorted else found.images[i] for i in index]
        parts.append(encoder.features(to_float(torch.stack(images))))
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
        generator = models.load_working(self.generator)
        torch.manual_seed(self.seed)
        encoder = new_encoder(generator, self.architecture, self.settings, average=True).to(device)
        found = standins.load(self.generator, generator.whole, "train", self.stand_ins)
        held_out = standins.load(self.generator, generator.whole, "test", HELD_OUT)
        if self.guided:
            images = torch.stack([found.distorted(i) for i in range(len(found))])
        else:
            found = found.every_second()
            images = found.images
        features, codes = features_of(encoder, found, self.guided), found.codes
        if not begun(self.name):
            known = features, codes
            if self.guided:
                plain = features_of(encoder, found, distorted=False)
                known = torch.cat([features, plain]), torch.cat([codes, codes])
            encoder.fit(*(x.to(device) for x in known), self.recipe.penalty)
        vgg = ReducedFeatures(pretrained.load_vgg16(), 2)
        tests = torch.stack([held_out.distorted(i) for i in range(HELD_OUT)])
        return StandInTask(encoder, generator, vgg, images, features, codes, tests,
                           self.scheduled_recipe(), device)

    def facts(self, task: StandInTask) -> dict:
        return {"average": True, "curve": curve(self.name), "domain": "photograph",
                "data": f"{self.stand_ins} stand-ins, images of {self.generator}"}


@task("conventional_of_photographs")
class Conventional(StandInEntry):
    """A conventional encoder: Eq. (1) on plain samples."""

    role: ClassVar[str] = "conventional"
    guided: ClassVar[bool] = False


@task("domain_guided_of_photographs")
class DomainGuided(StandInEntry):
    """A domain-guided encoder: Eq. (1) to begin with, Eq. (2) on stand-ins."""

    role: ClassVar[str] = "encoder"
    guided: ClassVar[bool] = True
    lasting = EncoderEntry.lasting
