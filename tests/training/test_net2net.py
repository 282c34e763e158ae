"""A larger network begins by computing what its parent does."""

import pytest
import torch
from idinvert.nn import stylegan, stylegan2
from idinvert.training.net2net import take_codes, wider

SIZE = {"resolution": 16, "channel_max": 8}
CODES = {"z_dim": 6, "w_dim": 5}


def generators(**larger):
    torch.manual_seed(0)
    parent = stylegan.Generator(**SIZE, **CODES, channel_base=32)
    for name, parameter in parent.named_parameters():
        if name.endswith(("bias", "noise_weight")):
            torch.nn.init.normal_(parameter)
    return parent, stylegan.Generator(**SIZE, **CODES, **{"channel_base": 32} | larger)


@pytest.mark.parametrize("larger", [
    {"channel_base": 64}, {"channel_base": 128}, {"layerwise": True},
    {"channel_base": 64, "layerwise": True},
])  # fmt: skip
def test_generator_renders_what_its_parent_did(larger):
    parent, child = generators(**larger)
    child.load_state_dict(wider(parent.state_dict(), child, noise=0))
    z = torch.randn(3, 6)
    torch.testing.assert_close(child(z), parent(z), rtol=1e-4, atol=1e-4)
    assert sum(p.numel() for p in child.parameters()) > sum(p.numel() for p in parent.parameters())


def test_one_code_begins_as_the_mean_of_those_of_all_layers():
    plain, layerwise = generators(layerwise=True)
    torch.nn.init.normal_(layerwise.mapping.dense[-1].bias)
    state = wider(layerwise.state_dict(), plain)
    last = {key: value for key, value in state.items() if key.startswith("mapping.dense.7")}
    codes = {key: value.unflatten(0, (plain.num_layers, -1)) for key, value in
             layerwise.state_dict().items() if key in last}
    for key, value in last.items():
        torch.testing.assert_close(value, codes[key].mean(0))
    assert torch.equal(state["layers.0.bias"], layerwise.state_dict()["layers.0.bias"])


@pytest.mark.parametrize("lod", [0.0, 0.5, 1.0])
def test_discriminator_says_what_its_parent_did(lod):
    torch.manual_seed(0)
    parent = stylegan.Discriminator(**SIZE, channel_base=32)
    for name, parameter in parent.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    child = stylegan.Discriminator(**SIZE, channel_base=64)
    child.load_state_dict(wider(parent.state_dict(), child, noise=0))
    images = torch.randn(4, 3, 16 >> int(lod), 16 >> int(lod))
    torch.testing.assert_close(child(images, lod), parent(images, lod), rtol=1e-4, atol=1e-4)


def test_noise_parts_the_copies_and_nothing_else():
    parent, child = generators(channel_base=64)
    state, plain = (wider(parent.state_dict(), child, noise) for noise in (0.1, 0.0))
    changed = {key for key in state if not torch.equal(state[key], plain[key])}
    convolutions = {key for key, value in parent.state_dict().items()
                    if value.shape != state[key].shape and value.ndim == 4}
    assert changed == convolutions != set()
    twice = state["layers.4.conv.weight"].chunk(2)
    assert not torch.equal(*twice)


def test_what_is_no_multiple_is_refused():
    parent, _ = generators()
    child = stylegan.Generator(**SIZE, **CODES, channel_base=48)
    with pytest.raises(ValueError, match=r"layers\.\d.* cannot be widened to \[6"):
        wider(parent.state_dict(), child)


@pytest.mark.parametrize("layerwise", [False, True])
def test_the_other_generation_makes_the_codes_of_its_teacher(layerwise):
    teacher, _ = generators() if not layerwise else reversed(generators(layerwise=True))
    for layer in teacher.mapping.dense:
        torch.nn.init.normal_(layer.bias, std=50.0)  # the mapping network scales biases by 0.01
    teacher.w_avg.normal_()
    pupil = stylegan2.Generator(**SIZE, **CODES, channel_base=32, layerwise=layerwise)
    take_codes(pupil, teacher)
    z = torch.randn(4, 6)
    torch.testing.assert_close(pupil.mapping(z), teacher.mapping(z))
    assert torch.equal(pupil.w_avg, teacher.w_avg)
