"""Towers of seven kinds under a common sky."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .colour import hsv
from .masonry import (
    DARK_GLASS,
    WARM_GLASS,
    battlements,
    circumradius,
    mottled,
    polygon_walls,
    shaft,
)
from .outdoors import (
    LABELS,
    OutdoorAttributes,
    add_ground,
    add_plants,
    render_outdoors,
    sample_outdoors,
)
from .scene import CANVAS, Model, heading

__all__ = ["CANVAS", "LABELS", "TowerAttributes", "render", "sample"]

KINDS = ("watch", "pagoda", "minaret", "clock", "lighthouse", "skyscraper", "lattice")
# Height in metres, half width at the foot relative to the height: ranges.
PROPORTIONS = {
    "watch": ((7.0, 10.0), (0.13, 0.17)),
    "pagoda": ((7.5, 10.5), (0.14, 0.18)),
    "minaret": ((8.5, 11.5), (0.075, 0.10)),
    "clock": ((8.0, 11.0), (0.10, 0.13)),
    "lighthouse": ((7.5, 10.5), (0.11, 0.14)),
    "skyscraper": ((9.0, 11.5), (0.10, 0.15)),
    "lattice": ((9.0, 11.5), (0.17, 0.22)),
}
ROOF_HUES = (0.02, 0.04, 0.08, 0.45, 0.6)
STRIPE_HUES = (0.0, 0.0, 0.6, 0.33)
GOLD = np.array([0.62, 0.42, 0.10])
IRON = np.array([0.12, 0.11, 0.11])
CLOCK_FACE, CLOCK_HANDS = np.array([0.86, 0.85, 0.80]), np.array([0.03, 0.03, 0.04])


@dataclass(frozen=True)
class TowerAttributes(OutdoorAttributes):
    """A tower; `levels` counts storeys, roofs, galleries or stripes, depending on the kind."""

    kind: str
    height: float  # metres, without the roof
    half_width: float  # metres at the foot
    taper: float  # width at the top relative to the foot
    levels: int
    sides: int  # 4, 8 or 20 (round)
    turn: float  # radians about the vertical
    wall_hue: float
    wall_saturation: float
    wall_value: float
    roof_hue: float
    roof_style: str  # "cone", "dome", "spire" or "flat"
    lit_windows: bool


def sample(rng: np.random.Generator) -> TowerAttributes:
    """Draw one tower and its surroundings."""
    outdoors = sample_outdoors(rng, (0, 22))
    kind = str(rng.choice(KINDS))
    heights, widths = PROPORTIONS[kind]
    height = float(rng.uniform(*heights))
    colourful = rng.random() < 0.2
    square_only = kind in ("clock", "skyscraper", "lattice")
    sides = 4 if square_only else int(rng.choice([4, 8, 20]))
    return TowerAttributes(
        **outdoors,
        kind=kind,
        height=height,
        half_width=height * float(rng.uniform(*widths)),
        taper=float(rng.uniform(0.78, 0.97)),
        levels=int(rng.integers(3, 8)),
        sides=20 if kind == "lighthouse" else sides,
        turn=float(rng.uniform(-0.6, 0.6)),
        wall_hue=float(rng.random() if colourful else rng.uniform(0.02, 0.13)),
        wall_saturation=float(rng.uniform(0.05, 0.55)),
        wall_value=float(rng.uniform(0.5, 0.92)),
        roof_hue=float(rng.choice(ROOF_HUES)),
        roof_style=str(rng.choice(["cone", "dome", "spire", "flat"])),
        lit_windows=bool(rng.random() < 0.25),
    )


class Builder:
    """Shared context of the functions that build one tower."""

    def __init__(self, tower: TowerAttributes):
        self.tower, self.model = tower, Model()
        self.rng = np.random.default_rng(tower.noise_seed + 2)
        self.wall = hsv(tower.wall_hue, tower.wall_saturation, tower.wall_value)
        self.trim = hsv(tower.wall_hue + 0.03, 0.7 * tower.wall_saturation, 0.65 * tower.wall_value)
        self.roof = hsv(tower.roof_hue, 0.55, 0.55)
        self.turn = tower.turn - np.pi / tower.sides - np.pi / 2

    def width_at(self, share: float) -> float:
        """Half width at a share of the height."""
        return self.tower.half_width * (1 + (self.tower.taper - 1) * share)

    def corner(self, half_width: float) -> float:
        return circumradius(half_width, self.tower.sides)

    def walls(self, half_width: float):
        return polygon_walls(self.model, half_width, self.tower.sides, self.turn)

    def prism(self, low, high, width_low, width_high, colour, courses: int = 6) -> None:
        """A mottled shaft between two heights."""
        profile = [(self.corner(width_low), low), (self.corner(width_high), high)]
        shaft(self.model, self.rng, profile, colour, self.tower.sides, self.turn, courses)

    def slab(self, height: float, half_width: float, thickness: float, colour) -> None:
        """A solid cornice with top and bottom."""
        r = self.corner(half_width)
        profile = [(0, 0), (r, 0), (r, thickness), (0, thickness)]
        self.model.lathe([0, 0, height], profile, colour, self.tower.sides, self.turn)

    def glass(self) -> np.ndarray:
        lit = self.tower.lit_windows and self.rng.random() < 0.5
        return WARM_GLASS if lit else DARK_GLASS

    def window_ring(self, foot: float, height: float, half_width: float, per_side: int) -> None:
        """Arched windows on every wall; `foot` is their sill."""
        walls = self.walls(half_width)
        if self.tower.sides == 20:
            walls = walls[::3]
        side = 2 * half_width * np.tan(np.pi / self.tower.sides)
        width = min(0.5 * height, 0.5 * side / per_side) if self.tower.sides < 20 else 0.4 * height
        for wall in walls:
            for k in range(per_side):
                across = side * ((k + 0.5) / per_side - 0.5)
                wall.framed_arch(across, foot, width, height, self.glass(), self.trim)

    def cap(self, foot: float, half_width: float, style: str) -> float:
        """The roof; returns the height of its tip."""
        model, sides, turn = self.model, self.tower.sides, self.turn
        if style == "cone":
            rise, r = 2.0 * half_width, self.corner(1.22 * half_width)
            model.lathe([0, 0, foot], [(0, 0), (r, 0), (0, rise)], self.roof, sides, turn)
        elif style == "spire":
            rise, r = 3.2 * half_width, self.corner(1.1 * half_width)
            profile = [(0, 0), (r, 0), (0.42 * r, 0.32 * rise), (0, rise)]
            model.lathe([0, 0, foot], profile, self.roof, sides, turn)
        elif style == "dome":
            rise = 1.15 * half_width
            model.ball([0, 0, foot], [1.05 * half_width, 1.05 * half_width, rise], self.roof, 20)
            model.beam([0, 0, foot + rise], [0, 0, foot + 1.45 * rise], 0.04, GOLD)
            rise *= 1.45
        else:
            rise = 0.34 * half_width + 0.1
            battlements(model, half_width, foot, sides, turn, self.wall, round_=sides == 20)
        return foot + rise


def build_watch(b: Builder) -> float:
    """A stone keep with small windows and a corbelled platform."""
    height, top = b.tower.height, b.width_at(1)
    b.prism(0, 0.84 * height, b.tower.half_width, top, b.wall, 12)
    for share in np.linspace(0.2, 0.62, min(b.tower.levels, 4)):
        b.window_ring(share * height, 0.055 * height, b.width_at(share), 1)
    b.prism(0.84 * height, 0.88 * height, top, 1.2 * top, b.trim, 1)
    b.prism(0.88 * height, height, 1.2 * top, 1.2 * top, b.wall, 2)
    b.slab(height - 0.05, 1.2 * top, 0.05, b.trim)
    if b.tower.roof_style in ("cone", "spire"):
        b.window_ring(0.905 * height, 0.05 * height, 1.2 * top, 1)
    return b.cap(height, 1.2 * top, b.tower.roof_style)


def build_pagoda(b: Builder) -> float:
    """Shrinking storeys under flared eaves."""
    tower, foot, width = b.tower, 0.0, b.tower.half_width
    storey = tower.height / tower.levels
    for _ in range(tower.levels):
        body = 0.66 * storey
        b.prism(foot, foot + body, 0.78 * width, 0.78 * width, b.wall, 2)
        b.window_ring(foot + 0.15 * body, 0.6 * body, 0.78 * width, 1 if tower.sides > 4 else 3)
        r = b.corner(1.22 * width)
        eaves = [(0, 0.16 * storey), (r, 0.06 * storey), (1.06 * r, 0.12 * storey),
                 (0.8 * r, 0.2 * storey), (b.corner(0.66 * width), 0.34 * storey)]  # fmt: skip
        b.model.lathe([0, 0, foot + body], eaves, b.roof, tower.sides, b.turn)
        foot += storey
        width *= 0.78 ** (3 / tower.levels)
    top = [(b.corner(0.7 * width), 0), (0, width)]
    b.model.lathe([0, 0, foot], top, b.roof, tower.sides, b.turn)
    b.model.beam([0, 0, foot + 0.6 * width], [0, 0, foot + 0.12 * tower.height], 0.05, GOLD)
    return foot + 0.12 * tower.height


def build_minaret(b: Builder) -> float:
    """A slender shaft with balconies and a pointed cap."""
    height, balconies = b.tower.height, 1 + b.tower.levels % 3
    b.prism(0, 0.1 * height, 1.35 * b.tower.half_width, 1.3 * b.tower.half_width, b.trim, 2)
    b.prism(0.1 * height, 0.86 * height, b.tower.half_width, b.width_at(1), b.wall, 14)
    for k in range(balconies):
        at = 0.86 - 0.24 * k
        width = b.width_at(at)
        r, level = b.corner(width), at * height
        floor, rail = 0.005 * height, 0.04 * height
        flare = [(r, -0.05 * height), (1.5 * r, 0), (1.55 * r, rail), (1.45 * r, rail),
                 (1.45 * r, floor), (0, floor)]  # fmt: skip
        b.model.lathe([0, 0, level], flare, b.trim, b.tower.sides, b.turn)
        b.window_ring((at - 0.14) * height, 0.06 * height, b.width_at(at - 0.1), 1)
    inner = 0.78 * b.width_at(1)
    b.prism(0.86 * height, height, inner, inner, b.wall, 3)
    b.window_ring(0.905 * height, 0.06 * height, inner, 1)
    return b.cap(height, inner, "spire" if b.tower.roof_style in ("spire", "cone") else "dome")


def build_clock(b: Builder) -> float:
    """A square tower with a clock on every side below the belfry."""
    height, width = b.tower.height, b.tower.half_width
    b.prism(0, height, width, width, b.wall, 16)
    for share in (0.12, 0.3, 0.46):
        b.window_ring(share * height, 0.08 * height, width, 1 + b.tower.levels % 2)
    for share in (0.6, 0.84, 1.0):
        b.slab(share * height, 1.1 * width, 0.02 * height, b.trim)
    for wall in b.walls(width):
        add_clock(b, wall, 0.73 * height, 0.78 * width)
    b.window_ring(0.87 * height, 0.1 * height, width, 2)
    style = "spire" if b.tower.roof_style in ("spire", "flat") else b.tower.roof_style
    return b.cap(1.02 * height, width, style)


def add_clock(b: Builder, wall, up: float, radius: float) -> None:
    """Dial, rim and hands; the hour is random."""
    wall.disc(0, up, 1.14 * radius, b.trim, 0.03)
    wall.disc(0, up, radius, CLOCK_FACE, 0.06)
    minute = b.rng.uniform(0, 2 * np.pi)
    for length, width, angle in ((0.85, 0.11, minute), (0.55, 0.16, minute / 12 + 1.0)):
        tip = length * radius * np.array([np.sin(angle), np.cos(angle)])
        side = width * radius / 2 * np.array([np.cos(angle), -np.sin(angle)])
        corners = np.array([-side, side, tip + side, tip - side])
        hand = wall.point(corners[:, 0], up + corners[:, 1], 0.09)
        b.model.polygon(hand, CLOCK_HANDS)


def build_lighthouse(b: Builder) -> float:
    """A tapered tower, often striped, with gallery, lantern room and dome."""
    height, levels = b.tower.height, b.tower.levels
    white = np.array([0.82, 0.81, 0.78])
    hue = STRIPE_HUES[b.tower.noise_seed % len(STRIPE_HUES)]
    stripe = hsv(hue, 0.75, 0.65) if b.tower.noise_seed % 4 else white
    taper = 0.62
    edges = np.linspace(0, 0.84, levels + 1)
    widths = b.tower.half_width * (1 + (taper - 1) * edges / 0.84)
    for k in range(levels):
        colour = white if k % 2 else stripe
        b.prism(edges[k] * height, edges[k + 1] * height, widths[k], widths[k + 1], colour, 3)
    top = widths[-1]
    for share in (0.3, 0.58):
        width = np.interp(share, edges, widths)
        b.window_ring(share * height, 0.06 * height, width, 1)
    b.slab(0.84 * height, 1.45 * top, 0.02 * height, IRON)
    for k in range(12):
        post = heading(2 * np.pi * k / 12) * 1.38 * top
        b.model.beam(post + [0, 0, 0.86 * height], post + [0, 0, 0.91 * height], 0.025, IRON)
    glass = WARM_GLASS if b.tower.lit_windows else np.array([0.10, 0.14, 0.18])
    b.prism(0.86 * height, 0.96 * height, 0.72 * top, 0.72 * top, glass, 2)
    for k in range(8):
        post = heading(2 * np.pi * k / 8) * 0.76 * top
        b.model.beam(post + [0, 0, 0.86 * height], post + [0, 0, 0.96 * height], 0.03, IRON)
    b.slab(0.96 * height, 0.95 * top, 0.02 * height, stripe)
    b.roof = stripe * 0.8 if stripe is not white else b.roof
    return b.cap(0.98 * height, 0.8 * top, "dome" if levels % 2 else "cone")


def build_skyscraper(b: Builder) -> float:
    """Stacked blocks with rows of windows and an optional antenna."""
    tower, foot, width = b.tower, 0.0, b.tower.half_width
    setbacks = 1 + tower.levels % 3
    cuts = np.array([0, 0.55, 0.82, 1.0]) if setbacks == 3 else np.linspace(0, 1, setbacks + 1)
    glass = hsv(0.57, 0.35, 0.3 + 0.35 * (tower.noise_seed % 2))
    for low, high in zip(cuts[:-1] * tower.height, cuts[1:] * tower.height):
        b.prism(low, high, width, width, b.wall, 3)
        for wall in b.walls(width):
            window_grid(b, wall, low, high, width, glass)
        b.slab(high, 1.02 * width, 0.06, b.trim)
        foot, width = high, 0.74 * width
    if tower.roof_style in ("cone", "spire"):
        return b.cap(foot + 0.06, 1.2 * width, tower.roof_style)
    if tower.roof_style == "dome":
        b.model.beam([0, 0, foot], [0, 0, foot + 0.2 * tower.height], 0.06, IRON)
        return foot + 0.2 * tower.height
    return foot + 0.06


def window_grid(b: Builder, wall, low: float, high: float, half_width: float, glass) -> None:
    """Office windows between two heights."""
    rows, columns = max(2, round((high - low) / 0.55)), 5
    for row in range(rows):
        up = low + (high - low) * (row + 0.55) / rows
        for col in range(columns):
            across = 2 * half_width * ((col + 0.5) / columns - 0.5)
            lit = b.tower.lit_windows and b.rng.random() < 0.35
            pane = WARM_GLASS if lit else glass * (0.7 + 0.6 * b.rng.random())
            wall.rectangle(across, up, 1.25 * half_width / columns, 0.3, pane)


def build_lattice(b: Builder) -> float:
    """Four inward-curving legs with cross bracing and platforms."""
    tower = b.tower
    colour = b.trim if tower.wall_saturation > 0.25 else IRON * 2
    heights = np.linspace(0, 1, tower.levels + 3) ** 0.9 * tower.height
    widths = tower.half_width * (0.1 + 0.9 * (1 - heights / tower.height) ** 1.6)
    angles = tower.turn + np.pi / 4 + np.pi / 2 * np.arange(4)
    rings = [[heading(a) * w * np.sqrt(2) + [0, 0, z] for a in angles]
             for w, z in zip(widths, heights)]  # fmt: skip
    for k, (low, high) in enumerate(pairwise(rings)):
        thick = 0.055 + 0.05 * (1 - k / len(rings))
        for i in range(4):
            j = (i + 1) % 4
            b.model.beam(low[i], high[i], thick, colour)
            b.model.beam(low[i], high[j], 0.5 * thick, colour)
            b.model.beam(low[j], high[i], 0.5 * thick, colour)
            b.model.beam(high[i], high[j], 0.6 * thick, colour)
    for k in (1, 3):
        half = [1.12 * widths[k], 1.12 * widths[k], 0.1]
        b.model.box([0, 0, heights[k]], half, colour * 0.9, tower.turn)
    tip = 1.14 * tower.height
    b.model.beam([0, 0, heights[-1] - 0.2], [0, 0, tip], 0.07, colour)
    return tip


BUILDERS = {
    "watch": build_watch,
    "pagoda": build_pagoda,
    "minaret": build_minaret,
    "clock": build_clock,
    "lighthouse": build_lighthouse,
    "skyscraper": build_skyscraper,
    "lattice": build_lattice,
}


def add_base(b: Builder) -> None:
    """A stone plinth under the tower."""
    width = 1.25 * b.tower.half_width
    rows, profile = 2, [(b.corner(1.08 * width), 0), (b.corner(width), 0.18), (0, 0.18)]
    colour = mottled(b.rng, b.trim, (rows, b.tower.sides))
    b.model.lathe([0, 0, 0], profile, colour, b.tower.sides, b.turn)


def render(tower: TowerAttributes, size: int) -> np.ndarray:
    """One tower as (size, size, 3) uint8; `size` must divide scene.CANVAS."""
    b = Builder(tower)
    add_ground(b.model, tower)
    if tower.kind != "lattice":
        add_base(b)
    tip = BUILDERS[tower.kind](b)
    clear = tower.half_width + 0.9

    def keep_out(x: float, y: float) -> bool:
        in_front = y < 0 and abs(x) < 0.8 * clear
        return in_front or np.hypot(x, y) < clear

    add_plants(b.model, tower, keep_out)
    extent = tip, 2.6 * tower.half_width, 0.0
    return render_outdoors(b.model, tower, extent, size)
