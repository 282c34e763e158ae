"""Classifier training: binary cross-entropy on labels, images made worse at random."""

from __future__ import annotations

import copy
import math
import sys
from dataclasses import field, replace
from typing import Annotated, Any, ClassVar

import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from idinvert import data, models
from idinvert.data import POSITIVE_CLASSES, binary_labels, grid, to_float
from idinvert.nn.protocols import Classifier
from idinvert.processes import ALONE, Share
from idinvert.settings import LARGEST, Count, NotNegative, Positive, settings
from idinvert.settings import Share as Fraction

from .entries import Entry, Published, content, task, untrained
from .steps import NetworkTask, descend

SIDES = {"left": "right", "right": "left"}  # what a horizontal flip does to a label


@settings
class Recipe:
    """Settings of a classifier run."""

    # thousand images until the learning rate is 0: those of the run, unless told
    schedule_kimg: Positive | None = None
    batch: Count = 64  # images of a step
    learning_rate: Positive = 3e-3  # largest
    weight_decay: NotNegative = 0.05  # of AdamW
    # time constant of the average of weights, in steps
    ema_steps: Annotated[float, Field(ge=1, le=LARGEST)] = 200.0
    # images at the end, an eighth of all at most, that are evaluated and not trained on
    holdout: Count = 500
    shift: Annotated[int, Field(ge=0, le=1 << 16)] = 3  # px, largest displacement
    light: Fraction = 0.2  # largest change of contrast (factor) and brightness (half the range)
    blur: Annotated[float, Field(ge=0, le=64)] = 1.2  # px, standard deviation of what is mixed in
    noise: NotNegative = 0.06  # largest standard deviation of the noise, images in [-1, 1]


class ClassifierTask(NetworkTask):
    """Trains a classifier on binary labels.

    Args:
        classifier: network of as many attributes as `labels` has columns.
        images: uint8 [N, 3, r, r], of which the last `recipe.holdout` are kept for `evaluate`.
        labels, mirrored: N rows of 1, 0 or NaN (not known), of the images and of their mirror
            images.

    ValueError: the classifier has another number of attributes, or no image is left to train on.
    """

    def __init__(self, classifier: nn.Module, images: Tensor, labels: pd.DataFrame,
                 mirrored: pd.DataFrame, recipe: Recipe, device: str = "cpu"):
        self.names = list(labels)
        if classifier.attributes != len(self.names):
            raise ValueError(f"The classifier has {classifier.attributes} attributes, but there "
                             f"are {len(self.names)}: {', '.join(self.names)}.")
        if not 0 < recipe.holdout < len(images):
            raise ValueError(f"{len(images)} images cannot spare {recipe.holdout} for evaluation.")
        average = copy.deepcopy(classifier).eval().requires_grad_(False)
        super().__init__(images, recipe, device, classifier=classifier, average=average)
        self.asked = recipe
        # [2, N, A]: labels of the images as they are, and of their mirror images
        self.labels = torch.stack([torch.tensor(x.to_numpy(), dtype=torch.float32)
                                   for x in (labels, mirrored)])
        self.count = len(images) - recipe.holdout
        self.optimizers = [torch.optim.AdamW(
            classifier.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)]

    def continue_schedule(self, kimg: float | None) -> None:
        """A schedule whose learning rate falls to 0 cannot be continued: the next step, if there is
        one, takes another."""
        self.recipe = replace(self.asked, schedule_kimg=kimg or self.asked.schedule_kimg)
        if kimg and kimg < self.asked.schedule_kimg:
            print(f"The learning rate was to fall to 0 over {kimg:g} thousand images; in this "
                  f"longer run it rises again, to fall to 0 at {self.asked.schedule_kimg:g}.",
                  file=sys.stderr)

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One optimisation step on a fresh batch."""
        self.recipe = self.asked
        rate = learning_rate(self.recipe, step)
        for group in self.optimizers[0].param_groups:
            group["lr"] = rate
        image, label = self.draw()
        self.classifier.train()
        logits = self.run(self.classifier, image)
        known = label.isfinite()
        loss = F.binary_cross_entropy_with_logits(logits[known], label[known])
        descend(self.optimizers[0], loss)
        self.update_average(step)
        right = ((logits > 0) == (label > 0.5))[known].float().mean()
        return self.means({"loss": loss, "accuracy": right, "learning_rate": rate})

    def draw(self) -> tuple[Tensor, Tensor]:
        """A batch of degraded images [batch, 3, r, r] and their labels [batch, A], half flipped."""
        index = torch.randint(self.count, (self.batch,))
        flip = torch.randint(2, (self.batch,))
        image = to_float(self.images[index].to(self.device))
        image = torch.where(flip.to(self.device).reshape(-1, 1, 1, 1) == 1, image.flip(3), image)
        image = degrade(image, self.recipe).contiguous(memory_format=torch.channels_last)
        return image, self.labels[flip, index].to(self.device)

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Exponential moving average of weights and batch statistics."""
        weight = 1 / min(step + 1, self.recipe.ema_steps)
        new = self.classifier.state_dict()
        for name, old in self.average.state_dict().items():
            if old.is_floating_point():
                old.lerp_(new[name], weight)

    def evaluate(self) -> dict[str, float]:
        """Accuracy of the averaged network on the held-out images, per attribute that they have
        labels of, and the mean."""
        logits, truth = self.judge()
        right = ((logits > 0) == (truth > 0.5)).float()
        right = right.where(truth.isfinite(), torch.nan).nanmean(0)
        figures = {"accuracy_mean": float(right.nanmean())} | {  # one may be called "mean"
            f"accuracy_{name}": float(x) for name, x in zip(self.names, right, strict=True)}
        return {name: value for name, value in figures.items() if math.isfinite(value)}

    def sample(self) -> Tensor:
        """Sheet of the 8 x 8 held-out images that the averaged network gets most wrong."""
        loss = F.binary_cross_entropy_with_logits(*self.judge(), reduction="none")
        worst = loss.nan_to_num().amax(1).argsort(descending=True)[:64]
        return grid(to_float(self.images[self.count :][worst].cpu()), columns=8)

    def judge(self) -> tuple[Tensor, Tensor]:
        """Logits of the averaged network on the held-out images and their labels, [holdout, A]."""
        logits = [self.average(to_float(x.to(self.device))).cpu()
                  for x in self.images[self.count :].split(self.batch)]
        return torch.cat(logits), self.labels[0, self.count :]


def learning_rate(recipe: Recipe, step: int) -> float:
    """Cosine from the full rate to 0, after a linear warm-up over the first 3 % of the steps."""
    progress = min(step * recipe.batch / (recipe.schedule_kimg * 1000), 1)
    warmup = min((step + 1) * recipe.batch / (0.03 * recipe.schedule_kimg * 1000), 1)
    return recipe.learning_rate * warmup * (1 + math.cos(math.pi * progress)) / 2


def mirrored_labels(labels: pd.DataFrame, domain: str) -> pd.DataFrame:
    """`binary_labels` of the mirror images: labels that name a side change it, others do not."""
    sides = {attribute: labels[attribute].replace(SIDES)
             for attribute, positive in POSITIVE_CLASSES[domain].values() if positive in SIDES}
    return binary_labels(labels.assign(**sides), domain)


def degrade(image: Tensor, recipe: Recipe) -> Tensor:
    """Images [N, 3, r, r] in [-1, 1] shifted, relit, blurred and made noisy, each by chance.

    Generated images and reconstructions are blurrier than renderings; a network trained on such
    images judges them by the attribute and not by their quality. Values may leave [-1, 1].
    """
    n = len(image)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(n, 1, 1, 1).uniform_(low, high).to(image.device)

    image = shift(image, recipe.shift)
    image = torch.lerp(image, gaussian_blur(image, recipe.blur), uniform(-0.5, 1).clamp(min=0))
    contrast, brightness = (uniform(-recipe.light, recipe.light) for _ in range(2))
    image = image * (1 + contrast) + brightness
    noise = torch.randn(image.shape).to(image.device)
    return image + noise * uniform(-recipe.noise, recipe.noise).clamp(min=0)


def shift(image: Tensor, limit: int) -> Tensor:
    """Every image of [N, C, r, r] displaced by up to `limit` px each way, edges repeated."""
    n, size = len(image), image.shape[-1]
    start = torch.randint(-limit, limit + 1, (2, n, 1)) + torch.arange(size)
    rows, columns = start.clamp(0, size - 1).to(image.device)
    index = torch.arange(n, device=image.device).reshape(n, 1, 1)
    picked = image.permute(0, 2, 3, 1)[index, rows.unsqueeze(2), columns.unsqueeze(1)]
    return picked.permute(0, 3, 1, 2)


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Images [N, C, r, r] blurred by a Gaussian of `sigma` px, edges repeated."""
    if not sigma:
        return image
    radius = math.ceil(2.5 * sigma)
    x = torch.arange(-radius, radius + 1, device=image.device)
    kernel = (-(x**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).repeat(image.shape[1], 1, 1, 1)
    image = F.pad(image, [radius] * 4, mode="replicate")
    image = F.conv2d(image, kernel, groups=image.shape[1])
    return F.conv2d(image, kernel.transpose(2, 3), groups=image.shape[1])


@task("classifier")
class ClassifierEntry(Entry):
    """A classifier of the attributes of a domain, or of the columns of a table of labels."""

    architecture: str = "classifier.Classifier"
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = Recipe()

    role: ClassVar[str] = "classifier"
    published: ClassVar[tuple[Published, ...]] = (Published("average", 6, 6),)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images and not self.images.labels:
            raise ValueError("a classifier needs labels: name a CSV file")

    def labelled_images(self, size: int, share: Share
                        ) -> tuple[Tensor, pd.DataFrame, pd.DataFrame]:
        """Images uint8 [N, 3, size, size], their labels, and those of their mirror images."""
        if self.images:
            return self.images.load_labelled(size, self.seed, share)
        split = data.load(self.domain, "train")
        return (split.images, binary_labels(split.labels, split.domain),
                mirrored_labels(split.labels, split.domain))

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> ClassifierTask:
        images, labels, mirrored = self.labelled_images(self.settings.get("resolution", 64), share)
        torch.manual_seed(self.seed)
        network = untrained(
            self.architecture, {"attributes": labels.shape[1], **self.settings}, Classifier)
        recipe = self.scheduled_recipe(holdout=min(self.recipe.holdout, len(images) // 8))
        return ClassifierTask(network, images, labels, mirrored, recipe, device)

    def adopt(self, task: ClassifierTask) -> None:
        super().adopt(task)
        task.classifier.load_state_dict(models.load(self.name).state_dict())

    def fixed(self, task: ClassifierTask) -> dict:
        return super().fixed(task) | {"attributes": task.names,
                                      "labels of the hash": content(task.labels)}

    def facts(self, task: ClassifierTask) -> dict:
        return {"attributes": task.names}
