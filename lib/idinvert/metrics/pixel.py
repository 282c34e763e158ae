"""Distances of each image to its target: structural similarity and mean squared error."""

from __future__ import annotations

import torch
from pytorch_msssim import ssim as windowed_ssim
from torch import Tensor

from idinvert.settings import Count, checked

from . import metric
from .checks import pair


@metric("ssim", title="SSIM", kind="pair", better="higher")
@checked
def ssim(a: Tensor, b: Tensor, batch_size: Count = 64) -> Tensor:
    """Structural similarity of each pair [N], at most 1 (equal images).

    Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    Transactions on Image Processing 2004: Gaussian window of 11 px, sigma 1.5 px, K = (0.01, 0.03),
    data range 1 (images are brought from [-1, 1] to [0, 1]), only windows inside the image, mean
    over channels and pixels. Images [N, 3, H, W] of at least 11 px. ValueError: images that do not
    match or are smaller.

    >>> images = torch.rand(2, 3, 16, 16)
    >>> ssim(images, images)
    tensor([1., 1.])
    """
    a, b = pair(a, b)
    if min(a.shape[-2:]) < 11:
        raise ValueError(f"SSIM needs images of at least 11 px, found {tuple(a.shape[-2:])}.")
    batches = zip(((a + 1) / 2).split(batch_size), ((b + 1) / 2).split(batch_size))
    return torch.cat([windowed_ssim(x, y, data_range=1, size_average=False, win_size=11,
                                    win_sigma=1.5) for x, y in batches])


@metric("mse", title="MSE", kind="pair")
def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of each pair [N], >= 0: the mean over channels and pixels of (a - b)^2.

    Images [N, 3, H, W] in [-1, 1] and compared on that scale, as in the paper's tables: 4 is the
    most two images can differ. ValueError: images that do not match.

    >>> mse(torch.ones(1, 3, 4, 4), -torch.ones(1, 3, 4, 4))
    tensor([4.])
    """
    a, b = pair(a, b)
    return (a - b).square().mean((1, 2, 3))
