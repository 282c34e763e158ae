"""Building parts shared by towers and churches."""

from __future__ import annotations

import numpy as np

from .scene import Model, heading

DARK_GLASS = np.array([0.02, 0.03, 0.05])
WARM_GLASS = np.array([0.9, 0.62, 0.22])
RELIEF = 0.035  # metres that panels stand out of their wall
STONE_VARIATION = 0.22


def mottled(rng: np.random.Generator, colour: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Per-quad colours (*shape, 3) of a wall of slightly different stones."""
    return colour * (1 + STONE_VARIATION * (rng.random((*shape, 1)) - 0.5))


def shaft(model: Model, rng, profile, colour, sides: int, turn: float, courses: int = 6) -> None:
    """A lathed wall whose every stretch is cut into `courses` of mottled stone."""
    profile = np.asarray(profile, float)
    steps = np.linspace(0, len(profile) - 1, courses * (len(profile) - 1) + 1)
    fine = np.stack([np.interp(steps, np.arange(len(profile)), column) for column in profile.T], 1)
    tint = mottled(rng, np.asarray(colour), (len(fine) - 1, sides))
    model.lathe([0, 0, 0], fine, tint, sides, turn)


def circumradius(half_width: float, sides: int) -> float:
    """Corner radius of a regular polygon whose walls are `half_width` from the axis."""
    return half_width / np.cos(np.pi / sides)


class Wall:
    """A vertical plane on which flat panels are placed.

    `normal_angle` is its heading in radians; `origin` (3,) is a point on its foot.
    """

    def __init__(self, model: Model, origin, normal_angle: float):
        self.model = model
        self.origin = np.asarray(origin, float)
        self.normal = heading(normal_angle)
        self.right = heading(normal_angle + np.pi / 2)

    def point(self, across, up, out: float) -> np.ndarray:
        """World positions (n, 3) of wall coordinates in metres."""
        across, up = np.broadcast_arrays(np.asarray(across, float), np.asarray(up, float))
        return (
            self.origin
            + across[..., None] * self.right
            + up[..., None] * np.array([0, 0, 1.0])
            + out * self.normal
        )

    def rectangle(self, across, up, width, height, colour, out=RELIEF) -> None:
        """A panel centred at (across, up)."""
        x, z = np.array([-1, 1, 1, -1]) * width / 2, np.array([-1, -1, 1, 1]) * height / 2
        self.model.polygon(self.point(across + x, up + z, out), colour)

    def arch(self, across, foot, width, height, colour, pointed=False, out=RELIEF) -> None:
        """A door or window with a round or pointed top, standing on `foot`."""
        angle = np.linspace(0, np.pi, 9)
        rise = width / 2 * (1.5 if pointed else 1.0)
        x = np.concatenate([[-width / 2, width / 2], width / 2 * np.cos(angle)])
        curve = np.sin(angle) if not pointed else 1 - np.abs(np.cos(angle)) ** 1.4
        z = np.concatenate([[0, 0], height - rise + rise * curve])
        self.model.polygon(self.point(across + x, foot + z, out), colour)

    def framed_arch(self, across, foot, width, height, glass, frame, pointed=False) -> None:
        """An arch with a border of `frame` colour."""
        border = 0.16 * width + 0.03
        outer = width + 2 * border, height + border
        self.arch(across, foot - border / 2, *outer, frame, pointed, RELIEF * 0.6)
        self.arch(across, foot, width, height, glass, pointed, RELIEF * 1.4)

    def disc(self, across, up, radius, colour, out=RELIEF, sides: int = 20) -> None:
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        ring = self.point(across + radius * np.cos(angle), up + radius * np.sin(angle), out)
        self.model.polygon(ring, colour)

    def sector(self, across, up, radius, start, stop, colour, out=RELIEF) -> None:
        """A slice of a disc between two angles in radians."""
        angle = np.linspace(start, stop, 5)
        x = np.concatenate([[0], radius * np.cos(angle)])
        z = np.concatenate([[0], radius * np.sin(angle)])
        self.model.polygon(self.point(across + x, up + z, out), colour)


def polygon_walls(model: Model, half_width: float, sides: int, turn: float) -> list[Wall]:
    """The walls of a regular prism whose first corner is at heading `turn`."""
    angles = turn + 2 * np.pi * (np.arange(sides) + 0.5) / sides
    return [Wall(model, heading(a) * half_width, a) for a in angles]


def cross(model: Model, foot, height: float, colour) -> None:
    """A Latin cross standing on `foot` (3,)."""
    foot = np.asarray(foot, float)
    thickness = 0.05 * height + 0.02
    model.box(foot + [0, 0, height / 2], [thickness, thickness, height / 2], colour)
    arms = [0.28 * height, thickness, thickness]
    model.box(foot + [0, 0, 0.68 * height], arms, colour)


def battlements(model: Model, half_width, foot, sides, turn, colour, round_: bool) -> None:
    """Merlons around the top of a tower."""
    count = 14 if round_ else 3 * sides
    for k in range(count):
        angle = turn + 2 * np.pi * (k + 0.5) / count
        if round_:
            place = heading(angle) * half_width * 0.94
        else:
            wall = turn + 2 * np.pi * (k // 3 + 0.5) / sides
            side = half_width * np.tan(np.pi / sides) * 0.75 * (k % 3 - 1)
            place = heading(wall) * half_width * 0.93 + heading(wall + np.pi / 2) * side
            angle = wall
        half = [0.07 * half_width + 0.03, 0.14 * half_width, 0.17 * half_width + 0.05]
        model.box(place + [0, 0, foot + half[2]], half, colour, angle)


def gable_roof(model: Model, center, half_width, half_length, rise, overhang, colour, wall) -> None:
    """A roof with its ridge along y over a nave; `center` (3,) is at eaves height."""
    center = np.asarray(center, float)
    slope = rise / half_width
    eave_x, eave_z = half_width + overhang, -overhang * slope
    length = half_length + overhang
    for side in (-1, 1):
        corner = center + [side * eave_x, -length, eave_z]
        up_slope = [-side * eave_x, 0, rise - eave_z]
        model.sheet(corner, up_slope, [0, 2 * length, 0], (6, 14), colour)
    for end in (-1, 1):
        gable = np.array([[-half_width, 0, 0], [half_width, 0, 0], [0, 0, rise]])
        model.polygon(gable + center + [0, end * half_length, 0], wall)
