"""Figures 1, 7 and 12 of the paper, drawn anew.

All use the same colours: blue is trained or optimised, grey is fixed, white are images and codes,
and dashed orange lines are the terms of a loss.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from idinvert.study.figures import BLUE, GREY, INK, ORANGE, STYLE

FACES = {"trained": ("#d5e5f4", BLUE), "fixed": ("#ececec", GREY), "data": ("white", "#bbbbbb")}


class Sketch:
    """Boxes and arrows on a sheet of `width` x `height` units; a box is 1.1 x 0.7 units."""

    def __init__(self, width: float, height: float, inch: float = 0.72):
        self.figure = Figure(figsize=(width * inch, height * inch))
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")
        self.axes.set_axis_off()

    def box(self, x: float, y: float, text: str, kind: str = "data", width: float = 1.1,
            height: float = 0.7) -> tuple[float, float, float, float]:
        """A box around (x, y); returns its place, for `arrow`."""
        face, edge = FACES[kind]
        corner = x - width / 2, y - height / 2
        style = "round,pad=0,rounding_size=0.12"
        self.axes.add_patch(FancyBboxPatch(corner, width, height, style, fc=face, ec=edge, lw=1.3))
        self.axes.text(x, y, text, ha="center", va="center", color=INK, fontsize=11)
        return x, y, width, height

    def arrow(self, start, end, colour: str = INK) -> None:
        """An arrow between two boxes, from edge to edge along the longer way between them."""
        sideways = abs(start[0] - end[0]) > abs(start[1] - end[1])
        points = [edge(start, end, sideways), edge(end, start, sideways)]
        self.axes.add_patch(FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=11,
                                            color=colour, lw=1.3, shrinkA=2, shrinkB=2))

    def term(self, start, end, text: str, rise: float) -> None:
        """A term of a loss: a dashed line above (rise > 0) or below two boxes, with its text."""
        (x0, y0, _, h0), (x1, y1, _, h1) = start, end
        side = 1 if rise > 0 else -1
        top = max(side * (y0 + side * h0 / 2), side * (y1 + side * h1 / 2)) * side + rise
        for x, y, h in ((x0, y0, h0), (x1, y1, h1)):
            self.axes.add_patch(FancyArrowPatch(
                (x, top), (x, y + side * h / 2), arrowstyle="-|>", mutation_scale=9, color=ORANGE,
                lw=1.3, ls=(0, (4, 2)), shrinkA=0, shrinkB=1))
        self.axes.plot([x0, x1], [top, top], color=ORANGE, lw=1.3, ls=(0, (4, 2)))
        self.note((x0 + x1) / 2, top + side * 0.2, text, ORANGE)

    def note(self, x: float, y: float, text: str, colour: str = INK, size: float = 9,
             align: str = "center", weight: str = "normal") -> None:
        """Text around (x, y)."""
        self.axes.text(x, y, text, ha=align, va="center", color=colour, fontsize=size,
                       weight=weight)

    def heading(self, y: float, text: str) -> None:
        """Bold text at the left of line `y`."""
        self.note(0.3, y, text, size=10, align="left", weight="bold")

    def row(self, y: float, items: list[tuple[float, str, str]]) -> list[tuple]:
        """Boxes (x, text, kind) on one line, each with an arrow to the next."""
        boxes = [self.box(x, y, text, kind) for x, text, kind in items]
        for a, b in zip(boxes, boxes[1:]):
            self.arrow(a, b)
        return boxes


def edge(box, towards, sideways: bool) -> tuple[float, float]:
    """Middle of the side of a box that faces another one."""
    x, y, width, height = box
    if sideways:
        return x + (width / 2 if towards[0] > x else -width / 2), y
    return x, y + (height / 2 if towards[1] > y else -height / 2)


def training() -> Figure:
    """Figure 1(a): how a conventional and a domain-guided encoder are trained."""
    s = Sketch(10.4, 5.3)
    s.heading(5.0, "Conventional encoder: learns from samples")
    sampled, *_, found = s.row(3.85, [
        (1, r"$z^{sam}$", "data"), (3, "$G$", "fixed"), (5, r"$x^{syn}$", "data"),
        (7, "$E$", "trained"), (9, r"$z^{enc}$", "data")])
    s.term(sampled, found, "same code, Eq. (1)", 0.3)
    s.heading(2.75, "Domain-guided encoder: learns from real images, through the generator")
    real, _, _, _, made, _ = s.row(1.45, [
        (1, r"$x^{real}$", "data"), (2.7, "$E$", "trained"), (4.4, r"$z^{enc}$", "data"),
        (6.1, "$G$", "fixed"), (7.8, r"$x^{rec}$", "data"), (9.5, "$D$", "trained")])
    s.term(real, made, "same pixels, same features, Eq. (2)", 0.3)
    s.note(9.5, 0.85, "looks real, Eq. (3)", ORANGE)
    legend(s, 0.3)
    return s.figure


def optimisation() -> Figure:
    """Figure 1(b): the conventional and the domain-regularised optimisation of one code."""
    s = Sketch(10.4, 5.3)
    s.heading(5.0, "Conventional optimisation: the code is free")
    _, _, made = s.row(3.85, [(1, "$z$", "trained"), (3, "$G$", "fixed"),
                              (5, r"$x^{rec}$", "data")])
    target = s.box(9, 3.85, "$x$")
    s.term(made, target, "same pixels, same features", 0.3)
    s.heading(2.75, "Domain-regularised optimisation: the encoder keeps the code in the domain")
    code, _, made, _, again = s.row(1.6, [
        (1, "$z$", "trained"), (2.7, "$G$", "fixed"), (4.4, r"$x^{rec}$", "data"),
        (6.1, "$E$", "fixed"), (7.8, r"$E(G(z))$", "data")])
    target = s.box(9.5, 1.6, "$x$")
    s.term(made, target, "same pixels, same features, Eq. (4)", 0.3)
    s.term(code, again, r"same code, weight $\lambda_{dom}$", -0.25)
    s.note(1.0, 2.2, r"starts at $E(x)$", BLUE)
    legend(s, 0.3, "optimised")
    return s.figure


def average() -> Figure:
    """Figure 7: the encoder predicts an offset from the average code."""
    s = Sketch(10.4, 3.7)
    s.row(3.0, [(1, r"$\mathcal{N}(0, 1)$", "data"), (3, "$M$", "fixed"), (5, "$w$", "data"),
                (7, "$S$", "fixed"), (9, r"$x^{syn}$", "data")])
    real, _, offset = s.row(1.1, [(1, r"$x^{real}$", "data"), (2.5, "$E$", "trained"),
                                  (4, r"$w^{enc}$", "data")])
    plus = (5.35, 1.1, 0.44, 0.44)
    s.axes.add_patch(Circle(plus[:2], 0.22, fc="white", ec=INK, lw=1.3))
    s.note(*plus[:2], "+", size=12)
    mean = s.box(5.35, 2.0, r"$\bar{w}$", "fixed", 0.7, 0.5)
    s.arrow(offset, plus)
    s.arrow(mean, plus)
    network, made = s.row(1.1, [(7, "$S$", "fixed"), (9, r"$x^{rec}$", "data")])
    s.arrow(plus, network)
    s.term(real, made, "same image, Eq. (2)", -0.22)
    s.axes.plot([7, 7], [1.5, 2.6], color=GREY, lw=1, ls=":")
    s.note(7.1, 2.05, "the same network", GREY, 8, "left")
    return s.figure


def noises() -> Figure:
    """Figure 12: maps from the encoder replace the noise of the generator's blocks."""
    s = Sketch(10.4, 5.9)
    sizes, left, right = (64, 32, 16, 8, 4), [], []
    for i, size in enumerate(sizes):
        y = 5.0 - 0.95 * i
        left.append(s.box(2.6, y, f"{size} px", "trained", 2.6 - 0.36 * i, 0.62))
        right.append(s.box(7.8, y, f"B-{5 - i}, {size} px", "fixed", 2.6 - 0.24 * i, 0.62))
        s.arrow(left[i], right[i], BLUE)
        s.note(5.15, y + 0.17, r"$1\times1$ convolution $\rightarrow$ noise map", size=8)
    for a, b in zip(left, left[1:]):
        s.arrow(a, b)
    for a, b in zip(right[1:], right):
        s.arrow(a, b)
    code = s.box(5.15, 0.4, "code $w$", "data", 1.4, 0.5)
    s.axes.plot([2.6, 2.6], [0.4, 0.89], color=INK, lw=1.3)
    s.arrow((2.6, 0.4, 0, 0), code)
    s.arrow((7.8, 0.4, 0, 0), right[-1])
    s.axes.plot([5.85, 7.8], [0.4, 0.4], color=INK, lw=1.3)
    s.note(2.6, 5.65, r"encoder $E$", size=10, weight="bold")
    s.note(7.8, 5.65, r"generator $G$", size=10, weight="bold")
    return s.figure


def legend(s: Sketch, y: float, blue: str = "trained") -> None:
    """A legend of the colours on line `y`; blue: what blue means here."""
    for x, kind, text in ((0.5, "trained", blue), (2.4, "fixed", "fixed"),
                          (4.0, "data", "image or code")):
        s.box(x, y, "", kind, 0.4, 0.26)
        s.note(x + 0.35, y, text, size=8.5, align="left")
    s.axes.plot([6.3, 6.9], [y, y], color=ORANGE, lw=1.3, ls=(0, (4, 2)))
    s.note(7.05, y, "term of the loss", size=8.5, align="left")


DRAWINGS = {"training": training, "optimisation": optimisation, "average": average,
            "noises": noises}


def draw(folder: Path) -> list[Path]:
    """Write every drawing into `folder` as SVG, its text as shapes; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plt.rc_context(STYLE | {"svg.hashsalt": "idinvert", "mathtext.fontset": "cm"}):
        for name, function in DRAWINGS.items():
            paths.append(folder / f"{name}.svg")
            function().savefig(paths[-1], metadata={"Date": None})
    return paths
