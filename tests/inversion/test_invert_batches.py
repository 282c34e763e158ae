"""A batch is inverted as if each of its images were alone, exactly.

In float64, with smooth stand-ins for the networks: in float32, rounding alone parts the paths.
"""

from functools import partial

import pytest
import torch
from idinvert.inversion import InDomain, Networks, Settings, diffuse, in_batches
from torch import nn


class StandIn(nn.Module):
    """A generator and an encoder in one: a layer and a tanh in either direction."""

    resolution = 8

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.up = nn.Linear(12, 3 * 8 * 8).double()
        self.down = nn.Linear(3 * 8 * 8, 12).double()

    def synthesis(self, codes):
        return self.up(codes.flatten(1)).tanh().unflatten(1, (3, 8, 8))

    def forward(self, images):
        return self.down(images.flatten(1)).unflatten(1, (4, 3))


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.rand(5, 3, 8, 8, dtype=torch.float64) * 2 - 1


def same(together, alone):
    codes = torch.cat([one.codes for one in alone])
    totals = torch.cat([one.losses["total"] for one in alone])
    return torch.allclose(together.codes, codes, rtol=0, atol=1e-10) and torch.allclose(
        together.losses["total"], totals, rtol=1e-10
    )


@pytest.mark.parametrize("batch_size", [2, 16])
def test_in_domain_inversion(images, batch_size):
    network = StandIn()
    networks, method = Networks(network, None, network), InDomain(iterations=20, learning_rate=0.05)
    together = in_batches(partial(method.invert, networks), images, size=batch_size)
    alone = [method.invert(networks, image[None]) for image in images]
    assert same(together, alone)
    assert (together.losses["total"][:, -1] < together.losses["total"][:, 0]).all()


@pytest.mark.parametrize("batch_size", [2, 16])
def test_diffusion_with_a_mask_for_each_image(images, batch_size):
    network, masks = StandIn(), torch.zeros(5, 1, 8, 8, dtype=torch.float64)
    for i, mask in enumerate(masks):
        mask[:, i : i + 3, 2:6] = 1
    networks, settings = Networks(network, None, network), Settings(iterations=20)
    together = diffuse(networks, images, masks, settings, batch=batch_size)
    pairs = zip(images.split(1), masks.split(1), strict=True)
    alone = [diffuse(networks, image, mask, settings) for image, mask in pairs]
    assert same(together, alone)
