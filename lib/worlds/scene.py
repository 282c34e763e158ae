"""Coloured triangle models and their rendering with Mitsuba's scalar_rgb variant.

World frame: x right, y away from the camera, z up; the unit is about one metre.
"""

from __future__ import annotations

import drjit as dr
import mitsuba as mi
import numpy as np

from .denoise import denoise
from .mesh import grid_faces

mi.set_variant("scalar_rgb")
mi.set_log_level(mi.LogLevel.Error)
dr.set_thread_count(1)  # parallelism comes from running several processes

CANVAS = 128  # every scene is rendered at this size and box-filtered down
BLOCK_SIZE = 32  # fixed, so that sampling does not depend on the number of threads
Transform = mi.ScalarTransform4f
VERTEX_COLOUR = {"type": "mesh_attribute", "name": "vertex_color"}
BOX_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
BOX_QUADS = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
BOX_FACES = [(q[0], q[i], q[i + 1]) for q in BOX_QUADS for i in (1, 2)]


def turn_z(angle: float) -> np.ndarray:
    """Counter-clockwise rotation (3, 3) about the vertical; angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def heading(angle: float) -> np.ndarray:
    """Horizontal unit vector at `angle` radians from the x axis."""
    return np.array([np.cos(angle), np.sin(angle), 0.0])


class Model:
    """Flat-shaded triangles with one linear RGB albedo each."""

    def __init__(self):
        self._corners: list[np.ndarray] = []  # (F, 3, 3)
        self._colours: list[np.ndarray] = []  # (F, 3)

    def add(self, vertices: np.ndarray, faces: np.ndarray, colour: np.ndarray) -> None:
        """Add faces (F, 3) of vertices (V, 3); `colour` is (3,) or per face (F, 3)."""
        corners = np.asarray(vertices, float)[np.asarray(faces)]
        self._corners.append(corners)
        self._colours.append(np.broadcast_to(np.asarray(colour, float), (len(corners), 3)))

    def polygon(self, points: np.ndarray, colour: np.ndarray) -> None:
        """A convex polygon (n, 3)."""
        k = np.arange(1, len(points) - 1)
        self.add(points, np.stack([0 * k, k, k + 1], 1), colour)

    def box(self, center, half_size, colour, turn: float = 0.0) -> None:
        """A box turned about the vertical by `turn` radians."""
        corners = (BOX_CORNERS * np.asarray(half_size, float)) @ turn_z(turn).T
        self.add(corners + np.asarray(center, float), BOX_FACES, colour)

    def beam(self, start, end, half_width: float, colour) -> None:
        """A square bar between two points."""
        start, end = np.asarray(start, float), np.asarray(end, float)
        axis = (end - start) / np.linalg.norm(end - start)
        side = np.cross(axis, [0, 0, 1.0] if abs(axis[2]) < 0.9 else [1.0, 0, 0])
        side /= np.linalg.norm(side)
        frame = np.stack([side * half_width, np.cross(axis, side) * half_width, (end - start) / 2])
        self.add(BOX_CORNERS @ frame + (start + end) / 2, BOX_FACES, colour)

    def grid(self, points: np.ndarray, colour, wrap: bool = False) -> None:
        """Quads of a vertex grid (R, C, 3); `colour` is (3,) or per quad."""
        faces = grid_faces(*points.shape[:2], wrap)
        colour = np.asarray(colour, float)
        if colour.ndim > 1:
            colour = np.concatenate([colour.reshape(-1, 3)] * 2)
        self.add(points.reshape(-1, 3), faces, colour)

    def sheet(self, origin, u, v, divisions: tuple[int, int], colour) -> None:
        """A parallelogram cut into divisions; `colour` is (3,) or (divisions..., 3)."""
        s = np.linspace(0, 1, divisions[0] + 1)[:, None, None]
        t = np.linspace(0, 1, divisions[1] + 1)[None, :, None]
        self.grid(np.asarray(origin, float) + s * np.asarray(u) + t * np.asarray(v), colour)

    def lathe(
        self, center, profile, colour, sides: int = 20, turn: float = 0.0, jitter=None
    ) -> None:
        """Turn a `profile` of (radius, height) pairs; radii reach the corners of the polygon.

        `colour` is (3,) or per quad (rows - 1, sides, 3). `jitter` is an optional array
        (rows, sides) that scales the radii.
        """
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + turn
        radius, height = np.asarray(profile, float).T
        ring = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
        points = radius[:, None, None] * ring[None]
        if jitter is not None:
            points = points * jitter[..., None]
        points = points + height[:, None, None] * np.array([0, 0, 1.0])
        self.grid(points + np.asarray(center, float), colour, wrap=True)

    def ball(self, center, radii, colour, sides: int = 14, power: float = 1.0, jitter=None):
        """A superellipsoid: power 1 is an ellipsoid, smaller is boxier."""
        polar = np.linspace(1e-9, np.pi - 1e-9, sides // 2 + 2)[:, None]
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None]

        def curve(x: np.ndarray) -> np.ndarray:
            return np.sign(x) * np.abs(x) ** power

        flat = curve(np.sin(polar))
        points = np.stack(
            [
                flat * curve(np.cos(angle)),
                flat * curve(np.sin(angle)),
                curve(np.cos(polar)) + 0 * angle,
            ],
            -1,
        )
        if jitter is not None:
            points = points * jitter(points.shape[:2])[..., None]
        self.grid(points * np.asarray(radii, float) + np.asarray(center, float), colour, wrap=True)

    def to_mitsuba(self, emission: np.ndarray | None = None) -> mi.Mesh:
        """One two-sided diffuse mesh, or one emitter of radiance `emission` (3,)."""
        corners = np.concatenate(self._corners).astype(np.float32)
        colours = np.repeat(np.clip(np.concatenate(self._colours), 0, 1), 3, 0)
        properties = mi.Properties()
        diffuse = {"type": "diffuse", "reflectance": VERTEX_COLOUR}
        if emission is None:
            properties["bsdf"] = mi.load_dict({"type": "twosided", "inner": diffuse})
        else:
            properties["bsdf"] = mi.load_dict({"type": "diffuse"})
            properties["emitter"] = mi.load_dict({"type": "area", "radiance": rgb(emission)})
        mesh = mi.Mesh("model", 3 * len(corners), len(corners), props=properties)
        mesh.add_attribute("vertex_color", 3, colours.astype(np.float32).ravel())
        parameters = mi.traverse(mesh)
        parameters["vertex_positions"] = corners.ravel()
        parameters["faces"] = np.arange(3 * len(corners), dtype=np.uint32)
        parameters.update()
        return mesh


def rgb(colour) -> dict:
    """Mitsuba's description of a linear colour."""
    return {"type": "rgb", "value": [float(c) for c in np.broadcast_to(colour, 3)]}


def camera(position, target, field_of_view: float) -> dict:
    """A square perspective camera; `field_of_view` in degrees."""
    return {
        "type": "perspective",
        "fov": float(field_of_view),
        "to_world": Transform().look_at(
            origin=[float(x) for x in position], target=[float(x) for x in target], up=[0, 0, 1]
        ),
        "film": {
            "type": "hdrfilm", "width": CANVAS, "height": CANVAS, "pixel_format": "rgb",
            "rfilter": {"type": "box"},
        },
        "sampler": {"type": "independent"},
    }  # fmt: skip


def trace(scene: dict, samples: int, max_depth: int, seed: int) -> np.ndarray:
    """Path-trace and denoise: linear light (CANVAS, CANVAS, 3)."""
    integrator = {
        "type": "aov",
        "aovs": "albedo:albedo,normal:sh_normal,depth:depth",
        "block_size": BLOCK_SIZE,
        "image": {"type": "path", "max_depth": max_depth},
    }
    loaded = mi.load_dict({"type": "scene", "integrator": integrator, **scene})
    channels = np.array(mi.render(loaded, spp=samples, seed=seed % (1 << 31)), np.float64)
    light, albedo, normal = (channels[..., i : i + 3] for i in (0, 3, 6))
    return denoise(light, albedo, normal, channels[..., 9])
