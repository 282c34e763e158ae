"""The layers of both StyleGAN generations against plain compositions of torch's own."""

import math

import pytest
import torch
import torch.nn.functional as F
from idinvert.nn.layers import (
    EqualConv,
    EqualLinear,
    blur,
    channels_at,
    check_resolution,
    leaky_relu,
    minibatch_stddev,
    pixel_norm,
    widen,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def convolution(inputs=3, outputs=5, **options):
    layer = EqualConv(inputs, outputs, **options)
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize("bias", [True, False])
def test_upsampled_is_nearest_upsampling_then_convolution(bias):
    layer, x = convolution(bias=bias), torch.randn(2, 3, 6, 5)
    expected = layer(F.interpolate(x, scale_factor=2, mode="nearest"))
    assert torch.allclose(layer.upsampled(x), expected, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_downsampled_is_convolution_then_average(bias):
    layer, x = convolution(bias=bias), torch.randn(2, 3, 8, 6)
    assert torch.allclose(layer.downsampled(x), F.avg_pool2d(layer(x), 2), atol=1e-5)


def test_widen_sums_2x2_shifts():
    box = widen(torch.ones(3, 3))
    edge = torch.tensor([1.0, 2.0, 2.0, 1.0])
    assert torch.equal(box, torch.outer(edge, edge))


def test_blur_is_the_binomial_filter():
    x = torch.randn(2, 3, 7, 6)
    taps = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = torch.outer(taps, taps).expand(3, 1, 3, 3)
    assert torch.allclose(blur(x), F.conv2d(x, kernel, padding=1, groups=3), atol=1e-6)


def test_runtime_scale_is_he():
    """Weights are unit normal; the output of a normal input has about variance gain squared."""
    linear, x = EqualLinear(400, 300), torch.randn(64, 400)
    assert linear.weight.std().item() == pytest.approx(1, abs=0.02)
    assert linear(x).var().item() == pytest.approx(2, rel=0.05)
    conv = EqualConv(64, 64, gain=1.0, bias=False)
    inner = conv(torch.randn(4, 64, 16, 16))[..., 1:-1, 1:-1]
    assert inner.var().item() == pytest.approx(1, rel=0.1)


def test_learning_rate_multiplier_changes_steps_not_outputs():
    """Same output at the start; a gradient step then moves the output by the multiplier squared."""
    x, moves = torch.randn(8, 16), []
    for multiplier in (1.0, 0.1):
        torch.manual_seed(1)
        layer = EqualLinear(16, 4, lr_multiplier=multiplier, bias_init=0.5)
        before = layer(x)
        layer(x).square().mean().backward()
        with torch.no_grad():
            for p in layer.parameters():
                p -= 0.01 * p.grad
        moves.append((before.detach(), layer(x).detach() - before.detach()))
    assert torch.allclose(moves[0][0], moves[1][0], atol=1e-5)
    assert torch.allclose(moves[0][1] * 0.01, moves[1][1], atol=1e-6)
    assert torch.allclose(EqualLinear(4, 2, bias_init=1.0)(torch.zeros(1, 4)), torch.ones(1, 2))


def test_pixel_norm_gives_unit_mean_square():
    y = pixel_norm(torch.randn(5, 32) * 7)
    assert torch.allclose(y.square().mean(1), torch.ones(5))


def test_leaky_relu_has_slope_two_tenths():
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert torch.allclose(leaky_relu(x), torch.tensor([-0.4, 0.0, 3.0]))


def test_minibatch_stddev_in_closed_form():
    """A batch of constant images: the deviation is that of the constants, within each group.

    Group 4 of a batch of 8 interleaves: images 0, 2, 4, 6 make one group, 1, 3, 5, 7 the other.
    """
    x = torch.tensor([0.0, 5, 2, 5, 0, 5, 2, 5]).reshape(8, 1, 1, 1).expand(8, 3, 4, 4)
    y = minibatch_stddev(x)
    assert y.shape == (8, 4, 4, 4) and torch.equal(y[:, :3], x)
    expected = torch.tensor([1.0, 0.0] * 4).reshape(8, 1, 1).expand(8, 4, 4)
    assert torch.allclose(y[:, 3], expected, atol=1e-4)


@pytest.mark.parametrize("batch", [2, 3, 4, 6, 8])
def test_minibatch_stddev_by_loops(batch):
    x = torch.randn(batch, 2, 3, 3)
    groups = batch // 4 if batch % 4 == 0 else 1
    y = minibatch_stddev(x)[:, 2]
    for g in range(groups):
        expected = x[g::groups].std(0, correction=0).mean()
        assert torch.allclose(y[g::groups], expected, atol=1e-5)


def test_channels():
    """The published 256 px generator."""
    sizes = [4, 8, 16, 32, 64, 128, 256]
    assert [channels_at(r, 16384, 512) for r in sizes] == [512, 512, 512, 512, 256, 128, 64]


@pytest.mark.parametrize("resolution", [8, 64, 1024])
def test_number_of_blocks(resolution):
    assert check_resolution(resolution) == math.log2(resolution) - 1


@pytest.mark.parametrize("resolution", [0, 1, 4, 63, 65, 96])
def test_bad_resolution_is_named(resolution):
    with pytest.raises(ValueError, match=f"power of two of at least 8, not {resolution}"):
        check_resolution(resolution)
