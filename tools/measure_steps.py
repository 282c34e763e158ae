"""Measure how soon other ways of optimising reach what the published one does, and how far rounding
leads from it: the tables results/tables/steps.csv and rounding.csv, which the page on speed shows.

    python tools/measure_steps.py ways face-stylegan-layerwise tower-stylegan-layerwise
    python tools/measure_steps.py rounding face-stylegan-layerwise

The goal is the mean loss of Eq. (4) over test images after 100 steps of Adam with a rate of 0.01,
from the code of the encoder. Seconds are those of the processor on one thread and of one image,
which depend little on what else the machine does.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from idinvert import Model, data, models
from idinvert.codes import encode, frozen, render
from idinvert.inversion import InDomain, optimise
from idinvert.inversion.fast import FastNetworks
from idinvert.losses import LAMBDA_DOM, equation4
from torch import Tensor
from torch.optim import LBFGS, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR

TABLES = Path(__file__).parents[1] / "results" / "tables"
FEWER = 50  # steps of the other ways


class Way(NamedTuple):
    """A way of optimising: its optimiser, how many steps at most, whether its rate falls to 0,
    whether it begins with the corrected code, whether it takes images one by one, as a line search
    does, which is of one function."""

    make: partial
    steps: int = FEWER
    falling: bool = False
    corrected: bool = False
    alone: bool = False


PUBLISHED = "Adam, 0.01"
WAYS = {
    PUBLISHED: Way(partial(Adam, lr=0.01), 100),
    "Adam, 0.03": Way(partial(Adam, lr=0.03)),
    "Adam, 0.05": Way(partial(Adam, lr=0.05)),
    "Adam, 0.1": Way(partial(Adam, lr=0.1)),
    "Adam, 0.05 falling to 0": Way(partial(Adam, lr=0.05), falling=True),
    "Adam, 0.1 falling to 0": Way(partial(Adam, lr=0.1), falling=True),
    "L-BFGS": Way(partial(LBFGS, max_iter=FEWER, max_eval=FEWER, line_search_fn="strong_wolfe"), 1,
                  alone=True),
    "Adam, 0.05, corrected start": Way(partial(Adam, lr=0.05), corrected=True),
}


def losses_along(way: Way, networks: FastNetworks, images: Tensor, start: Tensor
                 ) -> tuple[Tensor, float]:
    """Losses [N, evaluations] of images [N, 3, H, W] in every evaluation, and processor seconds."""
    begun, codes, history = time.process_time(), start.clone().requires_grad_(True), []
    with torch.no_grad():
        wanted = networks.features(images)

    def evaluate() -> Tensor:
        loss, _ = equation4(codes, networks.generator.synthesis(codes), images,
                            features=networks.features, target_features=wanted,
                            encoder=networks.encoder)
        history.append(loss.detach())
        (codes.grad,) = torch.autograd.grad(loss.sum(), codes)
        return loss.sum()

    optimizer = way.make([codes])
    schedule = CosineAnnealingLR(optimizer, way.steps) if way.falling else None
    for _ in range(way.steps):
        optimizer.step(evaluate)
        if schedule:
            schedule.step()
    evaluate()
    return torch.stack(history, 1), time.process_time() - begun


def test_images(name: str, count: int) -> Tensor:
    """Of the domain of a model: [N, 3, H, W] in [-1, 1]."""
    return data.to_float(data.load(models.card(name)["domain"], "test", count).images)


def measure_rounding(name: str, count: int) -> pd.DataFrame:
    """One row per change that is no more than rounding: by how many per cent the loss after 100
    steps of an image differs from that of float32, the largest difference and the mean loss's."""
    model, images = Model(name, "cpu"), test_images(name, count)
    first = encode(model.encoder, images)
    moved = torch.randn(first.shape, generator=torch.Generator().manual_seed(0))

    def loss_after(networks: Any = model, bf16: bool = False, offset: float = 0.0) -> Tensor:
        found = optimise(networks, images, first + offset * moved, InDomain(bf16=bf16),
                         lambda_dom=LAMBDA_DOM)
        loss, _ = equation4(found.codes, found.images, images, features=model.features,
                            target_features=model.features(images), encoder=model.encoder)
        return loss.detach()

    exact, rows = loss_after(), []
    for title, change in {"the same again": {}, "start moved by 1e-6": {"offset": 1e-6},
                          "start moved by 1e-4": {"offset": 1e-4}, "bfloat16": {"bf16": True},
                          "fast": {"networks": FastNetworks(model)}}.items():
        loss = loss_after(**change)
        rows.append({"model": name, "change": title, "images": count,
                     "largest_percent": 100 * float((loss / exact - 1).abs().max()),
                     "mean_percent": 100 * float(loss.mean() / exact.mean() - 1)})
        print(rows[-1])
    return pd.DataFrame(rows)


def measure_ways(name: str, count: int) -> pd.DataFrame:
    """One row per way, for one model of the registry."""
    model, images, rows, goal = Model(name, "cpu"), test_images(name, count), [], None
    networks = FastNetworks(model)
    first = encode(model.encoder, images)
    corrected = 2 * first - encode(model.encoder, render(model.generator, first))
    with frozen([networks.generator, networks.features, networks.encoder]):
        for title, way in WAYS.items():
            start, size = corrected if way.corrected else first, 1 if way.alone else count
            found = [losses_along(way, networks, *batch)
                     for batch in zip(images.split(size), start.split(size))]
            shortest = min(loss.shape[1] for loss, _ in found)
            losses = torch.cat([loss[:, :shortest] for loss, _ in found])
            seconds = sum(spent for _, spent in found) / sum(loss.numel() for loss, _ in found)
            goal = losses[:, -1] if goal is None else goal
            rows.append(row(name, title, losses, goal, seconds))
            print(rows[-1])
    return pd.DataFrame(rows)


def row(name: str, title: str, losses: Tensor, goal: Tensor, seconds: float) -> dict:
    """What a way reached: `losses` [N, evaluations], `goal` [N]; `seconds` of an evaluation."""
    reached = (losses.mean(0) <= goal.mean()).nonzero()
    steps = int(reached[0]) if len(reached) else None
    return {"model": name, "way": title, "images": len(losses), "steps": losses.shape[1] - 1,
            "loss": float(losses[:, -1].mean()), "of_the_goal": float(losses[:, -1].mean()
                                                                      / goal.mean()),
            "largest_of_the_goal": float((losses[:, -1] / goal).max()), "steps_to_the_goal": steps,
            "seconds": seconds * (losses.shape[1] - 1 if steps is None else steps)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ways", "rounding"])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--images", type=int, default=8)
    options = parser.parse_args()
    measure, file = {"ways": (measure_ways, "steps.csv"),
                     "rounding": (measure_rounding, "rounding.csv")}[options.what]
    torch.set_num_threads(1)
    pd.concat([measure(name, options.images) for name in options.models]).to_csv(
        TABLES / file, index=False, float_format="%.4g")
