"""Logs of training: read, drawn over the images seen, and compared over repetitions.

A repetition is a training of a model with another seed, of which only the log is kept
(`idinvert train NAME --seed SEED`). Repetitions of two models with the same seed see the same
images in the same order: they are compared pair by pair, and the unit of every interval is the
training run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from idinvert.metrics import bootstrap
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import figures, scores
from idinvert.training import runs

AXIS = "thousand images"
TITLES = {"pixel": "pixel term of the training loss",
          "feature": "perceptual term of the training loss", "held_out_mse": "held-out MSE",
          "d_loss": "loss of the discriminator"}
CURVES = ("pixel", "held_out_mse")  # of Figure 14
TERMS = ("pixel", "feature")  # of the training loss that compare an image with its target
# What encoders make of held-out training images, where an encoder's table says it of test images.
LOGGED = {("reconstruction", "mse"): "held_out_mse", ("reconstruction", "ssim"): "held_out_ssim",
          ("reconstruction", "kid"): "held_out_kid_x1e3", ("reconstruction", "swd"): "held_out_swd",
          ("interpolation", "kid"): "between_kid_x1e3", ("interpolation", "swd"): "between_swd"}


def training_log(name: str) -> pd.DataFrame:
    """The log of a model's training: one row per line, NaN where a line lacks a figure."""
    return pd.read_json(runs.kept_log(name), lines=True)


def curves_of_models(panels: list[tuple[str, str]]) -> Figure:
    """One panel per (model, column of its log), of the models that have a log."""
    logs = [(name, column, training_log(name).dropna(subset=[column]))
            for name, column in panels if runs.kept_log(name).exists()]
    return figures.small_lines([(name, log["kimg"], log[column], TITLES.get(column, column))
                                for name, column, log in logs], AXIS)


def curves_together(models: dict[str, str]) -> Figure:
    """Figure 14: the pixel term of the training loss, and the MSE of held-out training images, with
    a line for each model {label: name}."""
    logs = pd.concat([training_log(name).assign(encoder=label) for label, name in models.items()],
                     ignore_index=True)
    return figures.lines_together(logs, "kimg", "encoder", {c: TITLES[c] for c in CURVES}, AXIS)


# --- repetitions with other seeds ----------------------------------------------------------------


def repetitions(name: str) -> dict[int, pd.DataFrame]:
    """The logs of a model's repetitions by seed."""
    found = {}
    for path in runs.kept_log(name).parent.glob(runs.kept_log(runs.repetition(name, "*")).name):
        found[int(path.stem.rpartition("-seed")[2])] = pd.read_json(path, lines=True)
    return dict(sorted(found.items()))


def repeated(models: dict[str, str], fewest: int = 2) -> dict[str, str]:
    """Those of the models {label: name} that have repetitions enough for an interval; a line names
    the others."""
    found = {label: name for label, name in models.items() if len(repetitions(name)) >= fewest}
    if missing := [name for label, name in models.items() if label not in found]:
        print(f"no repetitions with other seeds, and left out: {', '.join(missing)}")
    return found


def curves_of_repetitions(models: dict[str, str]) -> Figure:
    """Figure 14 over repetitions: the terms of the training loss, the mean of all seeds as a line
    and their range as a band, for each model {label: name}."""
    logs = pd.concat([log.assign(encoder=label) for label, name in models.items()
                      for log in repetitions(name).values()], ignore_index=True)
    return figures.lines_together(logs, "kimg", "encoder", {c: TITLES[c] for c in TERMS}, AXIS)


def reached(name: str, column: str) -> dict[int, float]:
    """The last value of a column in each repetition, by seed."""
    return {seed: float(log[column].dropna().iloc[-1]) for seed, log in repetitions(name).items()
            if column in log and log[column].notna().any()}


def difference(column: str, larger: str, smaller: str) -> Estimate:
    """By how much the last value of a column is larger for one model than for another: mean over
    seeds with Student's interval. ValueError: they share fewer than two seeds."""
    a, b = reached(larger, column), reached(smaller, column)
    return bootstrap.mean([a[seed] - b[seed] for seed in a if seed in b])


def advantage(metric: str, better: str, worse: str, task: str = "reconstruction") -> Estimate:
    """By how much one encoder does better at a task of LOGGED than another, by a metric: mean over
    seeds with Student's interval. ValueError: they share fewer than two seeds."""
    higher = scores.METRICS[metric].better == "higher"
    return difference(LOGGED[task, metric], *(better, worse) if higher else (worse, better))


def gaps(term: str, higher: str, lower: str) -> np.ndarray:
    """By how much a term of the training loss is higher in one model's training than in another's,
    for each seed and each stretch of the log: [seeds, stretches]."""
    a, b = ({seed: log.dropna(subset=[term]).set_index("kimg")[term]
             for seed, log in repetitions(name).items()} for name in (higher, lower))
    return np.stack([(a[seed] - b[seed]).dropna() for seed in a if seed in b])


def mean_gap(term: str, higher: str, lower: str) -> Estimate:
    """`gaps`, the mean over the training: mean over seeds with Student's interval."""
    return bootstrap.mean(gaps(term, higher, lower).mean(1))


def smallest_gap(term: str, higher: str, lower: str) -> Estimate:
    """`gaps` where they say least: that stretch of the log whose interval over seeds begins lowest.

    The loss is lower throughout if it is so in every stretch; to ask each at 5 % and take the worst
    answer is a test at 5 % (intersection-union).
    """
    stretches = [bootstrap.mean(values) for values in gaps(term, higher, lower).T]
    return min(stretches, key=lambda found: found.low)


def gap_in_one_training(term: str, higher: str, lower: str) -> Estimate:
    """By how much a term of the loss is higher in the training of one model than in that of
    another, of models that were trained once: mean over the stretches of their logs, with Student's
    interval over these, which does not say what another training would give."""
    a, b = (training_log(name).dropna(subset=[term]).set_index("kimg")[term]
            for name in (higher, lower))
    return bootstrap.mean((a - b).dropna().to_numpy())


def spread_over_seeds(models: dict[str, str], columns: Sequence[str]) -> pd.DataFrame:
    """One row per model {label: name}: the length of its repetitions, and of each column the mean
    over them with Student's interval."""
    rows = []
    for label, name in models.items():
        logs = repetitions(name)
        means = {c: bootstrap.mean(list(reached(name, c).values())) for c in columns}
        spread = {f"{c}{end}": value for c, found in means.items()
                  for end, value in zip(("", "_low", "_high"), found)}
        rows.append({"encoder": label, "seeds": len(logs),
                     "thousand_images": min(log["kimg"].max() for log in logs.values()), **spread})
    return pd.DataFrame(rows)
