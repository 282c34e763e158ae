"""The discriminator on frozen features: its state, its patches, its bound, what may train."""

import pytest
import torch
from idinvert.nn.projected import LAYERS, Discriminator
from idinvert.nn.vgg import VGG16Features


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return VGG16Features()


def images(count=2, resolution=16):
    return torch.rand(count, 3, resolution, resolution, requires_grad=True)


def test_features_are_no_part_of_its_state(vgg):
    network = Discriminator(16, width=4).attach(vgg)
    assert all(name.startswith("heads.") for name in network.state_dict())
    assert not any(p.requires_grad for p in vgg.parameters())


def test_every_layer_has_as_many_patches(vgg):
    network = Discriminator(64, width=4).attach(vgg)
    assert network(images(2, 64)).shape == (2, len(LAYERS) * 5 * 5)


def test_layers_are_those_of_the_whole_network(vgg):
    x = images().detach()
    found = vgg.layers(x, [2, 7, 21])
    assert [tuple(y.shape[1:]) for y in found] == [(64, 16, 16), (128, 8, 8), (512, 2, 2)]
    assert torch.equal(found[-1], vgg(x))
    first = torch.relu(vgg.layer0((x.flip(1) + 1) * 127.5 - vgg.means))
    assert torch.equal(found[0], torch.relu(vgg.layer2(first)))
    with pytest.raises(ValueError, match="no layer 3"):
        vgg.layers(x, [3])


def test_images_and_their_features_are_judged_alike(vgg):
    network = Discriminator(16, width=4).attach(vgg).eval()
    x = images()
    torch.testing.assert_close(network(x), network(network.features(x)))


def test_kernels_of_a_head_have_spectral_norm_1(vgg):
    """After the power iterations of some steps; a kernel is a matrix of outputs by inputs."""
    network = Discriminator(16, width=4).attach(vgg)
    for _ in range(200):  # power iterations
        network(images())
    network.eval()
    for head in network.heads:
        for layer in head:
            if hasattr(layer, "weight"):
                norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
                assert norm.item() == pytest.approx(1, abs=1e-2)


def test_gradient_reaches_the_image(vgg):
    x = images()
    Discriminator(16, width=4).attach(vgg)(x).mean().backward()
    assert x.grad.abs().amax((1, 2, 3)).min() > 0


def test_what_it_cannot_do_is_said(vgg):
    with pytest.raises(ValueError, match="16 px or more, not 8"):
        Discriminator(8)
    with pytest.raises(RuntimeError, match=r"no VGG-16 yet: call attach\(vgg\)"):
        Discriminator(16, width=4)(images())
