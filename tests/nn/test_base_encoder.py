"""The base encoder: layers, parameters, batch norm, and the average code."""

import pytest
import torch
from idinvert.nn.encoder import Encoder
from torch import nn


def encoder(**options):
    torch.manual_seed(0)
    network = Encoder(16, w_dim=4, channel_base=4, channel_max=8, **options)
    for norm in network.modules():  # as if trained
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return network.requires_grad_(False)


@pytest.fixture
def images():
    return torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def weighted(network):
    """Weighted layers on the main branch, shortcuts left out, as the paper counts them."""
    shortcuts = {m for block in network.blocks for m in block.shortcut.modules()}
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return len([m for m in layers if m not in shortcuts])


@pytest.mark.parametrize("resolution, layers", [(64, 10), (256, 14)])
def test_number_of_weighted_layers(resolution, layers):
    with torch.device("meta"):
        network = Encoder(resolution)
    assert weighted(network) == network.num_layers == layers


def test_parameter_counts():
    """Published 256 px encoder: 165.3 M weights, 117.4 M of them in the last layer."""
    with torch.device("meta"):
        network = Encoder(256, 512, 64, 1024)
        assert network.fc.weight.numel() == 117_440_512
        assert sum(p.numel() for p in network.parameters()) == 165_326_848
        assert sum(p.numel() for p in Encoder().parameters()) == 910_016


def test_codes_have_a_row_per_layer(images):
    assert encoder().eval()(images).shape == (3, 6, 4)


def test_eval_does_not_depend_on_the_batch(images):
    network = encoder().eval()
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(network(images), alone, atol=1e-5)


def test_training_normalises_over_the_batch(images):
    codes = encoder().train()(images).flatten(1)
    assert torch.allclose(codes.mean(0), torch.zeros(24), atol=1e-5)


def test_average_code_is_added(images):
    """Eq. (6)."""
    average = torch.randn(6, 4)
    plain, offset = encoder().eval()(images), encoder(w_avg=average).eval()(images)
    assert torch.allclose(offset, plain + average, atol=1e-6)


def test_scale_of_codes():
    """With the standard deviation of sampled codes, a batch of codes spreads as they do."""
    torch.manual_seed(2)
    std = torch.rand(6, 4) + 0.1
    codes = encoder(w_std=std).train()(torch.randn(64, 3, 16, 16))
    torch.testing.assert_close(codes.std(0, correction=0), std, rtol=1e-2, atol=1e-3)


def test_average_code_is_a_copy():
    """Loading an encoder must not change the generator that its average code came from."""
    average = torch.randn(6, 4)
    kept = average.clone()
    network = encoder(w_avg=average)
    network.load_state_dict(encoder().state_dict())
    assert torch.equal(average, kept)


def test_scale_of_batch_norm_is_frozen():
    names = [n for n, p in Encoder(16).named_parameters() if not p.requires_grad]
    assert names and all(n.endswith("norm.weight") for n in names)


def test_bad_resolution_is_named():
    with pytest.raises(ValueError, match="not 100"):
        Encoder(100)
