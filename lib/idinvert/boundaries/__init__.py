"""InterFaceGAN boundaries (Shen et al. 2020): a linear SVM on codes gives an editing direction.

The paper uses them in sections 4.2 (distance to the boundary as a classification score) and 4.3
(manipulation, Eq. 5). Unlike the published files these keep the intercept, without which a
distance has no sign of its own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from sklearn.svm import SVC
from torch import Tensor, nn
from tqdm import tqdm

from ..files import replacing

SPACES = ("whole", "layer")
TRAIN_SHARE = 0.7  # of the selected codes; the others validate


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
    """

    name: str
    normal: Tensor
    intercept: float
    layers: tuple[int, ...]
    accuracy: float = math.nan
    space: str = "whole"

    def distance(self, codes: Tensor) -> Tensor:
        """Signed distance [N] of codes [N, L, D] to the hyperplane, in units of codes.

        The score of section 4.2 (Figure 3). In the space "layer" the hyperplane is the one of all
        layers together. ValueError: codes of another shape.
        """
        self.check(codes)
        normal = self.normal.to(codes)
        return ((codes * normal).sum((1, 2)) + self.intercept) / normal.norm()

    def check(self, codes: Tensor) -> None:
        """ValueError unless `codes` are [N, L, D] with the L and D of the boundary."""
        if codes.ndim != 3 or codes.shape[1:] != self.normal.shape:
            layers, size = self.normal.shape
            raise ValueError(
                f"Boundary {self.name!r} is for codes [N, {layers}, {size}], "
                f"not {list(codes.shape)}."
            )


def fit(
    codes: Tensor,
    scores: Tensor,
    share: float = 0.02,
    space: str = "whole",
    layers: Sequence[int] | None = None,
    cost: float = 0.01,
    seed: int = 0,
    name: str = "",
) -> Boundary:
    """Boundary between the codes [N, L, D] of highest and of lowest scores [N] (InterFaceGAN).

    The `share` (of N, rounded, in (0, 0.5]) at either end is split by chance into 70 % to train a
    linear SVM and 30 % to measure its accuracy. 0.02 is the published choice for 500,000 samples;
    some 10,000 samples want 0.1 or more, for there must be more codes than dimensions.

    space: "whole" fits one SVM to all layers, "layer" one SVM to each, as the paper does.
    layers: restricts the fit, and later manipulations, to these layers.
    cost: penalty C of the SVM for codes scaled by one number to a mean square of 1: its meaning
        does not depend on the generator's scale, and no axis is stretched.

    ValueError: other shapes, values that are not finite, fewer than 4 codes at either end, or the
    two ends overlapping (scores of one class).
    """
    _check_samples(codes, scores, space)
    layers = tuple(range(codes.shape[1])) if layers is None else tuple(layers)
    train, test = _extremes(scores, share, seed)
    groups = [list(layers)] if space == "whole" else [[layer] for layer in layers]
    normal = torch.zeros(codes.shape[1:], dtype=torch.float64)
    intercept = 0.0
    for group in groups:
        normal[group], offset = _separate(codes, group, train, cost)
        intercept += offset
    boundary = Boundary(name, normal.float(), intercept, layers, space=space)
    high, low = (boundary.distance(codes[index]) for index in test)
    accuracy = torch.cat([high > 0, low <= 0]).float().mean()
    return Boundary(name, boundary.normal, intercept, layers, float(accuracy), space)


def _check_samples(codes: Tensor, scores: Tensor, space: str) -> None:
    if space not in SPACES:
        raise ValueError(f"Unknown space {space!r}: expected one of {', '.join(SPACES)}.")
    if codes.ndim != 3 or scores.shape != codes.shape[:1]:
        raise ValueError(
            f"Codes must be [N, L, D] and scores [N], not {list(codes.shape)} "
            f"and {list(scores.shape)}."
        )
    if not (codes.isfinite().all() and scores.isfinite().all()):
        raise ValueError("Codes or scores contain values that are not finite.")


def _extremes(scores: Tensor, share: float, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Indices ([high, low] to train on, [high, low] to validate)."""
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be above 0 and at most 0.5, not {share}.")
    count = round(share * len(scores))
    if count < 4:
        raise ValueError(
            f"A share of {share} of {len(scores)} samples is {count}, but at least 4 are needed "
            "at either end: take a larger share or more samples."
        )
    order = scores.argsort(stable=True)
    high, low = order[-count:].flip(0), order[:count]
    if not scores[high].min() > scores[low].max():
        raise ValueError("Highest and lowest scores are equal: there is only one class to fit to.")
    rng = torch.Generator().manual_seed(seed)
    ends = [end[torch.randperm(count, generator=rng)] for end in (high.cpu(), low.cpu())]
    cut = round(TRAIN_SHARE * count)
    return [end[:cut] for end in ends], [end[cut:] for end in ends]


def _separate(
    codes: Tensor, layers: list[int], ends: list[Tensor], cost: float
) -> tuple[Tensor, float]:
    """Unit normal [S, D] and intercept of the SVM between two sets of codes, in S layers."""
    high, low = (codes[i][:, layers].flatten(1).double().cpu().numpy() for i in ends)
    samples = np.concatenate([high, low])
    scale = math.sqrt(np.square(samples).mean())
    svm = SVC(kernel="linear", C=cost)
    svm.fit(samples / scale, np.repeat([1, 0], [len(high), len(low)]))
    normal = svm.coef_[0] / scale
    length = np.linalg.norm(normal)
    shaped = torch.from_numpy(normal / length).unflatten(0, (len(layers), -1))
    return shaped, float(svm.intercept_[0] / length)


def condition(primary: Boundary, others: Boundary | Sequence[Boundary]) -> Boundary:
    """Boundary whose normal has no part along those of one or several `others` (InterFaceGAN).

    Moving codes along it leaves the distances to the others unchanged. The projection is taken in
    the layers of `primary`, in each of them separately in the space "layer", and the norm restored.
    The hyperplane passes through the point, nearest to zero, in which all of them meet. Accuracy is
    not measured: NaN.

    ValueError: boundaries of different shapes, or nothing of `primary` is left.
    """
    others = [others] if isinstance(others, Boundary) else list(others)
    for other in others:
        if other.normal.shape != primary.normal.shape:
            raise ValueError(
                f"Boundaries {primary.name!r} {list(primary.normal.shape)} and {other.name!r} "
                f"{list(other.normal.shape)} differ in shape."
            )
    names = ", ".join(other.name for other in others)
    layers = list(primary.layers)
    groups = [layers] if primary.space == "whole" else [[layer] for layer in layers]
    normal = torch.zeros_like(primary.normal, dtype=torch.float64)
    for group in groups:
        rest = _remainder(*(b.normal[group].double().flatten() for b in (primary, *others)))
        if rest.norm() < 1e-4 * primary.normal[group].norm():
            raise ValueError(f"Nothing of boundary {primary.name!r} is left without {names}.")
        normal[group] = (rest / rest.norm()).unflatten(0, normal[group].shape)
    intercept = -float((normal * _meeting_point([primary, *others])).sum())
    name = f"{primary.name} | {names}"
    return Boundary(name, normal.float(), intercept, primary.layers, space=primary.space)


def _remainder(vector: Tensor, *others: Tensor) -> Tensor:
    """`vector` [K] less its least-squares fit by `others`, which may depend on each other."""
    if not others:
        return vector
    basis = torch.stack(others, 1)
    fit = torch.linalg.lstsq(basis, vector.unsqueeze(1), driver="gelsd").solution
    return vector - (basis @ fit).squeeze(1)


def _meeting_point(boundaries: list[Boundary]) -> Tensor:
    """The point [L, D] nearest to zero that lies on all hyperplanes."""
    normals = torch.stack([b.normal.double().flatten() for b in boundaries])
    offsets = torch.tensor([[-b.intercept] for b in boundaries], dtype=torch.float64)
    point = torch.linalg.lstsq(normals, offsets, driver="gelsd").solution
    return point.reshape(boundaries[0].normal.shape)


def save(boundaries: Iterable[Boundary], path: str | Path) -> None:
    """Write boundaries to a safetensors file, exactly: tensors by name, the rest as metadata.

    ValueError: two boundaries share a name.
    """
    boundaries = list(boundaries)
    tensors = {b.name: b.normal.contiguous().cpu() for b in boundaries}
    if len(tensors) < len(boundaries):
        raise ValueError("Boundaries saved to one file must have different names.")
    notes = {
        b.name: {"intercept": b.intercept, "layers": b.layers, "accuracy": b.accuracy,
                 "space": b.space}
        for b in boundaries
    }  # fmt: skip
    with replacing(Path(path)) as temporary:
        save_file(tensors, temporary, {"boundaries": json.dumps(notes)})


def load(path: str | Path) -> dict[str, Boundary]:
    """Boundaries by name from a file written by `save`, in the order they were saved in.

    FileNotFoundError: no such file. ValueError: a file of another kind.
    """
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["boundaries"])
            tensors = {name: file.get_tensor(name) for name in notes}
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a file of boundaries.") from error
    return {
        name: Boundary(name, tensors[name], **note | {"layers": tuple(note["layers"])})
        for name, note in notes.items()
    }


@torch.no_grad()
def sample_codes(generator: nn.Module, count: int, seed: int = 0, batch: int = 1000) -> Tensor:
    """Codes float32 [count, L, D] of random latents, without truncation.

    Only the seed chooses the latents: batch size and device do not.
    """
    rng = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, generator.z_dim, generator=rng).to(device_of(generator))
    return torch.cat([generator.mapping(z).float() for z in latents.split(batch)])


@torch.no_grad()
def score(
    generator: nn.Module, classifier: nn.Module, codes: Tensor, batch: int = 50,
    bfloat16: bool = True, progress: bool = False,
) -> Tensor:
    """Logits float32 [N, A] of the images of codes [N, L, D], rendered with fixed noise.

    `bfloat16` computes in that precision, two to three times as fast: enough to rank samples.
    Both networks are used as they are: they must be in eval mode and on one device.
    """
    device = device_of(generator)
    parts = tqdm(codes.split(batch), desc="scores", unit="batch", disable=not progress)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        logits = [classifier(generator.synthesis(w.to(device))).float().cpu() for w in parts]
    return torch.cat(logits)


def device_of(network: nn.Module) -> torch.device:
    """Device of the first parameter."""
    return next(network.parameters()).device
