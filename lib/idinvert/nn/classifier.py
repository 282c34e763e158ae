"""Attribute classifier: a small residual network for real and generated images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import network
from .layers import check_resolution


class Residual(nn.Module):
    """ReLU(norm(conv(ReLU(norm(conv(x))))) + shortcut); a stride of 2 halves the image."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        nn.init.zeros_(self.norm2.weight)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A 1x1 convolution of the averaged pixels if width or size change (ResNet-D, He 2019)."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(
        nn.AvgPool2d(stride), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
    )


@network("classifier.Classifier")
class Classifier(nn.Module):
    """Images [N, 3, r, r] in [-1, 1] -> logits [N, A], one per binary attribute.

    The stem halves the resolution, and so does each stage, down to 4 px. A stage has two blocks,
    the last stage one. By default it has 0.33 M parameters at 64 px.

    Args:
        resolution: image size in pixels, a power of two of at least 16.
        attributes: number A of attributes.
        channels: width of the stem (r / 2), then of the stages at r / 4, r / 8 and so on; the last
            width is repeated as often as the resolution asks for.
        dropout: share of the pooled features left out in training.
    """

    def __init__(self, resolution: int = 64, attributes: int = 5,
                 channels: Sequence[int] = (24, 40, 64, 96), dropout: float = 0.1):
        super().__init__()
        stages = check_resolution(resolution) - 2
        if stages < 1:
            raise ValueError(f"resolution must be at least 16, not {resolution}")
        self.resolution, self.attributes = resolution, attributes
        widths = (*channels, *[channels[-1]] * stages)[: stages + 1]
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.stages = nn.ModuleList(
            nn.Sequential(Residual(a, b, 2), Residual(b, b)) for a, b in pairwise(widths[:-1])
        )
        self.stages.append(Residual(*widths[-2:], 2))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(widths[-1], attributes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits [N, A] in float32; a probability is their sigmoid."""
        x = self.stem(image)
        for stage in self.stages:
            x = stage(x)
        return self.output(self.dropout(x.mean((2, 3)))).float()
