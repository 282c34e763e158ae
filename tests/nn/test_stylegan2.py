"""StyleGAN2: modulated convolutions and filters against explicit, slower forms."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from idinvert.nn.stylegan2 import Discriminator, Generator, ModulatedConv, fir, upsample
from scipy.signal import convolve2d


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def explicit_fir(x, before, after, gain):
    """The filter as a full two-dimensional convolution in float64, channel by channel."""
    taps = np.array([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = np.outer(taps, taps) * gain
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (before, after), (before, after)))
    planes = [[convolve2d(p, kernel, mode="valid") for p in image] for image in padded]
    return torch.from_numpy(np.array(planes)).float()


def zero_insert(x):
    y = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    y[..., ::2, ::2] = x
    return y


@pytest.mark.parametrize("pad", [(1, 1), (2, 1), (2, 2)])
def test_fir_is_an_explicit_convolution(pad):
    x = torch.randn(2, 3, 6, 7)
    assert torch.allclose(fir(x, pad, gain=4), explicit_fir(x, *pad, 4), atol=1e-5)


def test_upsample_is_zero_insertion_then_filter():
    x = torch.randn(2, 3, 5, 4)
    assert torch.allclose(upsample(x), explicit_fir(zero_insert(x), 2, 1, 4), atol=1e-5)


def test_upsample_keeps_constants_and_ramps():
    """In the interior; a pixel's two copies lie a quarter of a pixel to either side of it."""
    constant = upsample(torch.full((1, 1, 8, 8), 3.0))
    assert torch.allclose(constant[..., 2:-2, 2:-2], torch.tensor(3.0))
    ramp = upsample(torch.arange(8.0).expand(1, 1, 8, 8))[0, 0, 8]
    expected = torch.arange(16.0) / 2 - 0.25
    assert torch.allclose(ramp[2:-2], expected[2:-2])


def modulated(**options):
    layer = ModulatedConv(4, 6, options.pop("kernel", 3), 8, **options).requires_grad_(False)
    layer.style.bias.normal_()
    return layer, torch.randn(3, 4, 5, 5), torch.randn(3, 8)


def weights_per_image(layer, w):
    """Equations (1) and (3) of StyleGAN2: each image's own modulated, demodulated weights."""
    weight = layer.weight * layer.scale * layer.style(w)[:, None, :, None, None]
    if layer.demodulate:
        weight = weight / weight.square().sum((2, 3, 4), keepdim=True).add(1e-8).sqrt()
    return weight


@pytest.mark.parametrize("kernel, demodulate", [(3, True), (3, False), (1, False)])
def test_modulated_convolution_is_a_convolution_with_weights_per_image(kernel, demodulate):
    layer, x, w = modulated(kernel=kernel, demodulate=demodulate)
    weight = weights_per_image(layer, w).flatten(0, 1)
    expected = F.conv2d(x.reshape(1, 12, 5, 5), weight, padding=kernel // 2, groups=3)
    assert torch.allclose(layer(x, w), expected.reshape(3, 6, 5, 5), atol=1e-5)


def test_upsampling_is_zero_insertion_then_flipped_kernel_then_filter():
    """A transposed convolution turns the kernel around, as the original implementation does."""
    layer, x, w = modulated(up=True)
    weight = weights_per_image(layer, w).flip(3, 4)
    spread = zero_insert(x)[..., :-1, :-1]
    y = torch.cat([F.conv2d(a[None], b, padding=2) for a, b in zip(spread, weight, strict=True)])
    assert layer(x, w).shape == (3, 6, 10, 10)
    assert torch.allclose(layer(x, w), explicit_fir(y, 1, 1, 4), atol=1e-5)


def test_demodulated_output_has_unit_variance():
    layer = ModulatedConv(64, 64, 3, 8).requires_grad_(False)
    y = layer(torch.randn(8, 64, 16, 16), torch.randn(8, 8) * 3)[..., 1:-1, 1:-1]
    assert torch.allclose(y.var((0, 2, 3)), torch.ones(64), atol=0.25)
    assert y.var().item() == pytest.approx(1, rel=0.05)


def generator(**options):
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8}
    network = Generator(16, **(sizes | options)).requires_grad_(False)
    for layer in network.layers:
        layer.noise_strength.normal_()
    return network


def test_mapping_kinds():
    z = torch.randn(3, 8)
    shared, layerwise = generator().mapping(z), generator(layerwise=True).mapping(z)
    assert shared.shape == layerwise.shape == (3, 6, 8)
    assert torch.equal(shared, shared[:, :1].expand_as(shared))
    assert not torch.allclose(layerwise[:, 0], layerwise[:, 1])


def test_every_code_matters():
    network, codes = generator(), torch.randn(2, 6, 8)
    image = network.synthesis(codes)
    assert image.shape == (2, 3, 16, 16)
    for layer in range(6):
        other = codes.clone()
        other[:, layer] += 1
        assert not torch.allclose(network.synthesis(other), image, atol=1e-4)


def test_last_code_only_colours():
    """It drives the last output layer alone, which is linear in its style."""
    network, codes = generator(), torch.randn(1, 6, 8).expand(3, -1, -1).clone()
    codes[1, 5] += 1
    codes[2, 5] += 2
    images = network.synthesis(codes)
    assert torch.allclose(images[2] - images[1], images[1] - images[0], atol=1e-4)


def test_truncation():
    network, w = generator(), torch.randn(2, 6, 8)
    network.w_avg.copy_(torch.randn(6, 8))
    part = network.truncate(w, 0.7, layers=4)
    expected = network.w_avg + 0.7 * (w - network.w_avg)
    assert torch.allclose(part[:, :4], expected[:, :4], atol=1e-6)
    assert torch.equal(part[:, 4:], w[:, 4:])


def test_noise_choices():
    network, codes = generator(), torch.randn(2, 6, 8)
    fixed = network.synthesis(codes)
    assert torch.equal(fixed, network.synthesis(codes, [None] * 5))
    assert not torch.allclose(fixed, network.synthesis(codes, "none"))
    assert not torch.allclose(network.synthesis(codes, "random"), fixed)


def test_images_of_a_batch_are_independent():
    network, codes = generator(), torch.randn(3, 6, 8)
    alone = torch.cat([network.synthesis(code[None]) for code in codes])
    assert torch.allclose(network.synthesis(codes), alone, atol=1e-5)


def test_resolution_must_be_a_power_of_two():
    with pytest.raises(ValueError, match="not 24"):
        Generator(24)


def test_discriminator_gives_one_logit_per_image():
    assert Discriminator(16, 64, 8)(torch.randn(4, 3, 16, 16)).shape == (4,)


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    """Config F at 1024 px has 30.37 M and 29.01 M parameters in the original implementation."""
    with torch.device("meta"):
        assert count(Generator(1024, 512, 512, 32768, 512)) == 30_370_060
        assert count(Discriminator(1024, 32768, 512)) == 29_012_513
        assert count(Generator()) == 1_004_664
        assert count(Discriminator()) == 1_183_137
