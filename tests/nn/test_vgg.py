"""VGG-16: the published architecture, number for number, and the real weights.

`parity/vgg16.npz` holds a sample of what the published PyTorch inference code computes for a
VGG-16 whose tensors are drawn by `draw`; see the keys `sample` (every 16th channel, every 4th row
and column), `channel_means` and `norm`.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from idinvert.models import pretrained
from idinvert.nn.vgg import DROPPED, VGG16Features, conv4_3_state

PARITY = np.load(Path(__file__).parents[1] / "parity" / "vgg16.npz")


def draw(key, shape, scale):
    rng = np.random.default_rng([zlib.crc32(key.encode()), int(PARITY["seed"])])
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def published_state():
    """All 13 convolutions, as in the published vgg16.pth."""
    shapes = {key: tuple(value.shape) for key, value in VGG16Features().state_dict().items()}
    shapes |= {key: (512, 512, 3, 3) if key.endswith("weight") else (512,) for key in DROPPED}
    scales = {k: np.sqrt(2 / np.prod(s[1:])) if len(s) > 1 else 0.1 for k, s in shapes.items()}
    return {k: torch.from_numpy(draw(f"F.{k}", s, scales[k])) for k, s in shapes.items()}


@pytest.fixture(scope="module")
def state():
    return published_state()


def test_keys_are_the_published_ones(state):
    assert sorted(state) == sorted(PARITY["keys"])


def test_features_equal_the_published_code(state):
    network = VGG16Features()
    network.load_state_dict(conv4_3_state(state))
    images = torch.from_numpy(draw("input.x", (2, 3, 128, 128), 0.5).clip(-1, 1))
    with torch.no_grad():
        found = network(images).numpy()
    assert found.shape == tuple(PARITY["shape"])
    scale = np.abs(PARITY["sample"]).max()
    assert np.abs(found[:, ::16, ::4, ::4] - PARITY["sample"]).max() < 1e-5 * scale
    assert np.allclose(found.mean((2, 3)), PARITY["channel_means"], rtol=1e-4)
    assert np.linalg.norm(found.astype(float)) == pytest.approx(PARITY["norm"], rel=1e-5)


def test_wrong_state_names_key_and_shape(state):
    with pytest.raises(ValueError, match=r"'layer5.weight' has shape \(4, 64, 3, 3\), expected"):
        conv4_3_state(state | {"layer5.weight": torch.zeros(4, 64, 3, 3)})
    with pytest.raises(ValueError, match="'layer0.bias' is missing"):
        conv4_3_state({k: v for k, v in state.items() if k != "layer0.bias"})
    with pytest.raises(ValueError, match="unknown key 'features.0.weight'"):
        conv4_3_state({"features.0.weight": torch.zeros(64, 3, 3, 3)})


def test_users_own_file(state, tmp_path):
    path = tmp_path / "vgg16.pth"
    torch.save(state, path)
    network = pretrained.load_vgg16(path=path)
    assert not network.training and not any(p.requires_grad for p in network.parameters())
    assert torch.equal(network.layer21.weight, state["layer21.weight"])


def test_users_own_file_named_by_the_environment(state, tmp_path, monkeypatch):
    torch.save(state, tmp_path / "vgg16.pth")
    monkeypatch.setenv("IDINVERT_VGG16", str(tmp_path / "vgg16.pth"))
    assert torch.equal(pretrained.load_vgg16().layer21.weight, state["layer21.weight"])


def test_users_file_that_is_none(tmp_path):
    with pytest.raises(pretrained.PretrainedError, match="no VGG-16 file"):
        pretrained.load_vgg16(path=tmp_path / "absent.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(pretrained.PretrainedError, match="not a file of tensors"):
        pretrained.load_vgg16(path=tmp_path / "text.pth")


def test_gradient_reaches_the_image():
    images = torch.zeros(1, 3, 16, 16, requires_grad=True)
    VGG16Features()(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_real_weights(vgg16, card):
    """Values of the original network; a random one gives others by orders of magnitude."""
    assert vgg16.layer0.bias[:3].tolist() == pytest.approx([0.73429835, 0.0934037, 0.0677567], 1e-3)
    features = vgg16(card)
    assert features.shape == (1, 512, 8, 8)
    assert features.mean().item() == pytest.approx(55.521, rel=1e-3)
    assert features.max().item() == pytest.approx(2844.9, rel=1e-3)
    assert (features > 0).float().mean().item() == pytest.approx(0.1771, abs=1e-3)


def test_input_is_bgr(vgg16, card):
    """Red and blue are told apart: swapping them changes the features."""
    swapped = vgg16(card.flip(1))
    assert (swapped - vgg16(card)).abs().mean() > 1
