"""Triangle meshes of simple shapes: each function returns (vertices (V, 3), faces (F, 3))."""

from __future__ import annotations

import numpy as np

from .raster import normalize

Mesh = tuple[np.ndarray, np.ndarray]


def grid_faces(rows: int, columns: int, wrap: bool) -> np.ndarray:
    """Faces of a row-major vertex grid; `wrap` joins the last column to the first."""
    row, col = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if wrap else columns - 1), indexing="ij"
    )
    row, col = row.ravel(), col.ravel()
    after = (col + 1) % columns
    a, b = row * columns + col, row * columns + after
    c, d = a + columns, b + columns
    upper, lower = np.stack([a, b, d], 1), np.stack([a, d, c], 1)
    return np.concatenate([upper, lower])


def sphere(center: np.ndarray, radius, around: int = 20, down: int = 14) -> Mesh:
    """Ellipsoid of `radius` (a scalar or three) with poles on the y axis."""
    theta = np.linspace(0, 2 * np.pi, around, endpoint=False)
    phi = np.linspace(0, np.pi, down)
    unit = np.stack(
        [
            np.outer(np.sin(phi), np.cos(theta)),
            np.outer(np.cos(phi), np.ones(around)),
            np.outer(np.sin(phi), np.sin(theta)),
        ],
        -1,
    ).reshape(-1, 3)
    return center + unit * np.asarray(radius), grid_faces(down, around, wrap=True)


def tube(path: np.ndarray, radius: float, closed: bool, sides: int = 7) -> Mesh:
    """Tube of constant `radius` along `path` (n, 3)."""
    count = len(path)
    if closed:
        tangent = normalize(np.roll(path, -1, 0) - np.roll(path, 1, 0))
        reference = np.array([0, 1.0, 0])
    else:
        tangent = normalize(np.gradient(path, axis=0))
        reference = np.array([0, 0, 1.0])
    side = normalize(np.cross(tangent, reference) + 1e-6)
    other = np.cross(tangent, side)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
    ring = np.cos(angle) * side[:, None] + np.sin(angle) * other[:, None]
    vertices = (path[:, None] + radius * ring).reshape(-1, 3)
    faces = grid_faces(count + closed, sides, wrap=True) % (count * sides)
    return vertices, faces


def fan(rim: np.ndarray) -> Mesh:
    """Disc spanned by a closed `rim` (n, 3) around its mean."""
    k = np.arange(len(rim))
    faces = np.stack([0 * k, k + 1, (k + 1) % len(rim) + 1], 1)
    return np.concatenate([rim.mean(0)[None], rim]), faces
