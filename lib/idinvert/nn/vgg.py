"""VGG-16 up to conv4_3: the feature network F of the perceptual term (Eq. 2 and 4).

Architecture and weights: K. Simonyan and A. Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition", ICLR 2015 (configuration D, the original Caffe weights). Layer
numbers follow the published inversion code, which counts convolutions, ReLUs and poolings alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Layer number of each convolution up to conv4_3, with its input and output channels.
CONVOLUTIONS = {
    0: (3, 64), 2: (64, 64),
    5: (64, 128), 7: (128, 128),
    10: (128, 256), 12: (256, 256), 14: (256, 256),
    17: (256, 512), 19: (512, 512), 21: (512, 512),
}  # fmt: skip
POOLED_BEFORE = (5, 10, 17)
DROPPED = tuple(f"layer{i}.{kind}" for i in (24, 26, 28) for kind in ("weight", "bias"))
BGR_MEANS = (103.939, 116.779, 123.68)  # ImageNet means on 0-255, the Caffe convention


class VGG16Features(nn.Module):
    """Features [N, 512, H // 8, W // 8] after the ReLU of conv4_3.

    Images are [N, 3, H, W], RGB, in [-1, 1], of at least 8 x 8 px; inside they become 0-255 BGR
    minus (103.939, 116.779, 123.68). Features are not negative and mostly between 10 and 1000,
    which is why the paper's weight of the perceptual term is as small as 5e-5.
    """

    def __init__(self) -> None:
        super().__init__()
        for number, (inputs, outputs) in CONVOLUTIONS.items():
            self.add_module(f"layer{number}", nn.Conv2d(inputs, outputs, 3, padding=1))
        means = torch.tensor(BGR_MEANS).view(1, 3, 1, 1)
        self.register_buffer("means", means, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images, [max(CONVOLUTIONS)])[0]

    def layers(self, images: Tensor, numbers: Iterable[int]) -> list[Tensor]:
        """Features after the ReLU of several convolutions, in one pass.

        numbers: ascending keys of CONVOLUTIONS. Block k = 0, 1, .. of layers, between two poolings,
        gives [N, 64 * 2^k, H // 2^k, W // 2^k]. ValueError: the last number is no convolution.
        """
        wanted, found = list(numbers), []
        x = (images.flip(1) + 1) * 127.5 - self.means
        for number in CONVOLUTIONS:
            if number in POOLED_BEFORE:
                x = F.max_pool2d(x, 2)
            x = F.relu(getattr(self, f"layer{number}")(x))
            if number in wanted:
                found.append(x)
            if number == wanted[-1]:
                return found
        raise ValueError(f"VGG-16 has no layer {wanted[-1]} up to conv4_3")


def conv4_3_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a VGG-16 state dict that `VGG16Features` uses, checked key by key.

    state: with the keys of the published vgg16.pth, `layer0.weight` to `layer28.bias`; the three
    convolutions after conv4_3 (24, 26, 28) are left out.
    ValueError names the first key that is missing, unknown or of another shape.
    """
    expected = {}
    for number, (inputs, outputs) in CONVOLUTIONS.items():
        expected[f"layer{number}.weight"] = (outputs, inputs, 3, 3)
        expected[f"layer{number}.bias"] = (outputs,)
    for key in state:
        if key not in expected and key not in DROPPED:
            raise ValueError(f"Not a VGG-16 of the published code: unknown key '{key}'.")
    for key, shape in expected.items():
        if key not in state:
            raise ValueError(f"Not a VGG-16 of the published code: '{key}' is missing.")
        if tuple(state[key].shape) != shape:
            found = tuple(state[key].shape)
            raise ValueError(f"VGG-16 key '{key}' has shape {found}, expected {shape}.")
    return {key: state[key] for key in expected}
