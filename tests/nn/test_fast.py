"""Accelerated networks are those that they stand for, there and back."""

import copy
from types import SimpleNamespace

import pytest
import torch
from idinvert.inversion import InDomain, Networks, PivotalTuning
from idinvert.inversion.fast import FastNetworks, check_fast
from idinvert.nn import backbones, encoder, reduced, stylegan, stylegan2, vgg
from idinvert.nn.fast import Accelerated, accelerated


def generator(kind=stylegan.Generator, **settings):
    torch.manual_seed(0)
    network = kind(16, 8, 8, 256, 16, **settings).eval().requires_grad_(False)
    for layer in network.layers:
        layer.bias.normal_()
        (layer.noise_weight if kind is stylegan.Generator else layer.noise_strength).normal_()
    return network


def trained(network):
    """The encoder with statistics of a few batches in its batch norms."""
    network.train()
    for _ in range(8):
        network(torch.randn(8, 3, 16, 16))
    return network.eval().requires_grad_(False)


def there_and_back(call, x):
    x = x.clone().requires_grad_(True)
    y = call(x)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    return y.detach(), torch.autograd.grad((y * weight).sum(), x)[0]


NETWORKS = {
    "StyleGAN": lambda: generator(layerwise=True),
    "StyleGAN with tanh": lambda: generator(tanh=True),
    "StyleGAN2": lambda: generator(stylegan2.Generator),
    "base encoder": lambda: trained(encoder.Encoder(16, 8, 8, 16)),
    "ResNet": lambda: trained(backbones.ResNet(16, 8)),
    "VGG-16": vgg.VGG16Features,
    "VGG-16 of smaller images": lambda: reduced.ReducedFeatures(vgg.VGG16Features(), 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_but_for_rounding(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().requires_grad_(False)
    generates = hasattr(network, "synthesis")
    x = torch.randn(3, network.num_layers, 8) if generates else torch.rand(3, 3, 16, 16) * 2 - 1

    def run(network):
        return there_and_back(network.synthesis if generates else network, x)
    expected = run(network)
    for found, wanted in zip(run(accelerated(network, torch.float32)), expected):
        assert (found - wanted).norm() < 1e-5 * wanted.norm()
    found, _ = run(fast := accelerated(network))
    assert 1e-5 * expected[0].norm() < (found - expected[0]).norm() < 0.03 * expected[0].norm()
    with torch.no_grad():  # the network itself
        call = fast.synthesis if generates else fast
        assert torch.equal(call(x), (network.synthesis if generates else network)(x))


def test_other_noise_and_attributes_are_the_network_s():
    network = generator()
    fast, w = accelerated(network), torch.randn(2, network.num_layers, 8)
    assert torch.equal(fast.synthesis(w, "none"), network.synthesis(w, "none"))
    assert fast.resolution == 16 and fast.w_avg is network.w_avg
    with pytest.raises(AttributeError):
        _ = fast.no_such_thing


def test_inversion_takes_the_same_steps():
    torch.manual_seed(0)
    networks = Networks(generator(), vgg.VGG16Features(), trained(encoder.Encoder(16, 8, 8, 16)))
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    fast = FastNetworks(networks)
    assert isinstance(fast.generator, Accelerated) and fast.generator is fast.generator
    found, wanted = (InDomain(iterations=10).invert(n, images) for n in (fast, networks))
    totals = [result.losses["total"] for result in (found, wanted)]
    assert torch.allclose(totals[0][:, 0], totals[1][:, 0], rtol=2e-3)
    assert torch.allclose(totals[0][:, -1], totals[1][:, -1], rtol=0.01)
    assert torch.equal(found.images, networks.generator.synthesis(found.codes))  # in float32


def test_fast_networks_can_be_copied():
    networks = SimpleNamespace(encoder=None, features=torch.nn.Identity())
    copied = copy.deepcopy(FastNetworks(networks))
    assert copied.encoder is None and copied.networks.features is not networks.features


def test_a_tuned_generator_cannot_be_fast():
    with pytest.raises(ValueError, match="Pivotal tuning tunes the generator"):
        check_fast(PivotalTuning())
