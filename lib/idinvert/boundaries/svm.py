"""Fitting boundaries as InterFaceGAN does: sampled codes are scored by a classifier, and a linear
SVM separates those of the highest from those of the lowest scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from sklearn.svm import SVC
from torch import Tensor, nn
from tqdm import tqdm

from idinvert.codes import device_of
from idinvert.settings import Positive, Seed, checked

from .boundary import SPACES, Boundary, check_layers

TRAIN_SHARE = 0.7  # of the selected codes; the others validate


@torch.no_grad()
@checked
def fit(codes: Tensor, scores: Tensor, share: float = 0.02, space: str = "whole",
        layers: Sequence[int] | None = None, cost: Positive = 0.01, seed: Seed = 0, name: str = ""
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
    check_samples(codes, scores, space)
    layers = tuple(range(codes.shape[1])) if layers is None else tuple(layers)
    check_layers(layers, codes.shape[1], "fit")
    if not layers:
        raise ValueError("There is no layer to fit a boundary to.")
    train, test = extremes(scores, share, seed)
    groups = [list(layers)] if space == "whole" else [[layer] for layer in layers]
    normal = torch.zeros(codes.shape[1:], dtype=torch.float64)
    intercept = 0.0
    for group in groups:
        normal[group], offset = separate(codes, group, train, cost)
        intercept += offset
    boundary = Boundary(name, normal.float(), intercept, layers, space=space)
    high, low = (boundary.distance(codes[index]) for index in test)
    accuracy = torch.cat([high > 0, low <= 0]).float().mean()
    return replace(boundary, accuracy=float(accuracy))


def check_samples(codes: Tensor, scores: Tensor, space: str) -> None:
    """ValueError unless these are finite codes [N, L, D] and scores [N], and `space` is known."""
    if space not in SPACES:
        raise ValueError(f"Unknown space {space!r}: expected one of {', '.join(SPACES)}.")
    if not codes.is_floating_point():
        raise ValueError(f"Codes must be floats, not {codes.dtype}.")
    if codes.ndim != 3 or scores.shape != codes.shape[:1]:
        raise ValueError(f"Codes must be [N, L, D] and scores [N], not {list(codes.shape)} "
                         f"and {list(scores.shape)}.")
    if not (codes.isfinite().all() and scores.isfinite().all()):
        raise ValueError("Codes or scores contain values that are not finite.")


def check_share(share: float) -> None:
    """ValueError unless this can be the share of samples at either end."""
    if not 0 < share <= 0.5:
        raise ValueError(f"share must be above 0 and at most 0.5, not {share}.")


def extremes(scores: Tensor, share: float, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Indices ([high, low] to train on, [high, low] to validate)."""
    check_share(share)
    count = round(share * len(scores))
    if count < 4:
        raise ValueError(f"A share of {share} of {len(scores)} samples is {count}, but at least 4 "
                         "are needed at either end: take a larger share or more samples.")
    order = scores.argsort(stable=True)
    high, low = order[-count:].flip(0), order[:count]
    if not scores[high].min() > scores[low].max():
        raise ValueError("Highest and lowest scores are equal: there is only one class to fit to.")
    rng = torch.Generator().manual_seed(seed)
    ends = [end[torch.randperm(count, generator=rng)] for end in (high.cpu(), low.cpu())]
    cut = round(TRAIN_SHARE * count)
    return [end[:cut] for end in ends], [end[cut:] for end in ends]


def separate(codes: Tensor, layers: list[int], ends: list[Tensor], cost: float
             ) -> tuple[Tensor, float]:
    """Unit normal [S, D] and intercept of the SVM between two sets of codes, in S layers."""
    high, low = (codes[i][:, layers].flatten(1).cpu().double().numpy() for i in ends)
    samples = np.concatenate([high, low])
    scale = math.sqrt(np.square(samples).mean())
    if np.ptp(samples, 0).max() <= 1e-6 * scale:
        raise ValueError("All codes are the same: there is nothing to separate.")
    svm = SVC(kernel="linear", C=cost)
    svm.fit(samples / scale, np.repeat([1, 0], [len(high), len(low)]))
    normal = svm.coef_[0] / scale
    length = np.linalg.norm(normal)
    shaped = torch.from_numpy(normal / length).unflatten(0, (len(layers), -1))
    return shaped, float(svm.intercept_[0] / length)


@torch.no_grad()
def score(generator: nn.Module, classifier: nn.Module, codes: Tensor, batch: int = 50,
          bfloat16: bool = True, progress: bool = False) -> Tensor:
    """Logits float32 [N, A] of the images of codes [N, L, D], rendered with fixed noise.

    `bfloat16` computes in that precision, two to three times as fast: enough to rank samples.
    Both networks are used as they are: they must be in eval mode and on one device.
    """
    device = device_of(generator)
    parts = tqdm(codes.split(batch), desc="scores", unit="batch", disable=not progress)
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        logits = [classifier(generator.synthesis(w.to(device))).float().cpu() for w in parts]
    return torch.cat(logits)
