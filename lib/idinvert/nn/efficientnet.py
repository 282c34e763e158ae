"""EfficientNet-Lite0: the feature network of FD and KID where Inception is not at hand.

Architecture: M. Tan and Q. Le, "EfficientNet", ICML 2019, in the Lite variant (ReLU6 instead of
swish, no squeeze-and-excitation). State-dict keys are those of the common PyTorch port, so that
its ImageNet weights load completely.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# kernel (px), stride, expansion, output channels, repeats of each stage
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
INPUT_SIZE = 128  # px; at 64 px the network recognises little
NUM_FEATURES = 1280


class SameConv2d(nn.Conv2d):
    """Convolution without bias, [N, C, H, W] -> [N, outputs, ceil(H / stride), ceil(W / stride)].

    TensorFlow's "same" padding: with a stride of 2 the extra row and column go to the bottom and
    to the right, which a symmetric padding cannot express.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-s // stride) - 1) * stride + kernel - s, 0) for s in x.shape[-2:])
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return super().forward(F.pad(x, sides))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm with TensorFlow's epsilon."""
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Mobile inverted bottleneck: expand 1x1, depthwise, project 1x1, with a skip where it fits."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.expands = expansion > 1
        self.skips = stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv = SameConv2d(inputs, inner, 1)
            self._bn0 = batch_norm(inner)
        self._depthwise_conv = SameConv2d(inner, inner, kernel, stride, groups=inner)
        self._bn1 = batch_norm(inner)
        self._project_conv = SameConv2d(inner, outputs, 1)
        self._bn2 = batch_norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class EfficientNetLite0(nn.Module):
    """Pooled ImageNet features [N, 1280] of images [N, 3, H, W], RGB, in [-1, 1], of any size.

    Images are resized to 128 px inside (bilinear, with antialiasing where they shrink), without
    rounding to 8 bits, and scaled to (x - 127) / 128 for x in 0-255. Features are averages of ReLU6
    outputs, hence in [0, 6].
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv2d(3, 32, 3, 2)
        self._bn0 = batch_norm(32)
        self._blocks = nn.ModuleList(blocks(32))
        self._conv_head = SameConv2d(320, NUM_FEATURES, 1)
        self._bn1 = batch_norm(NUM_FEATURES)
        self._fc = nn.Linear(NUM_FEATURES, 1000)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(prepare(images))))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return x.mean((2, 3))

    def logits(self, images: Tensor) -> Tensor:
        """Logits [N, 1000] of the ImageNet classes."""
        return self._fc(self(images))


def blocks(channels: int) -> Iterator[Block]:
    """The blocks of all stages, the first of which takes so many channels."""
    for kernel, stride, expansion, outputs, repeats in STAGES:
        for repeat in range(repeats):
            yield Block(channels, outputs, kernel, stride if repeat == 0 else 1, expansion)
            channels = outputs


def prepare(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] in [-1, 1] -> [N, 3, 128, 128] scaled to (x - 127) / 128."""
    size = (INPUT_SIZE, INPUT_SIZE)
    if images.shape[-2:] != torch.Size(size):
        images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
    return ((images + 1) * 127.5 - 127) / 128
