"""Figures of the study in one theme, readable at the book's width: image grids, and seaborn plots
with our own intervals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import seaborn as sns
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from torch import Tensor

from idinvert.data import to_uint8

SHADES = 128  # colours of a PNG: antialiased lines look the same with these as with all
INK, BLUE, ORANGE, GREEN, GREY = "#222222", "#2a6fb0", "#d1662a", "#3f8f5f", "#8a8a8a"
PALETTE = (BLUE, ORANGE, GREEN, "#8d5fa8", "#b08a2e", "#4a9aa5", "#a8475a", GREY)
STYLE = {
    **sns.axes_style("ticks"), **sns.plotting_context("paper"),
    "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 8.5, "xtick.labelsize": 8,
    "ytick.labelsize": 8, "legend.fontsize": 7.5, "legend.title_fontsize": 7.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY,
    "axes.linewidth": 0.8, "xtick.major.width": 0.8, "ytick.major.width": 0.8,
    "xtick.major.size": 3, "ytick.major.size": 3, "axes.labelcolor": INK, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "legend.frameon": False, "figure.dpi": 110,
}


def theme() -> AbstractContextManager:
    """The look of figures: a context, or a decorator of a function that draws one."""
    return plt.rc_context(STYLE)


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, by its place.

    >>> colours(["a", "b"])
    {'a': '#2a6fb0', 'b': '#d1662a'}
    """
    more = max(0, len(names) - len(PALETTE))
    palette = [*PALETTE, *sns.color_palette("husl", more).as_hex()] if more else PALETTE
    return dict(zip(names, palette))


@theme()
def image_grid(rows: Sequence[Tensor], row_labels: Sequence[str] = (),
               column_labels: Sequence[str] = (), inch: float = 0.95) -> Figure:
    """Rows of images, each [N, 3, H, W] in [-1, 1], as an aligned grid; pixels stay crisp."""
    columns, shape = max(map(len, rows)), rows[0].shape[-2:]
    size = columns * inch + 0.9 * bool(row_labels), len(rows) * inch
    figure, axis = plt.subplots(layout="constrained", figsize=size)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01)
    for r, images in enumerate(rows):
        for c, image in enumerate(images):
            show(axis, image, r, c, margin=0.01 / inch)
    # one pair of axes for all: axes of their own for every image take ten times as long to draw
    axis.set(xlim=(0, columns), ylim=(len(rows), 0), aspect=shape[0] / shape[1])
    axis.set_xticks(np.arange(len(column_labels)) + 0.5, column_labels, fontsize="medium")
    axis.set_yticks(np.arange(len(row_labels)) + 0.5, row_labels, fontsize="medium")
    axis.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=4)
    axis.spines[:].set_visible(False)
    plt.close(figure)
    return figure


def show(axis: Axes, image: Tensor, row: int, column: int, margin: float) -> None:
    """One image [3, H, W] in its cell, of side 1, of a grid."""
    axis.imshow(to_uint8(image).permute(1, 2, 0).cpu().numpy(), interpolation="nearest",
                extent=(column + margin, column + 1 - margin, row + 1 - margin, row + margin))


def file_format(figure: Figure) -> str:
    """"jpg", a third of the size, for a figure that shows images in colour, "png" for others."""
    coloured = any(image.get_array().ndim == 3 for axis in figure.axes for image in axis.images)
    return "jpg" if coloured else "png"


def shown(figure: Figure) -> Image:
    """What a notebook keeps of a figure."""
    file = io.BytesIO()
    save(figure, file, figure.dpi, 60)
    return Image(file.getvalue(), format=file_format(figure).replace("jpg", "jpeg"))


def save(figure: Figure, file: Path | io.BytesIO, dpi: float, quality: int = 75) -> None:
    """Write a figure with all its labels, in its format: JPEG with a quality of up to 95, PNG with
    a palette of SHADES colours, a third of the size."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=dpi, bbox_inches="tight",
                   pil_kwargs={"compress_level": 1})
    picture = PIL.Image.open(drawn).convert("RGB")
    if file_format(figure) == "jpg":
        picture.save(file, "JPEG", quality=quality, optimize=True)
    else:
        picture.quantize(SHADES).save(file, "PNG", optimize=True)


@theme()
def curves(table: pd.DataFrame, x: str, panels: Sequence[tuple[str, str, str]],
           floors: dict[str, float] | None = None, columns: int = 3) -> Figure:
    """One panel per (column, title, axis label), with the 95 % interval of NAME_low and NAME_high.

    Positions are evenly spaced and labelled by the table's first column; `x` names it in the axis
    label. `floors` draws a dashed line at the value that real images reach.
    """
    floors, places = floors or {}, np.arange(len(table))
    figure, axes = axes_grid(len(panels), columns)
    for axis, (name, title, label) in zip(axes, panels):
        sns.lineplot(x=places, y=table[name].to_numpy(), color=BLUE, marker="o", ms=5, ax=axis)
        axis.fill_between(places, table[f"{name}_low"], table[f"{name}_high"], color=BLUE,
                          alpha=0.18, lw=0)
        if name in floors:
            axis.axhline(floors[name], color=GREY, ls="--", lw=1)
            axis.annotate("real images", (0, floors[name]), (0, 2), color=GREY, va="bottom",
                          textcoords="offset points", fontsize=7.5)
        axis.set(title=title, ylabel=label, xlabel=x)
        axis.set_xticks(places, [f"{v:g}" for v in table.iloc[:, 0]])
    return figure


@theme()
def lines_together(table: pd.DataFrame, x: str, group: str, panels: dict[str, str], label: str
                   ) -> Figure:
    """One panel per column {name: title} over the column `x`, with a line for each group: of
    several rows at one place their mean, and a band from the lowest to the highest."""
    figure, axes = axes_grid(len(panels), columns=2, inch=3.4)
    names = list(table[group].unique())
    for axis, (column, title) in zip(axes, panels.items()):
        for name, colour in colours(names).items():
            rows = table[table[group] == name].dropna(subset=[column])
            sns.lineplot(rows, x=x, y=column, color=colour, lw=1.3, label=name, ax=axis,
                         errorbar=("pi", 100), legend=False)
        axis.set(title=title, xlabel=label, ylabel="")
    axes[0].legend()
    return figure


@theme()
def fronts(table: pd.DataFrame, x: tuple[str, str], panels: Sequence[tuple[str, str]],
           lower: Sequence[str]) -> Figure:
    """One panel per (column, axis label) over the column and label `x`: a point for each row with
    its interval, and in grey the front that no row beats (`front_COLUMN`). Axes of the columns
    `lower` are turned: upwards and to the right is better. The rows of a `method` whose `setting`s
    are numbers are joined by a line, whose ends are named in every panel but the last; the last
    names the rows of the others.
    """
    figure, axes = axes_grid(len(panels), columns=len(panels), inch=4.1)
    for axis, (y, label) in zip(axes, panels):
        front = table[table[f"front_{y}"]].sort_values(x[0])
        axis.plot(front[x[0]], front[y], drawstyle="steps-post", color="#dcdcdc", lw=8, zorder=0)
        for name, colour in colours(list(table["method"].unique())).items():
            rows = table[table["method"] == name]
            swept = rows["setting"].str.contains(r"\d").all()
            if swept:
                axis.plot(rows[x[0]], rows[y], color=colour, lw=1.2, alpha=0.7)
            ends = {f"{end}err": spread_around(rows, column)
                    for end, column in (("x", x[0]), ("y", y))}
            axis.errorbar(rows[x[0]], rows[y], **ends, fmt="none", ecolor=colour, elinewidth=0.6,
                          alpha=0.3)
            axis.scatter(rows[x[0]], rows[y], s=24, color=colour, label=name, zorder=3)
            tips = rows.iloc[[0, -1]] if swept else rows
            named = tips if swept == (axis is not axes[-1]) else rows[:0]
            for _, row in named.iterrows():
                axis.annotate(row["setting"], (row[x[0]], row[y]), (4, 3), color=colour,
                              textcoords="offset points", fontsize=6)
        margin = 0.1 * np.ptp(table[y]) or 1
        axis.set(xlabel=f"{x[1]} (better \N{RIGHTWARDS ARROW})",
                 ylabel=f"{label} (better \N{RIGHTWARDS ARROW})",
                 ylim=(table[y].min() - margin, table[y].max() + margin))
        if x[0] in lower:
            axis.set_xscale("log")
            axis.invert_xaxis()
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.xaxis.set_minor_formatter("")
        if y in lower:
            axis.invert_yaxis()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    return figure


def spread_around(rows: pd.DataFrame, column: str) -> np.ndarray:
    """Lengths [2, N] of the two halves of the intervals of a column."""
    ends = rows[[f"{column}_low", f"{column}_high"]].to_numpy()
    return np.abs(ends - rows[[column]].to_numpy()).T


@theme()
def small_lines(panels: Sequence[tuple[str, pd.Series, pd.Series, str]], label: str) -> Figure:
    """One small panel for each (title, x, y, axis label), with one line."""
    figure, axes = axes_grid(len(panels), columns=4, inch=2.4)
    for axis, (title, x, y, unit) in zip(axes, panels):
        sns.lineplot(x=x.to_numpy(), y=y.to_numpy(), color=BLUE, lw=1.2, ax=axis,
                     estimator=None, marker="." if len(x) == 1 else "")
        axis.set(xlabel=label, ylabel=unit)
        axis.set_title(title, fontsize=7.5)
    return figure


@theme()
def plane(table: pd.DataFrame, x: tuple[str, str], y: tuple[str, str], group: str, name: str
          ) -> Figure:
    """Two columns, each (column, axis label), against one another, with the intervals of NAME_low
    and NAME_high; a line joins the rows of a group in their order, and `name` is written at each.
    """
    figure, (axis,) = axes_grid(1, columns=1, inch=4.6)
    for (_, rows), colour in zip(table.groupby(group, sort=False), PALETTE):
        values = [rows[column].to_numpy() for column, _ in (x, y)]
        errors = [np.abs(np.stack([rows[f"{column}_low"], rows[f"{column}_high"]]) - found)
                  for (column, _), found in zip((x, y), values)]
        axis.errorbar(*values, xerr=errors[0], yerr=errors[1], color=colour, marker="o", ms=5,
                      lw=1.3, elinewidth=0.8)
        for text, place in zip(rows[name], zip(*values)):
            axis.annotate(text, place, (5, 5), textcoords="offset points", color=colour,
                          fontsize=7.5)
    axis.set(xlabel=x[1], ylabel=y[1])
    return figure


@theme()
def strips(table: pd.DataFrame, x: str, group: str, panels: dict[str, str]) -> Figure:
    """One panel for each value {value: title} of the table's column `panel`: the values of `x`, a
    point each, in a row for every group, with their median."""
    names = list(table[group].unique())
    figure, axes = axes_grid(len(panels), columns=3, inch=3.2)
    for axis, (panel, title) in zip(axes, panels.items()):
        rows = table[table["panel"] == panel]
        options = {"x": x, "y": group, "hue": group, "order": names, "hue_order": names,
                   "palette": colours(names), "legend": False, "ax": axis}
        sns.stripplot(rows, size=2, alpha=0.55, jitter=0.28, **options)
        medians = rows.groupby(group)[x].median()
        axis.scatter([medians.get(name, np.nan) for name in names], range(len(names)),
                     marker="|", s=260, color=INK, zorder=3, label="median")
        axis.set(title=title, ylabel="")
        if axis is not axes[0]:
            axis.set_yticklabels([])
    return figure


@theme()
def precision_recall_curves(panels: Sequence[tuple[str, float, dict[str, tuple]]]) -> Figure:
    """Figure 3: a panel (title, chance, {label: (precision, recall)}) with a line for each label.
    """
    figure, axes = axes_grid(len(panels), columns=2, inch=3.6)
    for axis, (title, chance, lines) in zip(axes, panels):
        colour = colours(list(lines))
        for label, (precision, recall) in lines.items():
            sns.lineplot(x=recall, y=precision, color=colour[label], lw=1.4, label=label, ax=axis,
                         estimator=None, sort=False, legend=False)
        axis.axhline(chance, color=GREY, ls="--", lw=1)
        axis.set(title=title, xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.03))
        axis.legend(loc="lower left", title="average precision", fontsize=6.5, title_fontsize=6.5)
    return figure


@theme()
def axes_grid(count: int, columns: int = 3, inch: float = 2.8) -> tuple[Figure, list[Axes]]:
    """A figure of so many equal panels, `columns` in a row, and their axes in reading order."""
    rows = -(-count // columns)
    figure, axes = plt.subplots(rows, columns, layout="constrained", squeeze=False,
                                figsize=(inch * columns, 0.86 * inch * rows))
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    plt.close(figure)
    return figure, list(axes.flat[:count])


@theme()
def heatmap(table: pd.DataFrame, inch: float = 0.62) -> Figure:
    """A square table of values in [-1, 1] as a coloured matrix with its numbers."""
    side = inch * len(table) + 1.2
    figure, axis = plt.subplots(layout="constrained", figsize=(side, side))
    sns.heatmap(table.round(2) + 0.0, annot=True, fmt=".2f", cmap="vlag", vmin=-1, vmax=1,
                square=True, cbar=False, linewidths=1, annot_kws={"fontsize": 8}, ax=axis)
    axis.set_xticklabels(axis.get_xticklabels(), rotation=40, ha="right")
    axis.set_yticklabels(axis.get_yticklabels(), rotation=0)
    axis.tick_params(length=0)
    plt.close(figure)
    return figure
