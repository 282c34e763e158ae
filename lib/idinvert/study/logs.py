"""Logs of training: read, and drawn over the images seen."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from idinvert.study import figures
from idinvert.training import runs

AXIS = "thousand images"
TITLES = {"pixel": "pixel term of the training loss", "held_out_mse": "held-out MSE",
          "d_loss": "loss of the discriminator"}


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
    columns = ("pixel", "held_out_mse")
    logs = pd.concat([training_log(name).assign(encoder=label) for label, name in models.items()],
                     ignore_index=True)
    return figures.lines_together(logs, "kimg", "encoder",
                                  {column: TITLES[column] for column in columns}, AXIS)
