"""Inception-v3 as FID is defined with it: the TensorFlow graph of 2015-12-05.

Architecture: C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR
2016. State-dict keys and shapes are those of pt_inception-2015-12-05-6726825d.pth, the conversion
that the PyTorch projects for FID share; its classifier (`fc`, 1008 classes) is not needed. Unlike
other ports, average pools divide by the pixels inside the image, and the last block takes a maximum
where all others average.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 299  # px
NUM_FEATURES = 2048
# output channels, kernel (px), stride and padding
STEM = {
    "Conv2d_1a_3x3": (32, 3, 2, "valid"),
    "Conv2d_2a_3x3": (32, 3, 1, "valid"),
    "Conv2d_2b_3x3": (64, 3, 1, "same"),
    "Conv2d_3b_1x1": (80, 1, 1, "valid"),
    "Conv2d_4a_3x3": (192, 3, 1, "valid"),
}
POOLED_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")

# The convolutions of a block: where the input of each comes from ("x" is the block's input, "pool"
# that input pooled), its output channels and its kernel. What no other convolution takes is an
# output of the block.
Table = Mapping[str, tuple[str, int, int | tuple[int, int]]]


def block_a(pooled: int) -> Table:
    return {
        "branch1x1": ("x", 64, 1),
        "branch5x5_1": ("x", 48, 1),
        "branch5x5_2": ("branch5x5_1", 64, 5),
        "branch3x3dbl_1": ("x", 64, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 96, 3),
        "branch3x3dbl_3": ("branch3x3dbl_2", 96, 3),
        "branch_pool": ("pool", pooled, 1),
    }


def block_b() -> Table:
    return {
        "branch3x3": ("x", 384, 3),
        "branch3x3dbl_1": ("x", 64, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 96, 3),
        "branch3x3dbl_3": ("branch3x3dbl_2", 96, 3),
    }


def block_c(inner: int) -> Table:
    return {
        "branch1x1": ("x", 192, 1),
        "branch7x7_1": ("x", inner, 1),
        "branch7x7_2": ("branch7x7_1", inner, (1, 7)),
        "branch7x7_3": ("branch7x7_2", 192, (7, 1)),
        "branch7x7dbl_1": ("x", inner, 1),
        "branch7x7dbl_2": ("branch7x7dbl_1", inner, (7, 1)),
        "branch7x7dbl_3": ("branch7x7dbl_2", inner, (1, 7)),
        "branch7x7dbl_4": ("branch7x7dbl_3", inner, (7, 1)),
        "branch7x7dbl_5": ("branch7x7dbl_4", 192, (1, 7)),
        "branch_pool": ("pool", 192, 1),
    }


def block_d() -> Table:
    return {
        "branch3x3_1": ("x", 192, 1),
        "branch3x3_2": ("branch3x3_1", 320, 3),
        "branch7x7x3_1": ("x", 192, 1),
        "branch7x7x3_2": ("branch7x7x3_1", 192, (1, 7)),
        "branch7x7x3_3": ("branch7x7x3_2", 192, (7, 1)),
        "branch7x7x3_4": ("branch7x7x3_3", 192, 3),
    }


def block_e() -> Table:
    return {
        "branch1x1": ("x", 320, 1),
        "branch3x3_1": ("x", 384, 1),
        "branch3x3_2a": ("branch3x3_1", 384, (1, 3)),
        "branch3x3_2b": ("branch3x3_1", 384, (3, 1)),
        "branch3x3dbl_1": ("x", 448, 1),
        "branch3x3dbl_2": ("branch3x3dbl_1", 384, 3),
        "branch3x3dbl_3a": ("branch3x3dbl_2", 384, (1, 3)),
        "branch3x3dbl_3b": ("branch3x3dbl_2", 384, (3, 1)),
        "branch_pool": ("pool", 192, 1),
    }


def average(x: Tensor) -> Tensor:
    """3x3 averages [N, C, H, W] of the pixels inside the image, as TensorFlow pools."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def maximum(x: Tensor) -> Tensor:
    """3x3 maxima [N, C, H, W]."""
    return F.max_pool2d(x, 3, stride=1, padding=1)


def halve(x: Tensor) -> Tensor:
    """3x3 maxima at every second pixel, without padding: [N, C, (H - 1) // 2, (W - 1) // 2]."""
    return F.max_pool2d(x, 3, stride=2)


BLOCKS = {
    "Mixed_5b": (block_a(32), average),
    "Mixed_5c": (block_a(64), average),
    "Mixed_5d": (block_a(64), average),
    "Mixed_6a": (block_b(), halve),
    "Mixed_6b": (block_c(128), average),
    "Mixed_6c": (block_c(160), average),
    "Mixed_6d": (block_c(160), average),
    "Mixed_6e": (block_c(192), average),
    "Mixed_7a": (block_d(), halve),
    "Mixed_7b": (block_e(), average),
    "Mixed_7c": (block_e(), maximum),
}


def convolution(inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int,
                padding: str) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(OrderedDict(
        conv=nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
        bn=nn.BatchNorm2d(outputs, eps=1e-3),
        relu=nn.ReLU(),
    ))


class Block(nn.Module):
    """Branches of convolutions, their outputs concatenated.

    A block whose pool halves the image does so in every branch: its last convolutions have a stride
    of 2 and no padding, and the pooled input is an output too.
    """

    def __init__(self, inputs: int, table: Table, pool: Callable[[Tensor], Tensor]):
        super().__init__()
        self.sources, self.pool = {name: row[0] for name, row in table.items()}, pool
        self.ends = [n for n in (*table, "pool") if n not in self.sources.values()]
        channels = {"x": inputs, "pool": inputs}
        for name, (source, outputs, kernel) in table.items():
            halves = pool is halve and name in self.ends
            shape = (2, "valid") if halves else (1, "same")
            self.add_module(name, convolution(channels[source], outputs, kernel, *shape))
            channels[name] = outputs
        self.channels = sum(channels[name] for name in self.ends)

    def forward(self, x: Tensor) -> Tensor:
        found = {"x": x, "pool": self.pool(x)}
        for name, source in self.sources.items():
            found[name] = getattr(self, name)(found[source])
        return torch.cat([found[name] for name in self.ends], 1)


class InceptionV3(nn.Module):
    """Pooled features [N, 2048] of images [N, 3, H, W], RGB, in [-1, 1], of any size.

    Images are resized to 299 px inside, see `prepare`. Features are not negative. Made for eval
    mode: there is no dropout.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        for name, (outputs, *shape) in STEM.items():
            self.add_module(name, convolution(channels, outputs, *shape))
            channels = outputs
        for name, (table, pool) in BLOCKS.items():
            self.add_module(name, Block(channels, table, pool))
            channels = getattr(self, name).channels

    def forward(self, images: Tensor) -> Tensor:
        x = prepare(images)
        for name in (*STEM, *BLOCKS):
            x = getattr(self, name)(x)
            if name in POOLED_AFTER:
                x = halve(x)
        return x.mean((2, 3))


def prepare(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] resized to [N, 3, 299, 299], bilinearly between pixel centres.

    This is what goes with the converted file; the TensorFlow graph places pixels at their corners
    (no half-pixel offset), so that its FIDs are slightly different.
    """
    size = (INPUT_SIZE, INPUT_SIZE)
    return F.interpolate(images, size, mode="bilinear", align_corners=False)
