"""StyleGAN: codes, noise, truncation, and images that grow."""

import pytest
import torch
import torch.nn.functional as F
from idinvert.nn.stylegan import (
    Discriminator,
    Generator,
    Mapping,
    NormaliseAndScale,
    adain,
    upsample,
)


def generator(resolution=16, **options):
    torch.manual_seed(0)
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 64, "channel_max": 8}
    network = Generator(resolution, **(sizes | options)).requires_grad_(False)
    for layer in network.layers:  # zero at the start of training
        layer.noise_weight.normal_()
        layer.bias.normal_()
    return network


def discriminator(resolution=16):
    torch.manual_seed(0)
    return Discriminator(resolution, 64, 8).requires_grad_(False)


def smaller(network, small):
    """Load the part of a larger network that the smaller one has."""
    state = network.state_dict()
    if "w_avg" in state:
        state["w_avg"] = state["w_avg"][: small.num_layers]
    small.load_state_dict({key: state[key] for key in small.state_dict()})
    return small


@pytest.fixture
def codes():
    return torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def image():
    return torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def test_adain_gives_channels_the_statistics_of_the_style():
    torch.manual_seed(0)
    x, style = torch.randn(2, 3, 16, 16) * 5 + 2, torch.randn(2, 6)
    y = adain(x, style)
    deviation, mean = torch.std_mean(y, (2, 3), correction=0)
    assert torch.allclose(mean, style[:, 3:], atol=1e-5)
    assert torch.allclose(deviation, (style[:, :3] + 1).abs(), atol=1e-5)


def pixels(mean=0.5, dtype=torch.float64, count=7):
    """Pixels [2, count, 3] of deviation 1, scale and shift [2, 1, 3]."""
    torch.manual_seed(0)
    made = torch.randn(2, count, 3) + mean, torch.randn(2, 1, 3), torch.randn(2, 1, 3)
    return [x.to(dtype).requires_grad_() for x in made]


def test_gradient_of_the_normalisation():
    assert torch.autograd.gradcheck(lambda *x: NormaliseAndScale.apply(*x, 1e-8), pixels())


def test_a_second_derivative_of_the_normalisation_is_an_error():
    x = pixels()
    y = NormaliseAndScale.apply(*x, 1e-8)
    (gradient,) = torch.autograd.grad(y.square().sum(), x[0], create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.square().sum().backward()


@pytest.mark.parametrize("mean", [0, 10, 1000, -1000])
def test_normalisation_far_from_zero(mean):
    """float32 against float64, value and gradient, at |mean| / deviation up to 1000."""
    found = []
    for dtype in (torch.float32, torch.float64):
        x, scale, shift = pixels(mean, dtype, count=4096)
        y = NormaliseAndScale.apply(x, scale, shift, 1e-8)
        y.pow(3).sum().backward()
        deviation = (y.std(1, correction=0) / scale[:, 0].abs()).double()
        torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=1e-4, atol=0)
        found.append([t.double() for t in (y, x.grad, scale.grad, shift.grad)])
    for single, double in zip(*found, strict=True):
        assert (single - double).abs().max() < 2e-3 * double.abs().max()


def test_shared_mapping_repeats_the_code():
    w = generator().mapping(torch.randn(3, 8))
    assert w.shape == (3, 6, 8) and torch.equal(w, w[:, :1].expand_as(w))


def test_layerwise_mapping_gives_each_layer_a_code():
    w = generator(layerwise=True).mapping(torch.randn(3, 8))
    assert w.shape == (3, 6, 8)
    assert all(not torch.allclose(w[:, i], w[:, j]) for i in range(6) for j in range(i))


def test_mapping_ignores_the_length_of_the_latent():
    mapping, z = Mapping(8, 8, 6, layerwise=False), torch.randn(3, 8)
    assert torch.allclose(mapping(z), mapping(2 * z), atol=1e-5)


def test_truncation():
    network, w = generator(), torch.randn(2, 6, 8)
    network.w_avg.copy_(torch.randn(6, 8))
    assert torch.allclose(network.truncate(w, 1.0), w, atol=1e-6)
    assert torch.allclose(network.truncate(w, 0.0, layers=6)[1], network.w_avg)
    part = network.truncate(w, 0.7, layers=4)
    expected = network.w_avg + 0.7 * (w - network.w_avg)
    assert torch.allclose(part[:, :4], expected[:, :4], atol=1e-6)
    assert torch.equal(part[:, 4:], w[:, 4:])
    psi = torch.tensor([0.7] * 4 + [1.0] * 2).reshape(1, 6, 1)
    assert torch.allclose(network.truncate(w, psi), part, atol=1e-6)


def test_noise_choices(codes):
    network = generator()
    fixed = network.synthesis(codes)
    maps = [layer.noise for layer in network.layers]
    assert torch.equal(fixed, network.synthesis(codes, "fixed"))
    assert torch.equal(fixed, network.synthesis(codes, maps))
    assert torch.equal(fixed, network.synthesis(codes, [None] * 6))
    zeros = [torch.zeros_like(m) for m in maps]
    assert torch.allclose(network.synthesis(codes, "none"), network.synthesis(codes, zeros))
    assert not torch.allclose(fixed, network.synthesis(codes, "none"))
    random = [network.synthesis(codes[:1].expand(2, -1, -1), "random") for _ in range(2)]
    assert not torch.allclose(random[0], random[1])  # anew at each call
    assert not torch.allclose(random[0][0], random[0][1])  # and for each image


def test_unknown_noise_is_named(codes):
    with pytest.raises(ValueError, match="not 'fix'"):
        generator().synthesis(codes, "fix")


def test_lod_one_is_the_generator_of_half_the_resolution(codes):
    large = generator(16)
    small = smaller(large, generator(8))
    assert torch.allclose(large.synthesis(codes, lod=1), small.synthesis(codes[:, :4]), atol=1e-6)


@pytest.mark.parametrize("lod", [0.25, 0.9, 1.5])
def test_blending_is_linear_in_lod(codes, lod):
    network, whole = generator(), int(lod)
    fine, coarse = (network.synthesis(codes, lod=whole + i) for i in (0, 1))
    expected = torch.lerp(fine, upsample(coarse), lod % 1)
    assert torch.allclose(network.synthesis(codes, lod=lod), expected, atol=1e-5)


def test_each_code_acts_from_its_own_layer_on(codes):
    """The finest two codes cannot change the image of half the resolution; all change the whole."""
    network = generator()
    image, half = network.synthesis(codes), network.synthesis(codes, lod=1)
    for layer in range(6):
        other = codes.clone()
        other[:, layer] += 1
        assert not torch.allclose(network.synthesis(other), image, atol=1e-4)
        same = torch.allclose(network.synthesis(other, lod=1), half)
        assert same == (layer >= 4)


def test_images_of_a_batch_are_independent(codes):
    network = generator()
    alone = torch.cat([network.synthesis(code[None]) for code in codes])
    assert torch.allclose(network.synthesis(codes), alone, atol=1e-5)


def test_tanh_bounds_the_image(codes):
    plain, bounded = generator(), generator(tanh=True)
    assert torch.allclose(bounded.synthesis(codes), plain.synthesis(codes).tanh())


def test_bad_resolution_is_named():
    for network in (Generator, Discriminator):
        with pytest.raises(ValueError, match="not 48"):
            network(48)


def test_discriminator_at_lod_one_is_that_of_half_the_resolution(image):
    large = discriminator(16)
    small = smaller(large, discriminator(8))
    half = F.avg_pool2d(image, 2)
    assert torch.allclose(large(half, lod=1), small(half), atol=1e-6)
    assert torch.allclose(large(image, lod=1 - 1e-6), small(half), atol=1e-4)
    assert torch.allclose(large(image, lod=1e-6), large(image), atol=1e-4)


def test_discriminator_sees_the_batch(image):
    """The minibatch deviation: equal images are judged otherwise than varied ones."""
    network = discriminator()
    assert not torch.allclose(network(image)[:1], network(image[:1].expand(4, -1, -1, -1))[:1])


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_parameter_counts():
    """StyleGAN's paper: 26.2 M parameters at 1024 px in the generator, 23.1 M in its critic."""
    with torch.device("meta"):
        assert count(Generator(1024, 512, 512, 16384, 512)) == 26_219_627
        assert count(Discriminator(1024, 16384, 512)) == 23_087_249
        assert count(Generator(layerwise=True)) == 1_076_463
        assert count(Generator()) == 1_039_023
        assert count(Discriminator()) == 1_141_921
