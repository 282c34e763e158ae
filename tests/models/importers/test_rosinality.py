"""rosinality's StyleGAN2 checkpoints, written here key by key: what they compute."""

import argparse
import collections
import datetime
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import stylegan2_formulas as formulas
import torch
from idinvert import models
from idinvert.models import importers, importing
from idinvert.models.importers import rosinality
from idinvert.models.importers.states import read_torch

CHANNELS = [12, 12, 8]
Z = W = 6
KERNEL = formulas.FILTER.float() * 4


def tensor(*shape, scale=1.0):
    return torch.randn(shape) * scale


def modulated(name, inputs, outputs, kernel):
    return {f"{name}.conv.weight": tensor(1, outputs, inputs, kernel, kernel),
            f"{name}.conv.modulation.weight": tensor(inputs, W),
            f"{name}.conv.modulation.bias": 1 + tensor(inputs, scale=0.1)}


def generator(depth=3):
    state = {"input.input": tensor(1, CHANNELS[0], 4, 4)}
    for i in range(1, depth + 1):
        state |= {f"style.{i}.weight": tensor(W, W) * 100, f"style.{i}.bias": tensor(W) * 100}
    for i in range(2 * len(CHANNELS) - 1):
        name = f"convs.{i - 1}" if i else "conv1"
        size, outputs = 4 << (i + 1) // 2, CHANNELS[(i + 1) // 2]
        state |= modulated(name, CHANNELS[i // 2], outputs, 3)
        state |= {f"{name}.noise.weight": tensor(1), f"{name}.activate.bias": tensor(outputs),
                  f"noises.noise_{i}": tensor(1, 1, size, size)}
        if i % 2:
            state[f"{name}.conv.blur.kernel"] = KERNEL
    for b, channels in enumerate(CHANNELS):
        name = f"to_rgbs.{b - 1}" if b else "to_rgb1"
        state |= modulated(name, channels, 3, 1) | {f"{name}.bias": tensor(1, 3, 1, 1)}
        if b:
            state[f"{name}.upsample.kernel"] = KERNEL
    return state


def discriminator():
    state = {"convs.0.0.weight": tensor(8, 3, 1, 1), "convs.0.1.bias": tensor(8)}
    for i, (a, b) in enumerate([(8, 12), (12, 12)], 1):
        state |= {
            f"convs.{i}.conv1.0.weight": tensor(a, a, 3, 3), f"convs.{i}.conv1.1.bias": tensor(a),
            f"convs.{i}.conv2.0.kernel": KERNEL / 4,
            f"convs.{i}.conv2.1.weight": tensor(b, a, 3, 3), f"convs.{i}.conv2.2.bias": tensor(b),
            f"convs.{i}.skip.0.kernel": KERNEL / 4, f"convs.{i}.skip.1.weight": tensor(b, a, 1, 1),
        }  # fmt: skip
    return state | {
        "final_conv.0.weight": tensor(12, 13, 3, 3), "final_conv.1.bias": tensor(12),
        "final_linear.0.weight": tensor(12, 192), "final_linear.0.bias": tensor(12),
        "final_linear.1.weight": tensor(1, 12), "final_linear.1.bias": tensor(1),
    }  # fmt: skip


def layer(state, name, i):
    return {"style": state[f"{name}.conv.modulation.weight"],
            "style_bias": state[f"{name}.conv.modulation.bias"],
            "weight": state[f"{name}.conv.weight"][0], "noise": state[f"noises.noise_{i}"],
            "strength": state[f"{name}.noise.weight"], "bias": state[f"{name}.activate.bias"]}


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint of a training run, with the command line that it was started by."""
    torch.manual_seed(0)
    path = tmp_path / "network.pt"
    content = {"g_ema": generator(), "d": discriminator(), "g_optim": {"state": {}},
               "args": argparse.Namespace(size=16, path="lmdb"), "latent_avg": tensor(1, W)}
    torch.save(content, path)
    return path, content


@torch.no_grad()
def test_generator_renders_what_the_formulas_say(checkpoint):
    path, content = checkpoint
    found = rosinality.parts(read_torch(path), path)
    network = rosinality.generator(found["g_ema"], found["latent_avg"])
    state = content["g_ema"]
    layers = [layer(state, f"convs.{i - 1}" if i else "conv1", i) for i in range(5)]
    to_rgb = [{"style": state[f"{n}.conv.modulation.weight"],
               "style_bias": state[f"{n}.conv.modulation.bias"],
               "weight": state[f"{n}.conv.weight"][0], "bias": state[f"{n}.bias"][0, :, 0, 0]}
              for n in ("to_rgb1", "to_rgbs.0", "to_rgbs.1")]
    codes = torch.randn(2, 6, W)
    expected = formulas.synthesis(codes, state["input.input"], layers, to_rgb).float()
    torch.testing.assert_close(network.synthesis(codes), expected, rtol=1e-4, atol=1e-4)
    z = torch.randn(2, Z)
    style = [(state[f"style.{i}.weight"], state[f"style.{i}.bias"]) for i in (1, 2, 3)]
    torch.testing.assert_close(network.mapping(z)[:, 0], formulas.mapping(z, style).float(),
                               rtol=1e-4, atol=1e-5)
    assert torch.equal(network.w_avg, content["latent_avg"].expand(6, W))


@torch.no_grad()
def test_discriminator_judges_as_the_formulas_say(checkpoint):
    path, content = checkpoint
    state = content["d"]
    network = rosinality.discriminator(rosinality.parts(read_torch(path), path)["d"])
    blocks = [[(state[f"{b}.conv1.0.weight"], state[f"{b}.conv1.1.bias"]),
               (state[f"{b}.conv2.1.weight"], state[f"{b}.conv2.2.bias"]),
               (state[f"{b}.skip.1.weight"], None)] for b in ("convs.1", "convs.2")]
    ends = [(state[f"{a}.weight"], state[f"{b}.bias"]) for a, b in (
        ("convs.0.0", "convs.0.1"), ("final_conv.0", "final_conv.1"),
        ("final_linear.0", "final_linear.0"), ("final_linear.1", "final_linear.1"))]
    images = torch.randn(4, 3, 16, 16)
    expected = formulas.discriminate(images, ends[0], blocks, *ends[1:]).float()
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_average_code_is_sampled_where_the_file_has_none():
    torch.manual_seed(0)
    network = rosinality.generator(generator())
    sampled = network.mapping(torch.randn(20_000, Z)).mean(0)
    torch.testing.assert_close(network.w_avg, sampled, rtol=0, atol=0.05 * sampled.abs().max())


class Command:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class EasyDict(dict):
    """As the package easydict has it."""


def test_plain_data_beside_the_weights_is_left_out(checkpoint, monkeypatch):
    """Losses of NumPy, paths, times and dictionaries of other classes, as trainings note them."""
    path, content = checkpoint
    monkeypatch.setattr(EasyDict, "__module__", "easydict")
    monkeypatch.setitem(sys.modules, "easydict", types.SimpleNamespace(EasyDict=EasyDict))
    beside = {"loss": np.float64(1), "steps": np.arange(2), "log": collections.defaultdict(list),
              "args": argparse.Namespace(out=Path("out"), at=datetime.datetime(2026, 1, 1)),
              "best": collections.defaultdict(int, {"fid": np.float32(1)}), "set": EasyDict(a=1)}
    for old in (False, True):
        torch.save(content | beside, path, _use_new_zipfile_serialization=not old)
        networks = rosinality.Rosinality.read(importers.File(path))
        assert torch.equal(networks["generator"].const, content["g_ema"]["input.input"])
    torch.save(collections.defaultdict(dict, content), path)
    assert set(rosinality.Rosinality.read(importers.File(path))) == {"generator", "discriminator"}


def test_a_generator_without_its_average_is_told(checkpoint):
    path, content = checkpoint
    content["g"] = content.pop("g_ema")
    for more in ({}, {"g_ema": None}):
        torch.save(content | more, path)
        assert rosinality.Rosinality.recognises(importers.File(path))
        with pytest.warns(UserWarning, match="has no g_ema, .* as the last step left it, g"):
            networks = rosinality.Rosinality.read(importers.File(path))
        assert torch.equal(networks["generator"].const, content["g"]["input.input"])


def test_files_of_another_pickle_protocol_say_so(checkpoint):
    path, content = checkpoint
    torch.save(content, path, pickle_protocol=4)
    with pytest.raises(ValueError, match="protocol 4, not in PyTorch's own: save it again without"):
        read_torch(path)


def test_code_in_a_file_is_not_run(tmp_path):
    path, trace = tmp_path / "network.pt", tmp_path / "trace"
    torch.save({"g_ema": {}, "args": Command(f"touch {trace}")}, path)
    with pytest.raises(ValueError, match="is not a PyTorch file of plain tensors"):
        rosinality.parts(read_torch(path), path)
    assert not trace.exists()


@pytest.mark.parametrize("content, message", [
    ({"g": {}}, "holds no networks of a known project"),
    ([1], "holds no networks of a known project"),
    ({"g_ema": None}, "no state dict under g_ema"),
    ({"g_ema": {"a": 1}}, "no state dict under g_ema"),
])  # fmt: skip
def test_other_content_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "network.pt")
    with pytest.raises(ValueError, match=message):
        importing.import_file(tmp_path / "network.pt", "own")


@pytest.mark.parametrize("key, value, message", [
    ("convs.0.conv.weight", None, "'convs.0.conv.weight' of shape .* is missing"),
    ("to_rgbs.0.upsample.kernel", torch.ones(4, 4), "another filter"),
    ("noises.noise_2", torch.zeros(1, 1, 9, 9), r"shape \[1, 1, 9, 9\], expected \[1, 1, 8, 8\]"),
    ("strange", torch.zeros(2), "Unknown key 'strange'"),
])  # fmt: skip
def test_other_generators_are_refused(key, value, message):
    state = generator()
    state.pop(key, None)
    with pytest.raises(ValueError, match=message):
        rosinality.generator(state if value is None else state | {key: value})


def test_shapes_of_the_usual_256_px_network(monkeypatch):
    """30.0 million parameters, as published for 256 px, with 512 channels up to 64 px."""
    channels = [512, 512, 512, 512, 512, 256, 128]
    for name, value in (("CHANNELS", channels), ("W", 512),
                        ("tensor", lambda *shape, scale=1.0: torch.zeros(shape))):
        monkeypatch.setitem(globals(), name, value)
    network = rosinality.generator(generator(depth=8), torch.zeros(512))
    assert (network.resolution, network.num_layers, network.z_dim) == (256, 14, 512)
    assert [c.conv.weight.shape[1] for c in network.to_rgb] == channels
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == 30.0


@torch.no_grad()
@pytest.mark.parametrize("form", ["bare", "module", "pSp", "half"])
def test_generators_are_found_in_the_files_of_other_projects(checkpoint, tmp_path, monkeypatch,
                                                             form):
    """They render what the plain checkpoint's generator does; pSp has an average for each layer."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "models"))
    path, content = checkpoint
    state, average = content["g_ema"], content["latent_avg"]
    importing.import_file(path, "plain")
    decoder = {f"decoder.{key}": value for key, value in state.items()}
    torch.save({
        "bare": state,
        "module": {"g_ema": {f"module.{key}": value for key, value in state.items()},
                   "latent_avg": average},
        "pSp": {"state_dict": decoder | {"encoder.x": tensor(2)}, "opts": {"size": 16},
                "latent_avg": average.expand(6, W).clone()},
        "half": {"g_ema": {key: value.half() for key, value in state.items()},
                 "latent_avg": average.half()},
    }[form], path)
    importing.import_file(path, "new")
    plain, new = models.load("plain"), models.load("new")
    codes = tensor(2, 6, W)
    error = (new.synthesis(codes) - plain.synthesis(codes)).abs().max()
    assert error <= (0.05 * plain.synthesis(codes).abs().max() if form == "half" else 0)
    if form != "bare":
        torch.testing.assert_close(new.w_avg, plain.w_avg, rtol=0, atol=2e-3)


@pytest.mark.parametrize("content", [[1], {"module": {"x": torch.zeros(1)}}, {"a": 1}])
def test_a_discriminator_that_is_no_state_is_left_out(checkpoint, tmp_path, monkeypatch, content):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "models"))
    path, whole = checkpoint
    torch.save(whole | {"d": content}, path)
    with pytest.warns(UserWarning, match="without its discriminator: .* no state dict under d"):
        assert importing.import_file(path, "new") == ["new"]


@torch.no_grad()
def test_noise_that_the_file_lacks_is_drawn(checkpoint):
    """The published checkpoint of 256 px has none; with noise of its own it is what it was."""
    state = checkpoint[1]["g_ema"]
    without = {key: value for key, value in state.items() if not key.startswith("noises.")}
    network, again = rosinality.generator(without), rosinality.generator(without)
    whole = rosinality.generator(state)
    codes = tensor(2, 6, W)
    own = [layer.noise for layer in whole.layers]
    assert torch.equal(network.synthesis(codes, own), whole.synthesis(codes))
    drawn = torch.cat([layer.noise.flatten() for layer in network.layers])
    assert 0.8 < drawn.std() < 1.2 and torch.equal(network.synthesis(codes), again.synthesis(codes))
