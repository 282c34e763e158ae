"""Figures of the study: image grids and curves with intervals, readable at the book's width."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..data import to_uint8

INK, BLUE, ORANGE, GREY = "#222222", "#2a6fb0", "#d1662a", "#8a8a8a"
STYLE = {
    "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.titlesize": 9, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    "legend.frameon": False, "figure.dpi": 110,
}  # fmt: skip


def image_grid(rows: Sequence[Tensor], row_labels: Sequence[str] = (),
               column_labels: Sequence[str] = (), inch: float = 0.95) -> Figure:
    """Rows of images, each [N, 3, H, W] in [-1, 1], as an aligned grid; pixels stay crisp."""
    columns = max(map(len, rows))
    with plt.rc_context(STYLE):
        size = columns * inch + 0.9 * bool(row_labels), len(rows) * inch
        figure, axes = plt.subplots(len(rows), columns, squeeze=False, layout="constrained",
                                    figsize=size)
        figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
        for r, images in enumerate(rows):
            for c in range(columns):
                show(axes[r, c], images[c] if c < len(images) else None)
        for axis, label in zip(axes[:, 0], row_labels):
            axis.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=6)
        for axis, label in zip(axes[0], column_labels):
            axis.set_title(label)
    plt.close(figure)
    return figure


def show(axis: Axes, image: Tensor | None) -> None:
    """One image [3, H, W] without ticks or frame; None leaves the place empty."""
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if image is not None:
        axis.imshow(to_uint8(image).permute(1, 2, 0).cpu().numpy(), interpolation="nearest")


def curves(table: pd.DataFrame, x: str, panels: Sequence[tuple[str, str, str]],
           floors: dict[str, float] | None = None, columns: int = 3) -> Figure:
    """One panel per (column, title, axis label), with the 95 % interval of NAME_low and NAME_high.

    Positions are evenly spaced and labelled by the table's first column; `x` names it in the axis
    label. `floors` draws a dashed line at the value that real images reach.
    """
    floors, place = floors or {}, range(len(table))
    with plt.rc_context(STYLE):
        rows = -(-len(panels) // columns)
        figure, axes = plt.subplots(rows, columns, layout="constrained", squeeze=False,
                                    figsize=(2.8 * columns, 2.4 * rows))
        for axis in axes.flat[len(panels):]:
            axis.set_axis_off()
        for axis, (name, title, label) in zip(axes.flat, panels):
            axis.fill_between(place, table[f"{name}_low"], table[f"{name}_high"], color=BLUE,
                              alpha=0.18, lw=0)
            axis.plot(place, table[name], "o-", color=BLUE, ms=4)
            if name in floors:
                axis.axhline(floors[name], color=GREY, ls="--", lw=1)
                axis.annotate("real images", (0, floors[name]), color=GREY, va="bottom", fontsize=8)
            axis.set(title=title, ylabel=label, xlabel=x)
            axis.set_xticks(list(place), [f"{v:g}" for v in table.iloc[:, 0]])
    plt.close(figure)
    return figure
