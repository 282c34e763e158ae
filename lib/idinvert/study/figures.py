"""Figures of the study: image grids and curves with intervals, readable at the book's width."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import PIL.Image
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from idinvert.data import to_uint8

COLOURS = 128  # with which antialiased lines look the same
INK, BLUE, ORANGE, GREEN, GREY = "#222222", "#2a6fb0", "#d1662a", "#3f8f5f", "#8a8a8a"
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


def file_format(figure: Figure) -> str:
    """"jpg", a third of the size, for a figure that shows images in colour, "png" for others."""
    coloured = any(image.get_array().ndim == 3 for axis in figure.axes for image in axis.images)
    return "jpg" if coloured else "png"


def shown(figure: Figure) -> Image:
    """What a notebook keeps of a figure."""
    file = io.BytesIO()
    save(figure, file, figure.dpi, 60, bbox_inches="tight")
    return Image(file.getvalue(), format=file_format(figure).replace("jpg", "jpeg"))


def save(figure: Figure, file: Path | io.BytesIO, dpi: float, quality: int = 75, **options) -> None:
    """Write a figure in its format: JPEG with a quality of up to 95, PNG with a palette of so many
    COLOURS, a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, **options)
    picture = PIL.Image.open(drawn).convert("RGB")
    if file_format(figure) == "jpg":
        picture.save(file, "JPEG", quality=quality, optimize=True)
    else:
        picture.quantize(COLOURS).save(file, "PNG", optimize=True)


def curves(table: pd.DataFrame, x: str, panels: Sequence[tuple[str, str, str]],
           floors: dict[str, float] | None = None, columns: int = 3) -> Figure:
    """One panel per (column, title, axis label), with the 95 % interval of NAME_low and NAME_high.

    Positions are evenly spaced and labelled by the table's first column; `x` names it in the axis
    label. `floors` draws a dashed line at the value that real images reach.
    """
    floors, place = floors or {}, range(len(table))
    figure, axes = axes_grid(len(panels), columns)
    with plt.rc_context(STYLE):
        for axis, (name, title, label) in zip(axes, panels):
            axis.fill_between(place, table[f"{name}_low"], table[f"{name}_high"], color=BLUE,
                              alpha=0.18, lw=0)
            axis.plot(place, table[name], "o-", color=BLUE, ms=4)
            if name in floors:
                axis.axhline(floors[name], color=GREY, ls="--", lw=1)
                axis.annotate("real images", (0, floors[name]), color=GREY, va="bottom", fontsize=8)
            axis.set(title=title, ylabel=label, xlabel=x)
            axis.set_xticks(list(place), [f"{v:g}" for v in table.iloc[:, 0]])
    return figure


def axes_grid(count: int, columns: int = 3, inch: float = 2.8) -> tuple[Figure, list[Axes]]:
    """A figure of so many equal panels, `columns` in a row, and their axes in reading order."""
    rows = -(-count // columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(rows, columns, layout="constrained", squeeze=False,
                                    figsize=(inch * columns, 0.86 * inch * rows))
        for axis in axes.flat[count:]:
            axis.set_axis_off()
    plt.close(figure)
    return figure, list(axes.flat[:count])


def heatmap(table: pd.DataFrame, inch: float = 0.62) -> Figure:
    """A square table of values in [-1, 1] as a coloured matrix with its numbers."""
    with plt.rc_context(STYLE):
        side = inch * len(table) + 1.2
        figure, axis = plt.subplots(layout="constrained", figsize=(side, side))
        axis.imshow(table, cmap="RdBu_r", vmin=-1, vmax=1)
        places = range(len(table))
        axis.set_xticks(places, table.columns, rotation=40, ha="right")
        axis.set_yticks(places, table.index)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        for r in places:
            for c in places:
                value = table.iloc[r, c]
                axis.text(c, r, f"{value:.2f}", ha="center", va="center",
                          color="white" if abs(value) > 0.6 else INK)
    plt.close(figure)
    return figure
