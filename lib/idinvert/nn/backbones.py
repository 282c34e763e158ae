"""Backbones of the architecture study (section 5.1, Table 3): ResNet-18, -34, -50 and MobileNet.

Blocks and their numbers are the published ones. Widths and strides suit small images: the first
convolution keeps up to 64 px and the last features have 4 px. The number of products per image,
relative to the base encoder's, follows the seconds in the paper. A 1x1 convolution brings the
features to the base encoder's width, since the paper keeps the fully connected layer the same.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import network
from .classifier import Residual, shortcut
from .efficientnet import Block
from .encoder import CodeEncoder, ConvNorm


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        inner = outputs // 4
        self.body = nn.Sequential(
            nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip
        nn.init.zeros_(self.body[-1].weight)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        return F.relu(self.body(x) + self.shortcut(x))


class Backbone(CodeEncoder):
    """Stem, blocks, and a 1x1 convolution to `head` channels for the fully connected layer."""

    def __init__(self, resolution: int, w_dim: int, stem_width: int, head: int,
                 w_avg: Tensor | None, w_std: Tensor | None):
        super().__init__(resolution, w_dim)
        stride = max(1, resolution // 64)
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_width, 2 * stride + 1, stride, stride, bias=False),
            nn.BatchNorm2d(stem_width), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.Sequential(*self.make_blocks(resolution // stride))
        self.neck = ConvNorm(self.width, head, 1)
        self.add_head(head, w_avg, w_std)
        nn.init.normal_(self.fc.weight, std=0.02)

    @abstractmethod
    def make_blocks(self, size: int) -> Iterator[nn.Module]:
        """The blocks, from `size` px down to 4; sets `width`, their last one's channels."""

    def features(self, image: Tensor) -> list[Tensor]:
        """The last features [N, head, 4, 4] alone."""
        return [self.neck(self.blocks(self.stem(image)))]


@network("backbones.ResNet")
class ResNet(Backbone):
    """ResNet (He et al. 2016). Every stage halves the image; theirs begin with a pooling instead.

    Args:
        resolution: image size in pixels, a power of two.
        w_dim: dimension D of the code of one layer.
        depth: 18, 34 or 50.
        widths: channels of the 3x3 convolutions in each stage, after the stem's.
        head: channels of the features that the fully connected layer sees.
        w_avg, w_std: see `CodeEncoder.add_head`.
    """

    BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}

    def __init__(self, resolution: int = 64, w_dim: int = 64, depth: int = 18,
                 widths: Sequence[int] = (26, 26, 44, 56, 64), head: int = 64,
                 w_avg: Tensor | None = None, w_std: Tensor | None = None):
        if depth not in self.BLOCKS:
            raise ValueError(f"depth must be 18, 34 or 50, not {depth}")
        self.depth, self.widths = depth, widths
        super().__init__(resolution, w_dim, widths[0], head, w_avg, w_std)

    def make_blocks(self, size: int) -> Iterator[nn.Module]:
        kind, expansion = (Bottleneck, 4) if self.depth == 50 else (Residual, 1)
        self.width = self.widths[0]
        for width, count in zip(self.widths[1:], self.BLOCKS[self.depth], strict=True):
            for index in range(count):
                stride = 2 if index == 0 and size > 4 else 1
                yield kind(self.width, width * expansion, stride)
                self.width, size = width * expansion, size // stride


@network("backbones.MobileNet")
class MobileNet(Backbone):
    """MobileNetV2 (Sandler et al. 2018).

    Args:
        multiplier: of the published widths.
        others: as for `ResNet`.
    """

    # stride, expansion, output channels, repeats of each stage
    STAGES = ((1, 1, 16, 1), (2, 6, 24, 2), (2, 6, 32, 3), (2, 6, 64, 4), (1, 6, 96, 3),
              (2, 6, 160, 3), (1, 6, 320, 1))  # fmt: skip

    def __init__(self, resolution: int = 64, w_dim: int = 64, multiplier: float = 0.35,
                 head: int = 64, w_avg: Tensor | None = None, w_std: Tensor | None = None):
        self.multiplier = multiplier
        super().__init__(resolution, w_dim, self.scaled(32), head, w_avg, w_std)

    def scaled(self, width: int) -> int:
        """Channels times the multiplier, a multiple of 4."""
        return max(4, round(width * self.multiplier / 4) * 4)

    def make_blocks(self, size: int) -> Iterator[nn.Module]:
        self.width = self.scaled(32)
        for stage_stride, expansion, width, repeats in self.STAGES:
            for index in range(repeats):
                stride = stage_stride if index == 0 and size > 4 else 1
                yield Block(self.width, self.scaled(width), 3, stride, expansion)
                self.width, size = self.scaled(width), size // stride
