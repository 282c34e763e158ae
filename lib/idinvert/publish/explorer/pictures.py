"""Pictures and tables of the explorer, and what lets a reader go through them without a kernel."""

from __future__ import annotations

import io
from collections.abc import Sequence

import ipywidgets as w
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from idinvert.codes import interpolate, render
from idinvert.data import grid, to_uint8
from idinvert.study.networks import Models

LAMBDAS = (0.0, 0.5, 2.0, 5.0, 10.0, 40.0)
CELL = "padding:0 12px;white-space:nowrap"  # style of the cells of a table


def picture(images: Tensor, kind: str = "webp", columns: int | None = None,
            box: tuple[int, int, int, int] | None = None) -> bytes:
    """Images [N, 3, H, W] side by side as a file; `box` is outlined in the first of them."""
    sheet = to_uint8(grid(images, columns or len(images))).permute(1, 2, 0).cpu().numpy()
    shown = Image.fromarray(sheet)
    if box is not None:
        ImageDraw.Draw(shown).rectangle([box[0], box[1], box[2] - 1, box[3] - 1], outline="orange")
    file = io.BytesIO()
    shown.save(file, kind, quality=55)
    return file.getvalue()


def scores(models: Models, **images: Tensor) -> str:
    """Table of attribute probabilities as HTML: a column for each named set, means over it."""
    return score_table(models, {name: models.probabilities(x) for name, x in images.items()})


def score_table(models: Models, columns: dict[str, Tensor]) -> str:
    """The same of probabilities [N, A]."""
    head = "".join(f"<th style='{CELL}'>{name}</th>" for name in columns)
    rows = ""
    for i, attribute in enumerate(models.attributes):
        cells = "".join(f"<td style='{CELL}'>{bar(float(p[:, i].mean()))}</td>"
                        for p in columns.values())
        rows += f"<tr><td>{attribute}</td>{cells}</tr>"
    return f"<table style='line-height:1.5'><tr><th></th>{head}</tr>{rows}</table>"


def bar(probability: float) -> str:
    """A probability as a bar and a number, in HTML."""
    full, part = "display:inline-block;width:60px;background:#ececec", 60 * probability
    return (f"<span style='{full}'><span style='display:block;height:9px;background:#2a6fb0;"
            f"width:{part:.0f}px'></span></span> {probability:.2f}")


def blends(models: Models, a: Tensor, b: Tensor, steps: int) -> Tensor:
    """Images [steps, 3, r, r] on the way from code `a` to code `b`, both [1, L, D], with ends."""
    return render(models.generator, interpolate(a, b, steps, ends=True)[0])


def flip(control: w.Widget, children: Sequence[w.Widget]) -> w.Stack:
    """A stack of which a slider or dropdown with `index` shows one child, also without a kernel."""
    stack = w.Stack(list(children), selected_index=control.index, layout={"width": "100%"})
    w.jslink((control, "index"), (stack, "selected_index"))
    return stack


def slider(name: str, options: Sequence, value=None) -> w.SelectionSlider:
    """A slider over labelled positions."""
    labels = [(f"{o:g}" if isinstance(o, float) else str(o), o) for o in options]
    return w.SelectionSlider(options=labels, value=options[0] if value is None else value,
                             description=name, layout={"width": "480px"},
                             style={"description_width": "90px"})


def still(rows: Sequence[Tensor], text: str = "", width: str = "100%") -> w.Widget:
    """Rows of images, each [N, 3, H, W], as one picture, with HTML below."""
    sheet = picture(torch.cat(list(rows)), columns=len(rows[0]))
    shown = w.Image(value=sheet, format="webp", layout={"width": width, "max_width": "672px"})
    return w.VBox([shown, w.HTML(text)], layout={"width": "100%"})
