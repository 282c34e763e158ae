"""Sliced Wasserstein distance between the patches of two image sets.

As described in T. Karras et al., "Progressive Growing of GANs", ICLR 2018, section 5: local
structure of two sets is compared scale by scale. Written from that description.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from idinvert.settings import Count, Seed, checked

from . import metric
from .checks import clipped, pair

SMALLEST = 16  # px, the coarsest level
PATCH = 7  # px
REPEATS, DIRECTIONS = 4, 128  # projections are drawn in 4 groups of 128
SCALE = 1e3
BATCH = 256  # images whose patches are read at a time


class Swd(NamedTuple):
    """Distance of each level by its size (px), finest first, and the mean over levels."""

    levels: dict[int, float]
    mean: float


@checked
def swd(a: Tensor, b: Tensor, patches: Count = 128, repeats: Count = REPEATS,
        directions: Count = DIRECTIONS, seed: Seed = 0) -> Swd:
    """Sliced Wasserstein distance x 1e3 between images a and b, both [N, 3, H, H] in [-1, 1].

    Laplacian pyramid down to 16 px; `patches` random 7x7 patches of each image and level; each set
    of patches standardised per channel (so that global contrast and tint do not count); mean
    absolute difference of the sorted projections on `repeats` x `directions` random directions.
    Both sets are read at the same random positions, image by image, which makes the distance of a
    set to itself 0. It falls as N grows, hence compare at equal N only. H is a power of two, at
    least 16. ValueError: sets of different size or another resolution.

    >>> images = torch.rand(4, 3, 32, 32)
    >>> swd(images, images).levels
    {32: 0.0, 16: 0.0}
    """
    a, b = pair(a, b)
    size = a.shape[-1]
    if a.shape[-2] != size or size < SMALLEST or size & (size - 1):
        found = tuple(a.shape[-2:])
        raise ValueError(f"SWD needs square images of a power of two >= 16 px, found {found}.")
    return between(laplacian_pyramid(a), laplacian_pyramid(b), patches, repeats, directions, seed)


def between(a: Sequence[Tensor], b: Sequence[Tensor], patches: int, repeats: int, directions: int,
            seed: int = 0) -> Swd:
    """`swd` of two pyramids."""
    generator = torch.Generator().manual_seed(seed)
    levels = {}
    for level_a, level_b in zip(a, b):
        corners = corners_of(len(level_a), patches, level_a.shape[-1], generator).to(level_a.device)
        set_a = standardised(patches_at(level_a, corners))
        set_b = standardised(patches_at(level_b, corners))
        distances = [sliced(set_a, set_b, random_directions(set_a, directions, generator))
                     for _ in range(repeats)]
        levels[level_a.shape[-1]] = SCALE * float(np.mean(distances))
    return Swd(levels, float(np.mean(list(levels.values()))))


def resampled_swd(a: Tensor, b: Tensor, weights: Tensor, real_weights: Tensor) -> Tensor:
    """Mean `swd` [S] of subsets of a and b, from fewer patches and directions than of the whole.

    Subsets are given as weights [S, N] and [S, M] of 0 or 1; of the larger one of two the last
    images are left out. The pyramids, which take most of the time, are built once.
    """
    pyramids = [laplacian_pyramid(clipped(images)) for images in (a, b)]
    values = []
    for picks in zip(weights.bool(), real_weights.bool()):
        count = min(int(pick.sum()) for pick in picks)
        halves = [[level[pick][:count] for level in pyramid]
                  for pyramid, pick in zip(pyramids, picks)]
        values.append(between(*halves, patches=32, repeats=1, directions=64).mean)
    return torch.tensor(values, dtype=torch.float64)


@metric("swd", title="SWD", kind="set", resampled=resampled_swd)
def mean_swd(a: Tensor, b: Tensor) -> float:
    """`swd`, mean over the levels of the pyramid."""
    return swd(a, b).mean


# --- pyramid -------------------------------------------------------------------------------------


def blur(images: Tensor, gain: float = 1.0) -> Tensor:
    """Binomial 5x5 blur, each channel alone, images mirrored at the border."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    kernel = (gain * taps[:, None] * taps[None, :]).expand(images.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(images, (2, 2, 2, 2), "reflect"), kernel, groups=images.shape[1])


def half(images: Tensor) -> Tensor:
    """Images of half the size."""
    return blur(images)[:, :, ::2, ::2]


def double(images: Tensor) -> Tensor:
    """Images of twice the size."""
    n, c, h, w = images.shape
    spread = images.new_zeros(n, c, 2 * h, 2 * w)
    spread[:, :, ::2, ::2] = images
    return blur(spread, gain=4.0)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """[N, 3, H, H] -> what each size adds to the next coarser one, finest first, then the 16 px
    image itself."""
    levels = []
    while images.shape[-1] > SMALLEST:
        smaller = half(images)
        levels.append(images - double(smaller))
        images = smaller
    return [*levels, images]


# --- patches and projections ---------------------------------------------------------------------


def corners_of(count: int, patches: int, size: int, generator: Generator) -> Tensor:
    """Upper left corners (row, column) of patches inside the image: [N, patches, 2]."""
    return torch.randint(size - PATCH + 1, (count, patches, 2), generator=generator)


def patches_at(images: Tensor, corners: Tensor) -> Tensor:
    """Patches [N * P, 3, 7 * 7] of images [N, 3, H, W] at corners [N, P, 2]."""
    width = images.shape[-1]
    step = torch.arange(PATCH, device=images.device)
    inside = (step[:, None] * width + step).flatten()
    taken = []
    for batch, corner in zip(images.split(BATCH), corners.split(BATCH)):
        index = (corner[..., 0] * width + corner[..., 1])[..., None] + inside
        flat = batch.flatten(2).transpose(1, 2)
        pixels = flat.gather(1, index.flatten(1)[..., None].expand(-1, -1, 3))
        pixels = pixels.view(len(batch), corner.shape[1], -1, 3)
        taken.append(pixels.flatten(0, 1).transpose(1, 2))
    return torch.cat(taken)


def standardised(patches: Tensor) -> Tensor:
    """[M, 3, 49] -> [M, 147] with mean 0 and deviation 1 of each channel over the whole set."""
    mean = patches.mean((0, 2), keepdim=True)
    deviation = (patches - mean).square().mean((0, 2), keepdim=True).sqrt()
    return ((patches - mean) / deviation.clamp_min(1e-8)).flatten(1)


def random_directions(patches: Tensor, count: int, generator: Generator) -> Tensor:
    """Random unit vectors as columns [D, count]."""
    vectors = torch.randn(patches.shape[1], count, generator=generator)
    return (vectors / vectors.norm(dim=0)).to(patches.device)


def sliced(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Mean over directions of the Wasserstein-1 distance between the projections of a and b."""
    difference = sorted_projections(a, directions) - sorted_projections(b, directions)
    return difference.abs().mean().item()


def sorted_projections(patches: Tensor, directions: Tensor) -> Tensor:
    """Projections [directions, M], each row ascending."""
    projected = directions.T @ patches.T
    if projected.is_cuda:
        return projected.sort(1).values
    return torch.from_numpy(np.sort(projected.numpy(), 1))  # several times faster on a CPU
