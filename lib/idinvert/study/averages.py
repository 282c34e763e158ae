"""Section 5.2: encoders of StyleGAN2 with the average code and without (Table 4, Figures 9, 17)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn

from ..boundaries import sample_codes
from ..invert import render
from ..train import zoo
from . import claims, scores
from .encoders import Encoded
from .models import Models
from .scores import DISTANCES, PAIRWISE, Seen

VARIANTS = {"e4e": "e4e", "base-no-average": "without average", "base": "with average"}
PAPER_NAMES = {"e4e": "e4e", "base-no-average": "without_average", "base": "with_average"}


def average_claims(domain: str, found: dict[str, Encoded], real: Seen, others: Seen) -> list[dict]:
    """C15 and C17: with the average code an encoder of StyleGAN2 is better than without, and than
    e4e but for the SWD of interpolations."""
    paper, rows = claims.paper_table(4), []
    better = "base"
    for claim, worse in (("C15", "base-no-average"), ("C17", "e4e")):
        if not {better, worse} <= set(found):
            continue
        names = ["with_average", {"e4e": "e4e"}.get(worse, "without_average")]
        for task, metrics in (("reconstruction", (*PAIRWISE, *DISTANCES)),
                              ("interpolation", DISTANCES)):
            for metric in metrics:
                part = "images" if task == "reconstruction" else "between"
                pair = [getattr(found[name], part) for name in (better, worse)]
                against = real if task == "reconstruction" else others
                gain = scores.advantage(metric, *pair, against, paired=task == "reconstruction")
                text = (f"{domain}: with the average better than {VARIANTS[worse]}, {task}, "
                        f"{scores.title(metric)}")
                reverse = (claim, task, metric) == ("C17", "interpolation", "swd")
                if reverse:
                    text = text.replace("better", "worse")
                theirs = claims.paper_gain(paper, domain, *names, metric, task)
                rows.append(claims.row(claim, text, theirs,
                                       scores.scaled(gain, -1) if reverse else gain))
    return rows


@dataclass(frozen=True, eq=False)
class Start:
    """What an untrained encoder makes of the images: its codes, and what the generator renders."""

    title: str
    codes: Tensor
    seen: Seen


def starts(m: Models, name: str, targets: Tensor, seed: int = 0) -> list[Start]:
    """Figure 17: the base encoder of generator `name` before training, with and without the average
    code, its output scaled to that of sampled codes as the study's encoders are."""
    found = []
    for average in (True, False):
        torch.manual_seed(seed)
        described = {"settings": zoo.entry(f"{name}-base")["settings"], "average": average}
        encoder = zoo.new_encoder(described, m.generator).to(targets.device)
        codes = settled(encoder, targets)
        title = f"{name.split('-')[1]}, {'with' if average else 'without'} average"
        found.append(Start(title, codes, scores.see(m, render(m.generator, codes))))
    return found


@torch.no_grad()
def settled(encoder: nn.Module, images: Tensor) -> Tensor:
    """Codes [N, L, D] of a new encoder, its batch norms taking the statistics of the images as in
    the first step of training."""
    return encoder.train()(images)


def start_table(domain: str, found: Sequence[Start], m: Models, others: Seen) -> pd.DataFrame:
    """Figure 17 in numbers: KID of what is rendered, and how far the codes lie from sampled ones:
    the root of the mean squared distance to the mean code, in standard deviations."""
    sampled = sample_codes(m.generator, 10_000)
    rows = []
    for start in found:
        offset = (start.codes.cpu() - sampled.mean(0).cpu()) / sampled.std(0).cpu()
        distance = scores.per_image(offset.square().mean((1, 2)).sqrt())
        kid_ = scores.score("kid", start.seen, others, paired=False)
        rows.append({"domain": domain, "start": start.title,
                     **scores.spread({"kid": kid_, "code_distance": distance})})
    return pd.DataFrame(rows)


def start_claims(domain: str, found: dict[str, list[Start]], others: Seen) -> list[dict]:
    """C18: without the average, StyleGAN2 renders farther from the domain, and it loses more by it
    than StyleGAN does."""
    rows = []
    for generator, (with_, without) in found.items():
        gain = scores.advantage("kid", with_.seen, without.seen, others, paired=False)
        second = "stylegan2" in generator
        text = f"{domain}: {generator.split('-')[1]} begins nearer to real images with the average"
        rows.append(claims.row("C18" if second else "-", f"{text}, KID x 1e3",
                               "only with it (Fig. 17)" if second else "with or without (Fig. 17)",
                               gain))
    return rows
