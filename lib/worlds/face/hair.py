"""Hair as one sheet of strands: columns run around the head, rows from crown to tip.

Every column starts at the crown, follows the scalp down at some thickness, and either ends at
the hairline (short hair, fringes) or leaves the head and hangs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..raster import normalize, smoothstep, value_noise
from .attributes import FaceAttributes
from .identity import HAIR_CENTER, HAIR_ELEVATIONS, HAIR_LONGITUDES, HeadPack

BARE_STYLES = ("bald", "buzz")  # painted on the scalp only
CURLY_STYLES = ("curly", "afro")
HANGING_STYLES = ("bob", "bob_fringe", "long", "long_fringe")
FRINGED_STYLES = ("bob_fringe", "long_fringe")
PARTED_STYLES = ("bob", "long")
SWEPT_STYLES = ("swept", "bun")  # combed backwards

# Height of the hairline against the absolute longitude in degrees (0 is the forehead).
HAIRLINE_DEGREES = np.array(
    [0, 20, 35, 45, 52, 60, 68, 74, 80, 84, 95, 105, 112, 125, 140, 180]
)  # fmt: skip
HAIRLINE_HEIGHTS = np.array(
    [1.12, 1.12, 1.04, 0.78, 0.5, 0.3, -0.1, -0.4, -0.35, 0.15, 0.25, 0.1, -0.5, -1, -1.25, -1.35]
)
# How far full recession lifts the middle and the temples of the hairline.
RECESSION = np.array([0.16, 0.18, 0.3, 0.34, 0.2] + [0.0] * 11)

ROWS = 40
SCALP_ROWS = len(HAIR_ELEVATIONS)
DEGREES = np.abs(np.rad2deg(HAIR_LONGITUDES))
SIDE = np.sign(HAIR_LONGITUDES)
LEAVE_HEIGHT = 0.55  # hanging hair leaves the head here
CURTAIN_WIDTH = 1.14  # hanging hair stays outside this |x|, beside the face
PARTING_DEPTH, PARTING_WIDTH = 0.75, 0.26
PARTING_RISE = 0.2  # the hairline is higher below a parting


@dataclass(frozen=True)
class HairSheet:
    """Strand geometry in the unposed head frame."""

    points: np.ndarray  # (ROWS, columns, 3)
    along: np.ndarray  # (ROWS,) 0 at the crown, 1 at the tips
    part_x: float  # side of the parting


def hairline_height(degrees: np.ndarray, recession: float) -> np.ndarray:
    """z of the hairline at absolute longitudes in degrees; recession in 0..1."""
    return np.interp(degrees, HAIRLINE_DEGREES, HAIRLINE_HEIGHTS + recession * RECESSION)


def parting_x(face: FaceAttributes) -> float:
    """Where the parting crosses the top of the head."""
    return 0.42 * face.hair_part


def thickness(face: FaceAttributes, scalp: np.ndarray) -> np.ndarray:
    """Distance (E, P) of the hair surface from the scalp points (E, P, 3)."""
    top = smoothstep(0.2, 1.5, scalp[..., 2])
    front = smoothstep(-1, 1, np.cos(HAIR_LONGITUDES))[None]
    volume = face.hair_volume
    if face.hair_style == "short":
        return 0.06 + (0.08 + 0.15 * volume) * top
    if face.hair_style == "swept":
        return 0.09 + (0.16 + 0.28 * volume) * top * (0.45 + 0.55 * front)
    if face.hair_style == "curly":
        return 0.15 + 0.16 * volume + (0.10 + 0.1 * volume) * top
    if face.hair_style == "afro":
        return 0.42 + 0.35 * volume + 0.1 * top
    if face.hair_style == "bun":
        return 0.06 + 0.05 * top
    base = 0.14 + 0.08 * volume + 0.07 * top
    if face.hair_style in PARTED_STYLES:
        offset = np.abs(scalp[..., 0] - parting_x(face)) / PARTING_WIDTH
        groove = np.exp(-(offset**2)) * smoothstep(-1.4, -0.6, scalp[..., 1])
        base = base * (1 - PARTING_DEPTH * groove)
    return base


def hanging_columns(face: FaceAttributes) -> np.ndarray:
    """Which columns (P,) leave the head instead of ending at the hairline."""
    if face.hair_style not in HANGING_STYLES:
        return np.zeros(len(DEGREES), bool)
    if face.hair_style in FRINGED_STYLES:
        return DEGREES > 52
    return 36 + 9 * face.hair_part * SIDE < DEGREES


def end_heights(face: FaceAttributes, hanging: np.ndarray) -> np.ndarray:
    """z where each column ends (P,), with a ragged edge."""
    style, fringe = face.hair_style, face.fringe_length
    end = hairline_height(DEGREES, face.hairline_recession)
    if style in PARTED_STYLES:  # an inverted V over the forehead
        end = end + PARTING_RISE * np.exp(-((DEGREES / 16) ** 2))
    if style in HANGING_STYLES:
        length = -1.5 - 0.5 * face.hair_volume if "bob" in style else -3 - 1.5 * face.hair_volume
        end = np.where(hanging, length, end)
    if style in FRINGED_STYLES:
        end = np.where(hanging, end, 0.5 + 0.16 * fringe)
    if style in ("short", "curly"):
        side_swept = 1 + 0.8 * face.hair_part * np.sin(2 * HAIR_LONGITUDES)
        end = np.where(DEGREES < 42, end - 0.34 * (fringe - 0.25) * side_swept, end)
    noise = value_noise(np.arange(len(DEGREES)) * 0.9, 0.0, face.noise_seed % 991) - 0.5
    return end + noise * (0.12 if style in HANGING_STYLES else 0.09)


def scalp_column(
    scalp: np.ndarray, normal: np.ndarray, depth: np.ndarray, end: float, taper: float, lip: float
) -> np.ndarray:
    """Polyline (ROWS, 3) from the crown to height `end` that thins over `taper` rows to `lip`."""
    rows = np.arange(SCALP_ROWS)
    last = np.interp(-end, -scalp[:, 2], rows)
    at = np.linspace(0, last, ROWS)
    point = np.stack([np.interp(at, rows, scalp[:, k]) for k in range(3)], 1)
    out = np.stack([np.interp(at, rows, normal[:, k]) for k in range(3)], 1)
    rim = lip + (1 - lip) * smoothstep(0, 1, (last - at) / taper)
    return point + out * (np.interp(at, rows, depth) * rim + 0.015)[:, None]


def hanging_column(
    face: FaceAttributes, column: int, surface: np.ndarray, scalp: np.ndarray, end: float
) -> np.ndarray:
    """Polyline that follows `surface` (E, 3) and then hangs beside the face to height `end`."""
    leave = max(2, int(np.searchsorted(-scalp[:, 2], -LEAVE_HEIGHT)))
    head, last = surface[:leave], surface[leave - 1]
    longitude, degrees = HAIR_LONGITUDES[column], DEGREES[column]
    radial = np.array([np.sin(longitude), np.cos(longitude), 0])
    drop = np.linspace(0, last[2] - end, 26)[1:]
    flare = 0.1 * np.sin(np.clip(drop / 2, 0, 1) * np.pi * 0.6)
    if end > -2.5:  # a bob curls under
        flare = flare - 0.12 * smoothstep(1.5, 2.6, drop)
    flare = flare - 0.5 * smoothstep(90, 150, degrees) * smoothstep(0.6, 2.2, drop)
    wave = np.sin(5 * drop + 3 * np.sin(2 * longitude)) * smoothstep(0.3, 1, drop)
    flare = flare + 0.07 * face.hair_wave * wave
    hang = last + radial * flare[:, None]
    hang[:, 2] -= drop
    return np.concatenate([head, draw_curtain(hang, SIDE[column], degrees, drop)])


def draw_curtain(hang: np.ndarray, side: float, degrees: float, drop: np.ndarray) -> np.ndarray:
    """Push the hair of the front columns sideways and back, off the face."""
    front = 1 - smoothstep(62, 84, degrees)
    pull = smoothstep(0, 0.85, drop) * front
    wanted = side * np.maximum(np.abs(hang[:, 0]), CURTAIN_WIDTH)
    hang[:, 0] += (wanted - hang[:, 0]) * pull
    hang[:, 1] -= 0.35 * pull
    return hang


def resample(polyline: np.ndarray) -> np.ndarray:
    """The polyline at ROWS points equally spaced along its length."""
    steps = np.linalg.norm(np.diff(polyline, axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, length[-1], ROWS)
    return np.stack([np.interp(at, length, polyline[:, k]) for k in range(3)], 1)


def clump(face: FaceAttributes, sheet: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Break the smooth shell (ROWS, P, 3) into locks or curls."""
    outward, seed = normalize(sheet - HAIR_CENTER), face.noise_seed % 997
    if face.hair_style in CURLY_STYLES:
        scale, amount = (9, 0.17) if face.hair_style == "afro" else (7, 0.21)
        x, y, z = np.moveaxis(sheet * scale, -1, 0)
        noise = value_noise(x + 0.7 * z, y + z, seed) - 0.5
    else:
        lanes = 6 * np.sin(HAIR_LONGITUDES) + 11 * np.cos(HAIR_LONGITUDES / 2)
        coarse = value_noise(lanes[None] * 1.3, 1.5 * along[:, None], seed)
        fine = value_noise(lanes[None] * 3.7, 2.5 * along[:, None], seed + 1)
        noise, amount = 0.65 * coarse + 0.35 * fine - 0.5, 0.16
    if face.hair_style == "bun":
        amount = 0.05
    fade = np.minimum(1, 5 * (1 - along)) * smoothstep(0, 0.25, along)
    if face.hair_style in HANGING_STYLES:
        fade = smoothstep(0, 0.25, along)
    return sheet + outward * (amount * noise * fade[:, None])[..., None]


def column_taper(face: FaceAttributes, degrees: float) -> tuple[float, float]:
    """Rows over which a column thins to its end, and the share of thickness left there."""
    front = degrees < 50
    if face.hair_style in FRINGED_STYLES and front:
        return 4.0, 0.45
    if face.hair_style in PARTED_STYLES and front:
        return 12.0, 0.0
    if face.hair_style in ("short", "curly"):
        return (8.0, 0.35 * smoothstep(0.4, 0.9, face.fringe_length)) if front else (5.0, 0.0)
    return {"afro": 6.0, "swept": 5.0}.get(face.hair_style, 4.0), 0.0


def build_hair(pack: HeadPack, face: FaceAttributes, head_vertices: np.ndarray) -> HairSheet | None:
    """The hair of an unposed head, or None where hair is only painted on the scalp."""
    if face.hair_style in BARE_STYLES:
        return None
    scalp = (head_vertices[pack.hair_anchors] * pack.hair_anchor_weights[..., None]).sum(2)
    normal = normalize(scalp - HAIR_CENTER)
    depth = thickness(face, scalp)
    surface = scalp + normal * depth[..., None]
    hanging = hanging_columns(face)
    ends = end_heights(face, hanging)
    columns = []
    for j in range(len(HAIR_LONGITUDES)):
        if hanging[j]:
            line = hanging_column(face, j, surface[:, j], scalp[:, j], ends[j])
        else:
            taper, lip = column_taper(face, DEGREES[j])
            line = scalp_column(scalp[:, j], normal[:, j], depth[:, j], ends[j], taper, lip)
        columns.append(resample(line))
    along = np.linspace(0, 1, ROWS)
    points = clump(face, np.stack(columns, 1), along)
    return HairSheet(points, along, parting_x(face))


def strand_coordinate(face: FaceAttributes, rest: np.ndarray, part_x: float) -> np.ndarray:
    """A number (n,) that is constant along a strand, from unposed positions (n, 3).

    Strands run radially from the crown by default, sideways from a parting, or straight back.
    """
    x, y, z = (rest - HAIR_CENTER).T
    radial = np.arctan2(x, y)
    if face.hair_style in PARTED_STYLES:
        sideways = 0.9 * (y - 0.35 * np.abs(rest[:, 0] - part_x)) + 0.3 * np.sign(x - part_x)
        on_top = smoothstep(-0.3, 0.5, z) * smoothstep(-1.2, -0.5, y)
        return radial * (1 - on_top) + sideways * on_top
    if face.hair_style in SWEPT_STYLES:
        on_top = smoothstep(0.2, 0.8, z)
        return radial * (1 - on_top) + 0.8 * x * on_top
    return radial


def parting_line(face: FaceAttributes, rest: np.ndarray, part_x: float) -> np.ndarray:
    """How much scalp (n,) shows through at unposed positions (n, 3): 1 in the parting."""
    if face.hair_style not in PARTED_STYLES:
        return np.zeros(len(rest))
    distance = np.abs(rest[:, 0] - part_x)
    on_top = smoothstep(1.0, 1.3, rest[:, 2]) * smoothstep(-1.3, -0.9, rest[:, 1])
    return (1 - smoothstep(0.02, 0.075, distance)) * on_top
