"""Churches: a gabled nave and a bell tower with a cross, under the towers' sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .colour import hsv
from .masonry import (
    DARK_GLASS,
    Wall,
    circumradius,
    cross,
    gable_roof,
    mottled,
    polygon_walls,
)
from .outdoors import (
    LABELS,
    OutdoorAttributes,
    add_ground,
    add_plants,
    render_outdoors,
    sample_outdoors,
)
from .scene import CANVAS, Model

__all__ = ["CANVAS", "LABELS", "ChurchAttributes", "render", "sample"]

# HSV ranges of the wall materials: hue, saturation, value.
MATERIALS = {
    "stone": ((0.07, 0.13), (0.08, 0.3), (0.5, 0.75)),
    "white": ((0.08, 0.14), (0.0, 0.1), (0.86, 0.95)),
    "red brick": ((0.01, 0.045), (0.5, 0.65), (0.5, 0.68)),
}
ROOF_COLOURS = {
    "slate": (0.6, 0.15, 0.34), "tile": (0.03, 0.6, 0.58), "copper": (0.44, 0.35, 0.55),
    "lead": (0.6, 0.05, 0.5),
}  # fmt: skip
TOWER_PLACES = ("centre", "left", "right")
SPIRES = ("pyramid", "octagonal", "onion", "saddle")
WOOD = np.array([0.13, 0.065, 0.03])
IRON_CROSS, GOLD_CROSS = np.array([0.04, 0.04, 0.045]), np.array([0.65, 0.45, 0.12])
ROSE_PETALS = 10
FRONT = -np.pi / 2  # heading of the facade, towards the camera
WALL_COURSES = (14, 8)  # stones along and up a wall


@dataclass(frozen=True)
class ChurchAttributes(OutdoorAttributes):
    """A church; lengths in metres."""

    material: str
    roof: str
    tower_place: str
    spire: str
    pointed_arches: bool
    rose_window: bool
    nave_half_width: float
    nave_length: float
    wall_height: float
    roof_rise: float
    tower_half_width: float
    tower_height: float
    spire_height: float
    windows: int  # along each side of the nave
    buttresses: bool
    gold_cross: bool
    wall_hue: float
    wall_saturation: float
    wall_value: float
    glass_hue: float


def sample(rng: np.random.Generator) -> ChurchAttributes:
    """Draw one church and its surroundings."""
    outdoors = sample_outdoors(rng, (16, 42))
    material = str(rng.choice(list(MATERIALS)))
    hue, saturation, value = (float(rng.uniform(*span)) for span in MATERIALS[material])
    half_width, wall_height = float(rng.uniform(1.3, 1.9)), float(rng.uniform(1.9, 3.0))
    rise = half_width * float(rng.uniform(0.9, 1.5))
    tower_half = half_width * float(rng.uniform(0.4, 0.52))
    return ChurchAttributes(
        **outdoors,
        material=material,
        roof=str(rng.choice(list(ROOF_COLOURS))),
        tower_place=str(rng.choice(TOWER_PLACES)),
        spire=str(rng.choice(SPIRES, p=[0.35, 0.3, 0.2, 0.15])),
        pointed_arches=bool(rng.random() < 0.5),
        rose_window=bool(rng.random() < 0.65),
        nave_half_width=half_width,
        nave_length=float(rng.uniform(4.5, 7.0)),
        wall_height=wall_height,
        roof_rise=rise,
        tower_half_width=tower_half,
        tower_height=wall_height + rise * float(rng.uniform(0.9, 1.5)) + 0.5,
        spire_height=tower_half * float(rng.uniform(2.6, 5.0)),
        windows=int(rng.integers(3, 6)),
        buttresses=bool(rng.random() < 0.5),
        gold_cross=bool(rng.random() < 0.4),
        wall_hue=hue,
        wall_saturation=saturation,
        wall_value=value,
        glass_hue=float(rng.random()),
    )


class Builder:
    """Shared context of the functions that build one church."""

    def __init__(self, church: ChurchAttributes):
        self.church, self.model = church, Model()
        self.rng = np.random.default_rng(church.noise_seed + 2)
        self.wall = hsv(church.wall_hue, church.wall_saturation, church.wall_value)
        pale = 0.9 if church.material == "red brick" else 0.55 * church.wall_value
        self.trim = hsv(church.wall_hue + 0.05, 0.5 * church.wall_saturation, pale)
        self.roof = hsv(*ROOF_COLOURS[church.roof])
        self.glass = 0.5 * DARK_GLASS + 0.5 * hsv(church.glass_hue, 0.6, 0.22)
        self.cross = GOLD_CROSS if church.gold_cross else IRON_CROSS

    def stone_sheet(self, origin, along, up) -> None:
        """A mottled wall."""
        colour = mottled(self.rng, self.wall, WALL_COURSES)
        self.model.sheet(origin, along, up, WALL_COURSES, colour)

    def window(self, wall: Wall, across, foot, width, height) -> None:
        pointed = self.church.pointed_arches
        wall.framed_arch(across, foot, width, height, self.glass, self.trim, pointed)

    def door(self, wall: Wall, width: float, height: float) -> None:
        """A portal: deep frame and wooden leaves."""
        pointed = self.church.pointed_arches
        wall.arch(0, 0, 1.7 * width, 1.28 * height, self.trim, pointed, 0.05)
        wall.arch(0, 0, 1.28 * width, 1.12 * height, 0.6 * self.trim, pointed, 0.08)
        wall.arch(0, 0, width, height, WOOD, pointed, 0.11)
        wall.rectangle(0, 0.42 * height, 0.04, 0.84 * height, 0.4 * WOOD, 0.13)

    def rose(self, wall: Wall, up: float, radius: float) -> None:
        """A round window with coloured petals."""
        wall.disc(0, up, 1.25 * radius, self.trim, 0.04)
        wall.disc(0, up, radius, DARK_GLASS, 0.06)
        for k in range(ROSE_PETALS):
            start = 2 * np.pi * k / ROSE_PETALS
            colour = hsv(self.church.glass_hue + 0.12 * (k % 2), 0.65, 0.45)
            stop = start + 1.5 * np.pi / ROSE_PETALS
            wall.sector(0, up, 0.9 * radius, start, stop, colour, 0.08)
        wall.disc(0, up, 0.25 * radius, self.trim, 0.1)


def build_nave(b: Builder) -> None:
    """Walls, gable roof, side windows and buttresses; the facade is at y = -length / 2."""
    c = b.church
    width, half_length, height = c.nave_half_width, c.nave_length / 2, c.wall_height
    for side in (-1, 1):
        start = [side * width, -half_length, 0]
        b.stone_sheet(start, [0, c.nave_length, 0], [0, 0, height])
        b.stone_sheet([-width, side * half_length, 0], [2 * width, 0, 0], [0, 0, height])
    gable_roof(b.model, [0, 0, height], width, half_length, c.roof_rise, 0.18, b.roof, b.wall)
    pitch = c.nave_length / c.windows
    for side, angle in ((-1, np.pi), (1, 0.0)):
        wall = Wall(b.model, [side * width, 0, 0], angle)
        for k in range(c.windows):
            across = pitch * (k + 0.5) - half_length
            b.window(wall, across, 0.28 * height, 0.34 * pitch, 0.55 * height)
        for k in range(c.windows + 1 if c.buttresses else 0):
            y = pitch * k - half_length + (0.1 if k == 0 else 0)
            half = [0.16, 0.12, 0.4 * height]
            b.model.box([side * (width + 0.14), y, half[2]], half, 0.92 * b.wall)


def build_facade(b: Builder, wall: Wall, room: float) -> None:
    """Door and the window above it on the gable front or on a central tower."""
    c = b.church
    door_height = 0.52 * c.wall_height
    b.door(wall, min(0.5 * room, 0.62 * door_height), door_height)
    up = c.wall_height * 0.98
    if c.rose_window:
        b.rose(wall, up, min(0.36 * room, 0.3 * c.wall_height))
    else:
        b.window(wall, 0, up - 0.3 * c.wall_height, 0.3 * room, 0.55 * c.wall_height)


def build_tower(b: Builder) -> float:
    """The bell tower; returns the height of the tip of its cross."""
    c = b.church
    half, height = c.tower_half_width, c.tower_height
    front = -c.nave_length / 2
    side = {"centre": 0.0, "left": -1.0, "right": 1.0}[c.tower_place]
    x = side * (c.nave_half_width + 0.55 * half)
    y = front - 0.35 * half if side == 0 else front + 0.8 * half
    center = np.array([x, y, 0])
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1]):
        b.stone_sheet(center + [x0, y0, 0], [x1 - x0, y1 - y0, 0], [0, 0, height])
    belfry = height - 1.7 * half
    for level in (0.5 * belfry, belfry, height):
        b.model.box(center + [0, 0, level], [1.07 * half, 1.07 * half, 0.06], b.trim)
    for wall in polygon_walls(b.model, half, 4, np.pi / 4):
        wall = Wall(b.model, wall.origin + center, np.arctan2(wall.normal[1], wall.normal[0]))
        for across in (-0.42 * half, 0.42 * half):
            b.window(wall, across, belfry + 0.3 * half, 0.42 * half, 1.15 * half)
        b.window(wall, 0, 0.66 * belfry, 0.4 * half, 0.8 * half)
    if side == 0:
        build_facade(b, Wall(b.model, center + [0, -half, 0], FRONT), 1.5 * half)
    tip = build_spire(b, center + [0, 0, height + 0.06], half)
    size = 0.2 * half + 0.55
    cross(b.model, tip - [0, 0, 0.04], size, b.cross)
    return float(tip[2] + size)


def build_spire(b: Builder, foot: np.ndarray, half: float) -> np.ndarray:
    """The roof of the bell tower; returns its tip (3,)."""
    rise, turn = b.church.spire_height, np.pi / 4
    if b.church.spire == "pyramid":
        profile = [(circumradius(1.1 * half, 4), 0), (0.01, rise)]
        b.model.lathe(foot, profile, b.roof, 4, turn)
    elif b.church.spire == "octagonal":
        skirt = [(circumradius(1.1 * half, 4), 0), (circumradius(0.5 * half, 4), 0.45 * half)]
        b.model.lathe(foot, skirt, b.roof, 4, turn)
        b.model.lathe(foot, [(0.98 * half, 0.1 * half), (0.01, rise)], b.roof, 8, np.pi / 8)
    elif b.church.spire == "onion":
        rise = 2.3 * half
        share = np.array(
            [(1.1, 0), (0.7, 0.1), (0.6, 0.18), (0.95, 0.34), (1.02, 0.46), (0.8, 0.62),
             (0.35, 0.76), (0.12, 0.86), (0.01, 1.0)]
        )  # fmt: skip
        b.model.lathe(foot, share * [half, rise], b.roof, 16)
    else:
        rise = 1.5 * half
        gable_roof(b.model, foot, half, half, rise, 0.1, b.roof, b.wall)
    return foot + [0, 0, rise]


def build_forecourt(b: Builder) -> None:
    """A paved path from the camera to the door."""
    c = b.church
    front = -c.nave_length / 2
    paving = mottled(b.rng, hsv(0.1, 0.1, 0.68), (3, 14))
    b.model.sheet([-0.7, front - 8, 0.01], [1.4, 0, 0], [0, 8.2, 0], (3, 14), paving)


def render(church: ChurchAttributes, size: int) -> np.ndarray:
    """One church as (size, size, 3) uint8; `size` must divide scene.CANVAS."""
    b = Builder(church)
    add_ground(b.model, church)
    build_forecourt(b)
    build_nave(b)
    if church.tower_place != "centre":
        front = Wall(b.model, [0, -church.nave_length / 2, 0], FRONT)
        build_facade(b, front, 1.5 * church.nave_half_width)
    tip = build_tower(b)

    def keep_out(x: float, y: float) -> bool:
        beside = abs(x) < church.nave_half_width + 1.0 and abs(y) < church.nave_length / 2 + 1.2
        approach = y < 0 and abs(x) < 2.8 or y < -3.2
        return beside or approach

    add_plants(b.model, church, keep_out)
    width = 2 * church.nave_half_width + 0.7 * church.nave_length
    extent = tip, width, 0.35 * church.nave_length
    return render_outdoors(b.model, church, extent, size)
