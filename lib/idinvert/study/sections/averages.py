"""Section 5.2: encoders of StyleGAN2 with the average code and without (Table 4, Figures 9, 17)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

import pandas as pd
import torch
from torch import Tensor, nn

from idinvert import models as weights
from idinvert.codes import render, sample_codes
from idinvert.study import claims, logs, scores
from idinvert.study.encoding import Encoded
from idinvert.study.networks import StudyModel
from idinvert.study.scores import PIXELS, REALISM, ImageSet
from idinvert.training.encoder import new_encoder

VARIANTS = {"e4e": "e4e", "base-no-average": "without average", "base": "with average"}
COLUMNS = (*(("reconstruction", metric) for metric in (*PIXELS, *REALISM)),
           *(("interpolation", metric) for metric in REALISM))
SAMPLES = 10_000  # codes whose mean and spread are those of all
EXCEPTION = ("C17", "interpolation", "swd")  # by which e4e is better
PAPER_NAMES = {"e4e": "e4e", "base-no-average": "without_average", "base": "with_average"}


def comparisons(domain: str, known: Collection[str]) -> list[tuple]:
    """C15 and C17, of the variants that are known: with the average code an encoder of StyleGAN2 is
    better than without, and than e4e but for the SWD of interpolations. Each is (worse variant,
    task, metric, sign of its gain, claim, text, the paper's numbers)."""
    paper, found = claims.paper_table(4), []
    pairs = [("C15", "base-no-average"), ("C17", "e4e")]
    for (claim, worse), (task, metric) in product(
            [pair for pair in pairs if {"base", pair[1]} <= set(known)], COLUMNS):
        word, sign = ("worse", -1) if (claim, task, metric) == EXCEPTION else ("better", 1)
        text = (f"{domain}: with the average {word} than {VARIANTS[worse]}, {task}, "
                f"{scores.title(metric)}")
        theirs = claims.paper_gain(paper, domain, PAPER_NAMES["base"], PAPER_NAMES[worse],
                                   metric, task)
        found.append((worse, task, metric, sign, claim, text, theirs))
    return found


def average_claims(domain: str, encoded: dict[str, Encoded], real: ImageSet, others: ImageSet
                   ) -> list[dict]:
    """`comparisons` by intervals over images: reconstructions are compared with their targets
    `real`, interpolations with `others`."""
    rows = []
    for worse, task, metric, sign, claim, text, paper in comparisons(domain, encoded):
        same = task == "reconstruction"
        sets = [x.images if same else x.between for x in (encoded["base"], encoded[worse])]
        gain = scores.advantage(metric, *sets, real if same else others, paired=same)
        rows.append(claims.row(claim, text, paper, scores.scaled(gain, sign)))
    return rows


def seed_claims(domain: str, repeated: dict[str, str]) -> list[dict]:
    """`comparisons` over the repetitions of encoders {variant: name}, by what their logs hold."""
    rows = []
    for worse, task, metric, sign, claim, text, paper in comparisons(domain, repeated):
        if (task, metric) in logs.LOGGED:
            gain = logs.advantage(metric, repeated["base"], repeated[worse], task)
            rows.append(claims.row(claim, f"{text}, over trainings", paper,
                                   scores.scaled(gain, sign)))
    return rows


def loss_claims(domain: str, repeated: dict[str, str]) -> list[dict]:
    """C16: the terms of the training loss are lower with the average code than without, on the
    whole and in every stretch of the training, over repetitions of the encoders {variant: name}."""
    if not {"base", "base-no-average"} <= set(repeated):
        return []
    pair, paper = (repeated["base-no-average"], repeated["base"]), "lower throughout (Fig. 14b)"
    return [claims.row("C16", f"{domain}: with the average, {logs.TITLES[term]} lower {when}",
                       paper, gap(term, *pair))
            for term in logs.TERMS
            for when, gap in (("on the whole", logs.mean_gap), ("throughout", logs.smallest_gap))]


@dataclass(frozen=True, eq=False)
class Start:
    """What an untrained encoder makes of the images: its codes, and what the generator renders."""

    title: str
    codes: Tensor
    images: ImageSet


def untrained_encoders(model: StudyModel, name: str, targets: Tensor, seed: int = 0) -> list[Start]:
    """Figure 17: the base encoder of generator `name` before training, with and without the average
    code, its output scaled to that of sampled codes as the study's encoders are."""
    starts = []
    for average in (True, False):
        torch.manual_seed(seed)
        card = weights.card(weights.companion_name(name, "encoder"))
        encoder = new_encoder(model.generator, settings=card["settings"], average=average)
        encoder = encoder.to(targets.device)
        codes = first_codes(encoder, targets)
        title = f"{name}, {'with' if average else 'without'} average"
        images = scores.image_set(model, render(model.generator, codes))
        starts.append(Start(title, codes, images))
    return starts


@torch.no_grad()
def first_codes(encoder: nn.Module, images: Tensor) -> Tensor:
    """Codes [N, L, D] of a new encoder, its batch norms taking the statistics of the images as in
    the first step of training."""
    return encoder.train()(images)


def start_table(domain: str, starts: Sequence[Start], model: StudyModel, others: ImageSet
                ) -> pd.DataFrame:
    """Figure 17 in numbers: KID of what is rendered, and how far the codes lie from sampled ones:
    the root of the mean squared distance to the mean code, in standard deviations."""
    sampled = sample_codes(model.generator, SAMPLES)
    rows = []
    for start in starts:
        offset = (start.codes.cpu() - sampled.mean(0).cpu()) / sampled.std(0).cpu()
        figures = {"kid": scores.score("kid", start.images, others, paired=False),
                   "code_distance": scores.per_image(offset.square().mean((1, 2)).sqrt())}
        rows.append({"domain": domain, "start": start.title, **scores.spread(figures)})
    return pd.DataFrame(rows)


def start_claims(domain: str, starts: dict[str, list[Start]], others: ImageSet) -> list[dict]:
    """C18: StyleGAN2 begins nearer to real images with the average code than without, and loses
    more by leaving it out than StyleGAN, which the paper says begins well in either way.

    All four encoders start from the same seed and see the same images, and all are compared with
    the same `others`: the difference between the generators is measured pair by pair.
    """
    pairs = {weights.card(name)["architecture"].split(".")[0]: two for name, two in starts.items()}
    if not {"stylegan", "stylegan2"} <= set(pairs):
        return []
    with1, without1, with2, without2 = (x.images for x in (*pairs["stylegan"],
                                                           *pairs["stylegan2"]))
    more = scores.combination("kid", [(1, without2), (-1, with2), (-1, without1), (1, with1)],
                              others, paired=False)
    return [
        claims.row("C18", f"{domain}: StyleGAN2 begins nearer to real images with the average, KID",
                   "only with it (Fig. 17)",
                   scores.advantage("kid", with2, without2, others, paired=False)),
        claims.row("C18", f"{domain}: StyleGAN2 loses more without it than StyleGAN, KID",
                   "StyleGAN: nothing (Fig. 17)", more),
    ]
