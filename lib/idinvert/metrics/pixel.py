"""Distances of each image pair: mean squared error and structural similarity."""

import torch
from pytorch_msssim import ssim as windowed_ssim

from . import checks


def mse(a, b):
    """Mean squared error of each pair [N], >= 0: the mean over channels and pixels of (a - b)^2.

    Images [N, 3, H, W] in [-1, 1] and compared on that scale, as in the paper's tables: 4 is the
    most two images can differ. Raises ValueError for images that do not match.
    """
    a, b = checks.pair(a, b)
    return (a - b).square().mean((1, 2, 3))


def ssim(a, b, batch_size=64):
    """Structural similarity of each pair [N], at most 1 (equal images).

    Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    Transactions on Image Processing 2004: Gaussian window of 11 px, sigma 1.5 px, K = (0.01, 0.03),
    data range 1 (images are brought from [-1, 1] to [0, 1]), only windows inside the image, mean
    over channels and pixels. Images [N, 3, H, W] of at least 11 px. Raises ValueError for images
    that do not match or are smaller.
    """
    a, b = checks.pair(a, b)
    if min(a.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs images of at least 11 px, found {tuple(a.shape[-2:])}.")
    pairs = zip(a.split(batch_size), b.split(batch_size))
    return torch.cat([_ssim01((x + 1) / 2, (y + 1) / 2) for x, y in pairs])


def _ssim01(a, b):
    return windowed_ssim(a, b, data_range=1, size_average=False, win_size=11, win_sigma=1.5)
