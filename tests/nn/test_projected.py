"""The discriminator on frozen features: its state, its patches, its bound, what may train."""

import pytest
import torch
from idinvert.nn.projected import LAYERS, Discriminator
from idinvert.nn.vgg import VGG16Features


@pytest.fixture(scope="module")
def features():
    torch.manual_seed(0)
    return VGG16Features()


def images(count=2, resolution=16):
    return torch.rand(count, 3, resolution, resolution, requires_grad=True)


def test_features_are_no_part_of_its_state(features):
    network = Discriminator(16, width=4).look_through(features)
    assert all(name.startswith("heads.") for name in network.state_dict())
    assert not any(p.requires_grad for p in features.parameters())


def test_every_layer_has_as_many_patches(features):
    network = Discriminator(64, width=4).look_through(features)
    assert network(images(2, 64)).shape == (2, len(LAYERS) * 5 * 5)


def test_layers_are_those_of_the_whole_network(features):
    x = images().detach()
    found = features.layers(x, [2, 7, 21])
    assert [tuple(y.shape[1:]) for y in found] == [(64, 16, 16), (128, 8, 8), (512, 2, 2)]
    assert torch.equal(found[-1], features(x))
    first = torch.relu(features.layer0((x.flip(1) + 1) * 127.5 - features.means))
    assert torch.equal(found[0], torch.relu(features.layer2(first)))
    with pytest.raises(ValueError, match="no layer 3"):
        features.layers(x, [3])


def test_images_and_their_features_are_judged_alike(features):
    network = Discriminator(16, width=4).look_through(features).eval()
    x = images()
    torch.testing.assert_close(network(x), network(network.look(x)))


def test_kernels_of_a_head_have_spectral_norm_1(features):
    """After the power iterations of some steps; a kernel is a matrix of outputs by inputs."""
    network = Discriminator(16, width=4).look_through(features)
    for _ in range(200):  # power iterations
        network(images())
    network.eval()
    for head in network.heads:
        for layer in head:
            if hasattr(layer, "weight"):
                norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
                assert norm.item() == pytest.approx(1, abs=1e-2)


def test_gradient_reaches_the_image(features):
    x = images()
    Discriminator(16, width=4).look_through(features)(x).mean().backward()
    assert x.grad.abs().amax((1, 2, 3)).min() > 0


def test_what_it_cannot_do_is_said(features):
    with pytest.raises(ValueError, match="16 px or more, not 8"):
        Discriminator(8)
    with pytest.raises(RuntimeError, match="look_through"):
        Discriminator(16, width=4)(images())
    with pytest.raises(ValueError, match="lod must be 0"):
        Discriminator(16, width=4).look_through(features)(images(), lod=1)
