"""EfficientNet-Lite0: complete weights, "same" padding, and what it recognises."""

import numpy as np
import pytest
import torch
from idinvert.nn.efficientnet import EfficientNetLite0, SameConv2d, prepare
from skimage import data


def photograph(name):
    """The central square of one of scikit-image's photographs, as [1, 3, H, H] in [-1, 1]."""
    image = torch.from_numpy(np.array(getattr(data, name)())).permute(2, 0, 1)[None]
    height, width = image.shape[-2:]
    size = min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return image[..., top : top + size, left : left + size].float() / 127.5 - 1


@pytest.mark.parametrize("size", [7, 8, 13])
@pytest.mark.parametrize("kernel, stride", [(3, 1), (3, 2), (5, 2), (1, 1)])
def test_same_padding_gives_ceil_of_size_over_stride(size, kernel, stride):
    output = SameConv2d(2, 3, kernel, stride)(torch.zeros(1, 2, size, size))
    assert output.shape[-1] == -(-size // stride)


def test_stride_two_pads_bottom_right():
    """At even sizes, the first output sees the image's first pixel with its first tap."""
    convolution = SameConv2d(1, 1, 3, 2)
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1
    expected = convolution.weight[0, 0, 0, 0]
    assert torch.allclose(convolution(image)[0, 0, 0, 0], expected)


def test_parameter_count_is_the_published_one():
    """4.65 million parameters (EfficientNet-Lite, model page of the authors: 4.7 M)."""
    assert sum(p.numel() for p in EfficientNetLite0().parameters()) == 4_652_008


def test_preparation_covers_the_range():
    ends = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 64, 64)
    prepared = prepare(ends)
    assert prepared.shape == (2, 3, 128, 128)
    assert prepared[0].unique().item() == pytest.approx(-127 / 128)
    assert prepared[1].mean().item() == pytest.approx(1.0)


def test_recognises_photographs(efficientnet):
    cats, espresso = {281, 282, 285}, 967  # ImageNet: tabby, tiger cat, Egyptian cat
    assert efficientnet.logits(photograph("chelsea")).argmax().item() in cats
    assert efficientnet.logits(photograph("coffee")).argmax().item() == espresso


def test_real_features(efficientnet, card):
    features = efficientnet(card)
    assert features.shape == (1, 1280) and features.min() >= 0 and features.max() <= 6
    assert features.mean().item() == pytest.approx(0.26731, rel=1e-3)
    assert features.std().item() == pytest.approx(0.80095, rel=1e-3)


def test_frozen_and_in_eval_mode(efficientnet):
    assert not efficientnet.training
    assert not any(p.requires_grad for p in efficientnet.parameters())
    assert all(p.dtype == torch.float32 for p in efficientnet.parameters())
