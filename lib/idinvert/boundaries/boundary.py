"""A boundary of an attribute in the space of codes.

The paper uses boundaries in sections 4.2 (distance as a classification score) and 4.3
(manipulation, Eq. 5). Unlike the published files these keep the intercept, without which a
distance has no sign of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

import torch
from torch import Tensor

from idinvert.settings import check_dense

SPACES = ("whole", "layer")


@dataclass(frozen=True, eq=False)
class Boundary:
    """A hyperplane normal . w + intercept = 0 in the space of codes; its positive side has more.

    name: of the attribute.
    normal: float32 [L, D]. Space "whole": of unit norm over all layers together. Space "layer": of
        unit norm in each of `layers`, as the published boundary files have it. Zero elsewhere.
    intercept: in units of codes times `normal`.
    layers: those that a manipulation moves.
    accuracy: share of validation codes on their own side, in [0, 1]; NaN if not measured.
    space: "whole" or "layer".
    generator: SHA-256 of the weights of the generator that it is for; None if that is not noted.

    ValueError: another shape or type, numbers that are not finite, layers that there are not, or a
    normal that moves none of them.
    """

    name: str
    normal: Tensor
    intercept: float
    layers: tuple[int, ...]
    accuracy: float = math.nan
    space: str = "whole"
    generator: str | None = None

    def __post_init__(self):
        normal, at = self.normal, f"Boundary {self.name!r}"
        check_dense(f"{at}: the normal", normal)
        if not isinstance(normal, Tensor) or normal.ndim != 2 or not normal.is_floating_point():
            raise ValueError(f"{at}: the normal must be a tensor of floats [L, D].")
        if not normal.isfinite().all():
            raise ValueError(f"{at}: the normal has numbers that are not finite.")
        if not isinstance(self.intercept, Real) or not math.isfinite(self.intercept):
            raise ValueError(f"{at}: the intercept is {self.intercept!r:.60}, but should be a "
                             "finite number.")
        if not isinstance(self.accuracy, Real) or self.accuracy < 0 or self.accuracy > 1:
            raise ValueError(f"{at}: the accuracy is {self.accuracy!r:.60}, but should be a share "
                             "from 0 to 1, or NaN.")
        check_layers(self.layers, len(normal), at)
        # Files take no numbers of NumPy
        object.__setattr__(self, "layers", tuple(int(layer) for layer in self.layers))
        for name in ("intercept", "accuracy"):
            object.__setattr__(self, name, float(getattr(self, name)))
        if not normal[list(self.layers)].any():
            raise ValueError(f"{at}: the normal is zero in all layers that it is to move.")
        if self.space not in SPACES:
            raise ValueError(f"{at}: unknown space {self.space!r}: expected one of "
                             f"{', '.join(SPACES)}.")
        if not isinstance(self.generator, str | None):
            raise ValueError(f"{at}: the generator is noted by its SHA-256, not by "
                             f"{self.generator!r:.60}.")

    def distance(self, codes: Tensor) -> Tensor:
        """Signed distance [N] of codes [N, L, D] to the hyperplane, in units of codes.

        The score of section 4.2 (Figure 3). In the space "layer" the hyperplane is the one of all
        layers together. ValueError: codes of another shape or type.
        """
        self.check(codes)
        normal = self.normal.to(codes)
        return ((codes * normal).sum((1, 2)) + self.intercept) / normal.norm()

    @property
    def direction(self) -> Tensor:
        """The way [L, D] of a manipulation: the normal in `layers`, zero elsewhere."""
        direction = torch.zeros_like(self.normal)
        direction[list(self.layers)] = self.normal[list(self.layers)]
        return direction

    def check(self, codes: Tensor) -> None:
        """ValueError unless `codes` are floats [N, L, D] with the L and D of the boundary."""
        check_dense("codes", codes)
        if not isinstance(codes, Tensor) or not codes.is_floating_point():
            raise ValueError(f"Boundary {self.name!r} is for a tensor of floats, not "
                             f"{getattr(codes, 'dtype', type(codes).__name__)}.")
        if codes.ndim != 3 or codes.shape[1:] != self.normal.shape:
            layers, size = self.normal.shape
            raise ValueError(f"Boundary {self.name!r} is for codes [N, {layers}, {size}], "
                             f"not {list(codes.shape)}.")


def check_layers(layers: Sequence[int], count: int, where: str) -> None:
    """ValueError unless these are layers of a code of so many, each once."""
    if not hasattr(layers, "__len__"):
        raise ValueError(f"{where}: layers are {layers!r:.60}, but should be a list of numbers.")
    if not all(isinstance(layer, Integral) and not isinstance(layer, bool) and 0 <= layer < count
               for layer in layers):
        raise ValueError(f"{where}: layers are {list(layers)}, but should be within 0 to "
                         f"{count - 1}.")
    if len(set(layers)) < len(layers):
        raise ValueError(f"{where}: layers are {list(layers)}, but each should be named once.")


def condition(primary: Boundary, others: Boundary | Sequence[Boundary]) -> Boundary:
    """Boundary whose normal has no part along those of one or several `others` (InterFaceGAN).

    Moving codes along it leaves the distances to the others unchanged. The projection is taken in
    the layers of `primary`, in each of them separately in the space "layer", and the norm restored.
    The hyperplane passes through the point, nearest to zero, in which all of them meet. Accuracy is
    not measured: NaN.

    ValueError: boundaries of different shapes, or nothing of `primary` is left.
    """
    others = [others] if isinstance(others, Boundary) else list(others)
    for other in (primary, *others):
        if not isinstance(other, Boundary):
            raise ValueError(f"Expected boundaries, not {other!r:.60}.")
        if other.normal.shape != primary.normal.shape:
            raise ValueError(f"Boundaries {primary.name!r} {list(primary.normal.shape)} and "
                             f"{other.name!r} {list(other.normal.shape)} differ in shape.")
    names = ", ".join(other.name for other in others)
    layers = list(primary.layers)
    groups = [layers] if primary.space == "whole" else [[layer] for layer in layers]
    normal = torch.zeros_like(primary.normal, dtype=torch.float64)
    for group in groups:
        rest = remainder(*(b.normal[group].double().flatten() for b in (primary, *others)))
        if rest.norm() < 1e-4 * primary.normal[group].norm():
            raise ValueError(f"Nothing of boundary {primary.name!r} is left without {names}.")
        normal[group] = (rest / rest.norm()).unflatten(0, normal[group].shape)
    intercept = -float((normal * meeting_point([primary, *others])).sum())
    name = f"{primary.name} | {names}"
    return Boundary(name, normal.float(), intercept, primary.layers, space=primary.space,
                    generator=primary.generator)


def remainder(vector: Tensor, *others: Tensor) -> Tensor:
    """`vector` [K] less its least-squares fit by `others`, which may depend on each other."""
    if not others:
        return vector
    basis = torch.stack(others, 1)
    fit = torch.linalg.lstsq(basis, vector.unsqueeze(1), driver="gelsd").solution
    return vector - (basis @ fit).squeeze(1)


def meeting_point(boundaries: list[Boundary]) -> Tensor:
    """The point [L, D] nearest to zero that lies on all hyperplanes."""
    normals = torch.stack([b.normal.double().flatten() for b in boundaries])
    offsets = torch.tensor([[-b.intercept] for b in boundaries], dtype=torch.float64)
    point = torch.linalg.lstsq(normals, offsets, driver="gelsd").solution
    return point.reshape(boundaries[0].normal.shape)
