"""Section 4.1: the data, the generators that learned from it, and what training them took."""

from __future__ import annotations

from itertools import groupby

import pandas as pd
import torch
from torch import Tensor, nn

from idinvert import models
from idinvert.codes import render, sample_codes
from idinvert.metrics import features
from idinvert.metrics.precision_recall import precision_recall
from idinvert.models import pretrained
from idinvert.study import scores
from idinvert.study.run import Run
from idinvert.study.scores import ImageSet
from idinvert.study.subjects import Subject
from idinvert.training.entries import Entry

KINDS = {"gan": "generator", "domain_guided": "encoder, domain-guided", "e4e": "encoder, e4e",
         "conventional": "encoder, conventional", "classifier": "attribute classifier"}
# KID x 1e3 up to which samples pass at a glance; set by looking at sheets of them. A StyleGAN2 of
# 450 painted one face in many colours, bedrooms of 286 rooms with a bed each.
CONVINCING = 300.0
FIGURES = {"kid_x1e3": "KID x 1e3", "fd": "FD", "held_out_mse": "held-out MSE",
           "code_distance": "distance of codes"}


def generators_of(run: Run) -> dict[str, Subject]:
    """The generators of the registry that are of a subject of the run, with that subject."""
    found = {}
    for name, card in models.sound().items():
        for subject in run.subjects.values():
            world = subject.images is None and card.get("kind") == "gan"
            if name == subject.generator or world and card.get("domain") == subject.domain:
                found[name] = subject
    return found


def contact_sheet(subject: Subject, columns: int = 12, rows: int = 2) -> list[Tensor]:
    """Rows of the first test images of a subject, at 64 px."""
    return list(subject.photos(64, stop=columns * rows).split(columns))


def samples(generator: nn.Module, count: int, seed: int = 0) -> Tensor:
    """Images [count, 3, H, W] of random latents, without truncation, on the CPU."""
    return render(generator, sample_codes(generator, count, seed)).cpu()


@torch.no_grad()
def truncated(generator: nn.Module, psis: tuple[float, ...], count: int = 12, seed: int = 0
              ) -> list[Tensor]:
    """The same samples, all layers pulled towards the average code by each psi."""
    codes = sample_codes(generator, count, seed)
    return [render(generator, generator.truncate(codes, psi, generator.num_layers)).cpu()
            for psi in psis]


def quality(shown: dict[str, Subject], count: int, device: str = "cpu") -> pd.DataFrame:
    """Distances of `count` samples of every generator to as many test images, domain by domain, and
    how many of the samples are near test images (precision) and the other way round (recall).

    After the first generator of a domain and resolution comes the row "real images": what two
    disjoint sets of test images reach, of `count` images each or of half of those that there are.
    No more than 2 * count test images are read, once for all of these generators.
    """
    judge, kinds, rows = pretrained.load_judge(device), scores.set_metrics(), []

    def place(name: str) -> tuple[str, int]:
        return shown[name].domain, models.load(name, device).resolution

    def with_features(images: Tensor) -> ImageSet:
        return ImageSet(images, features.extract(images, judge))

    for (domain, size), group in groupby(sorted(shown, key=place), place):
        names = list(group)
        real = with_features(shown[names[0]].photos(size, stop=2 * count))
        found = []
        for name in names:
            generated = with_features(samples(models.load(name, device), count, seed=1))
            values = {m: scores.score(m, generated, real[:count], paired=False) for m in kinds}
            found.append({"domain": domain, "generator": name, "images": count,
                          **scores.spread(values), **shares(generated, real[:count])})
        half = min(count, len(real) // 2)
        floor = {"domain": domain, "generator": "real images", "images": half,
                 **{m: scores.floor(m, real, half) for m in kinds},
                 **shares(real[half:2 * half], real[:half])}
        rows += [found[0], floor, *found[1:]]
    return pd.DataFrame(rows)


def shares(images: ImageSet, real: ImageSet) -> dict[str, float]:
    """The columns of `quality` on precision and recall."""
    return dict(zip(("precision", "recall"), precision_recall(images.features, real.features)))


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The distances of `quality` with a column that says whose samples are convincing."""
    found = table["kid"].le(CONVINCING).map({True: "convincing", False: "not convincing yet"})
    return table.assign(samples=found.mask(table["generator"] == "real images", ""))


def budgets() -> pd.DataFrame:
    """One row per model of the registry: what it is, what was spent on it, what it reached."""
    rows = []
    for name, card in models.sound().items():
        if card["kind"] not in KINDS:
            continue
        reached = ", ".join(f"{title} {card['evaluation'][key]:.3g}"
                            for key, title in FIGURES.items() if key in card["evaluation"])
        rows.append({"model": name, "kind": KINDS[card["kind"]],
                     "million parameters": card["parameters"] / 1e6,
                     "thousand images": card["kimg"], "minutes": card["seconds"] / 60,
                     "hardware": card["hardware"], "reached": reached})
    return pd.DataFrame(rows)


def trainings(entries: dict[str, Entry], further: float = 40.0) -> pd.DataFrame:
    """One row per generator of the zoo that was trained: what it began as, its speed, its KID x 1e3
    before (that of the generator from which it goes on, if of its domain) and after, by how much an
    hour lowered it, and the command that trains it for `further` thousand images."""
    rows = []
    for name, entry in entries.items():
        if entry.kind != "gan" or not models.exists(name) or not models.card(name)["seconds"]:
            continue
        card, parent, before = models.card(name), entry.needs().get("parent"), float("nan")
        if parent and entries[parent].domain == entry.domain:
            before = models.card(parent)["evaluation"]["kid_x1e3"]
        after, hours = card["evaluation"]["kid_x1e3"], card["seconds"] / 3600
        rows.append({
            "generator": name, "goes on from": parent or "nothing",
            "thousand images": card["kimg"], "images a second": card["kimg"] / hours / 3.6,
            "hours": hours, "KID before": before, "KID after": after,
            "KID lowered an hour": (before - after) / hours,
            "command": f"idinvert train {name} --kimg {card['kimg'] + further:g}"})
    return pd.DataFrame(rows)


def missing(entries: dict[str, Entry]) -> pd.DataFrame:
    """The entries of the zoo that are not trained yet, with the command that trains each."""
    rows = [{"model": name, "kind": entry.kind, "command": f"idinvert train {name}"}
            for name, entry in entries.items() if not models.exists(name)]
    return pd.DataFrame(rows, columns=["model", "kind", "command"])
