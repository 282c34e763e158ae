"""Inception-v3 of FID: pinned features, the pools that set it apart, sizes known from elsewhere.

PINNED are features 168, 424, ... that pytorch-fid 0.3.0 (with torchvision 0.28.0) gives for the
weights and images drawn here; all 2 x 2048 agreed within 2e-7.
"""

import zlib

import numpy as np
import pytest
import torch
from idinvert.nn import inception
from idinvert.nn.inception import BLOCKS, Block, InceptionV3

PINNED = np.array([
    [0.112499, 0.689765, 0.248036, 0.236717, 0.256097, 0.314744, 0.206570, 0.584012],
    [0.130368, 0.680013, 0.234499, 0.230330, 0.245875, 0.307283, 0.211304, 0.578189],
])


def draw(key, shape, scale):
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32) * np.float32(scale))


def drawn(key, shape):
    """A tensor with which the activations keep their size from layer to layer."""
    if len(shape) == 4:
        return draw(key, shape, np.sqrt(2 / np.prod(shape[1:])))
    if key.endswith("running_var"):
        return 1 + draw(key, shape, 0.2).abs()
    return draw(key, shape, 0.1) + key.endswith("bn.weight")


@pytest.fixture(scope="module")
def network():
    with torch.device("meta"):
        network = InceptionV3().eval()
    shapes = {k: v.shape for k, v in network.state_dict().items() if not k.endswith("tracked")}
    network.load_state_dict({k: drawn(k, s) for k, s in shapes.items()}, assign=True)
    return network


@pytest.fixture(scope="module")
def images():
    """Noise, and a ramp from black to white: [2, 3, 40, 32]."""
    noise = draw("images", (3, 40, 32), 0.5).clip(-1, 1)
    return torch.stack([noise, torch.linspace(-1, 1, 32).expand(3, 40, 32)])


@pytest.fixture(scope="module")
def features(network, images):
    with torch.no_grad():
        return network(images)


def test_features_are_those_of_another_implementation(features):
    assert features.shape == (2, 2048)
    found = features[:, 168::256].numpy()
    np.testing.assert_allclose(found, PINNED, atol=1e-5)


def test_features_of_an_image_do_not_depend_on_the_batch(network, images, features):
    with torch.no_grad():
        torch.testing.assert_close(network(images[1:]), features[1:], rtol=1e-4, atol=1e-5)


def test_size_of_the_network():
    """Keras states 21,802,784 numbers without the classifier; ours have a scale in each norm too,
    17,216 in 94 norms, which TensorFlow leaves out."""
    with torch.device("meta"):
        network = InceptionV3()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    scales = sum(m.num_features for m in norms)
    counted = sum(v.numel() for k, v in network.state_dict().items() if not k.endswith("tracked"))
    assert (len(norms), scales) == (94, 17216)
    assert counted - scales == 21_802_784
    assert {m.eps for m in norms} == {1e-3}


def impulse_through_the_pool(name):
    """What becomes of an impulse at the corner in the pooled branch of a block, [4, 4]."""
    table, pool = BLOCKS[name]
    block = Block(1, {"branch_pool": ("pool", 1, 1)}, pool).eval()
    assert table["branch_pool"][0] == "pool"
    torch.nn.init.ones_(block.branch_pool.conv.weight)
    x = torch.zeros(1, 1, 4, 4)
    x[..., 0, 0] = 1
    with torch.no_grad():
        return block(x)[0, 0] * (1 + 1e-3) ** 0.5  # undo the eps of the norm


AVERAGING = [name for name in BLOCKS if name not in ("Mixed_6a", "Mixed_7a", "Mixed_7c")]


@pytest.mark.parametrize("name", AVERAGING)
def test_averages_leave_the_padding_out(name):
    expected = torch.zeros(4, 4)
    expected[:2, :2] = torch.tensor([[1 / 4, 1 / 6], [1 / 6, 1 / 9]])
    torch.testing.assert_close(impulse_through_the_pool(name), expected)


def test_the_last_block_takes_the_maximum():
    expected = torch.zeros(4, 4)
    expected[:2, :2] = 1
    torch.testing.assert_close(impulse_through_the_pool("Mixed_7c"), expected)


@pytest.mark.parametrize("name, inputs, outputs, size", [
    ("Mixed_5b", 192, 256, 9), ("Mixed_5d", 288, 288, 9), ("Mixed_6a", 288, 768, 4),
    ("Mixed_6b", 768, 768, 9), ("Mixed_7a", 768, 1280, 4), ("Mixed_7c", 2048, 2048, 9),
])  # fmt: skip
def test_shapes_of_the_blocks(name, inputs, outputs, size):
    with torch.device("meta"):
        found = Block(inputs, *BLOCKS[name])(torch.empty(2, inputs, 9, 9))
    assert found.shape == (2, outputs, size, size)


def test_images_are_resized_between_pixel_centres():
    """Two pixels, 0 and 1: a ramp between their centres, constant beyond them."""
    image = torch.tensor([0.0, 1.0]).expand(1, 3, 2, 2)
    centres = (torch.arange(299) + 0.5) * 2 / 299 - 0.5
    found = inception.prepare(image)
    torch.testing.assert_close(found, centres.clip(0, 1).expand(1, 3, 299, 299))
    assert torch.equal(inception.prepare(found), found)
