"""NVIDIA's StyleGAN2-ADA files, written here as its code does: what they render, what they run."""

import io
import os
import pickle
import pickletools
import sys
import types

import numpy as np
import pytest
import stylegan2_formulas as formulas
import torch
from idinvert.models import importing
from idinvert.models.importers import nvidia, records

CHANNELS = {4: 12, 8: 12, 16: 8}
Z, W = 5, 6
MODULE_SOURCE = "import pathlib; pathlib.Path({!r}).write_text('run')"


def tensor(*shape, scale=1.0):
    return torch.randn(shape) * scale


def affine(inputs):
    return {"weight": tensor(inputs, W), "bias": 1 + tensor(inputs, scale=0.1),
            ".weight_gain": 1 / np.sqrt(W), ".bias_gain": 1, ".activation": "linear"}


def styled(inputs, outputs, size, up, clamp):
    return {"resample_filter": formulas.FILTER.float(), "affine": affine(inputs),
            "weight": tensor(outputs, inputs, 3, 3), "noise_const": tensor(size, size),
            "noise_strength": tensor(), "bias": tensor(outputs, scale=0.3), ".up": up,
            ".conv_clamp": clamp, ".activation": "lrelu", ".act_gain": np.sqrt(2)}


def synthesis(clamp):
    blocks = {}
    for size, outputs in CHANNELS.items():
        block = {"resample_filter": formulas.FILTER.float(), ".architecture": "skip",
                 ".resolution": size, ".in_channels": CHANNELS.get(size // 2, 0)}
        if size == 4:
            block["const"] = tensor(outputs, 4, 4)
        else:
            block["conv0"] = styled(CHANNELS[size // 2], outputs, size, 2, clamp)
        block["conv1"] = styled(outputs, outputs, size, 1, clamp)
        block["torgb"] = {"affine": affine(outputs), "weight": tensor(3, outputs, 1, 1),
                          "bias": tensor(3), ".conv_clamp": clamp,
                          ".weight_gain": 1 / np.sqrt(outputs)}
        blocks[f"b{size}"] = block
    return blocks


def generator(clamp=None, depth=2, multiplier=0.01):
    sizes = [Z] + [7] * (depth - 1) + [W]
    layers = {
        f"fc{i}": {"weight": tensor(b, a) / multiplier, "bias": tensor(b) / multiplier,
                   ".weight_gain": multiplier / np.sqrt(a), ".bias_gain": multiplier,
                   ".activation": "lrelu"}
        for i, (a, b) in enumerate(zip(sizes[:-1], sizes[1:]))
    }
    return {".z_dim": Z, ".c_dim": 0, ".w_dim": W, ".img_channels": 3,
            "synthesis": synthesis(clamp), "mapping": {**layers, "w_avg": tensor(W)}}


def convolution(inputs, outputs, kernel, clamp=None, activation="lrelu", bias=True):
    layer = {"resample_filter": formulas.FILTER.float(), ".conv_clamp": clamp,
             "weight": tensor(outputs, inputs, kernel, kernel), ".activation": activation}
    return layer | ({"bias": tensor(outputs)} if bias else {})


def discriminator(clamp=None, group=2):
    network = {".c_dim": 0, ".img_channels": 3}
    for size in (16, 8):
        a, b = CHANNELS[size], CHANNELS[size // 2]
        block = {"conv0": convolution(a, a, 3, clamp), "conv1": convolution(a, b, 3, clamp),
                 "skip": convolution(a, b, 1, activation="linear", bias=False),
                 ".architecture": "resnet"}
        if size == 16:
            block["fromrgb"] = convolution(3, a, 1, clamp)
        network[f"b{size}"] = block
    network["b4"] = {
        "mbstd": {".group_size": group, ".num_channels": 1},
        "conv": convolution(13, 12, 3, clamp),
        "fc": {"weight": tensor(12, 12 * 16), "bias": tensor(12), ".activation": "lrelu"},
        "out": {"weight": tensor(1, 12), "bias": tensor(1), ".activation": "linear"},
    }
    return network


class Persistent(torch.nn.Module):
    """A module whose pickle is NVIDIA's record, with source code that leaves a trace."""

    def __init__(self, tree, source):
        super().__init__()
        self.tree = {k[1:]: v for k, v in tree.items() if k.startswith(".")}
        self.source = source
        for name, value in tree.items():
            if isinstance(value, dict):
                self.add_module(name, Persistent(value, source))
            elif name in ("w_avg", "resample_filter", "noise_const"):
                self.register_buffer(name, value)
            elif not name.startswith("."):
                self.register_parameter(name, torch.nn.Parameter(value))

    def __reduce__(self):
        from torch_utils.persistence import _reconstruct_persistent_obj

        easy = sys.modules["dnnlib.util"].EasyDict
        state = {k: v for k, v in self.__dict__.items() if k not in ("tree", "source")}
        state |= self.tree | {"_init_args": (), "_init_kwargs": easy(a=1)}
        meta = {"type": "class", "version": 6, "module_src": self.source,
                "class_name": "Network", "state": state}
        return _reconstruct_persistent_obj, (meta,), None


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "trace"


@pytest.fixture
def write(tmp_path, trace, monkeypatch):
    """A function that writes networks as NVIDIA's code does, into a .pkl file."""

    def reconstruct(meta):
        exec(meta["module_src"], {})

    class EasyDict(dict):
        pass

    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    reconstruct.__module__, EasyDict.__module__ = persistence.__name__, util.__name__
    reconstruct.__qualname__, EasyDict.__qualname__ = "_reconstruct_persistent_obj", "EasyDict"
    persistence._reconstruct_persistent_obj, util.EasyDict = reconstruct, EasyDict
    parents = (types.ModuleType("torch_utils"), types.ModuleType("dnnlib"))
    for module in (persistence, util, *parents):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def write(protocol=4, **trees):
        path = tmp_path / "network.pkl"
        source = MODULE_SOURCE.format(str(trace))
        networks = {name: Persistent(tree, source) for name, tree in trees.items()}
        content = {"training_set_kwargs": EasyDict(path="x"), "augment_pipe": None, **networks}
        path.write_bytes(pickle.dumps(content, protocol))
        return path

    return write


def layers_of(tree):
    flat = []
    for block in tree["synthesis"].values():
        for name in ("conv0", "conv1"):
            if name in block:
                layer = block[name]
                flat.append({"style": layer["affine"]["weight"],
                             "style_bias": layer["affine"]["bias"], "weight": layer["weight"],
                             "noise": layer["noise_const"], "strength": layer["noise_strength"],
                             "bias": layer["bias"]})
    return flat


def to_rgb_of(tree):
    return [{"style": b["torgb"]["affine"]["weight"], "style_bias": b["torgb"]["affine"]["bias"],
             "weight": b["torgb"]["weight"], "bias": b["torgb"]["bias"]}
            for b in tree["synthesis"].values()]


@pytest.mark.parametrize("clamp, protocol", [(None, 4), (2.0, 3), (None, 2)])
@torch.no_grad()
def test_generator_renders_what_the_formulas_say(write, trace, clamp, protocol):
    torch.manual_seed(0)
    tree = generator(clamp)
    found = nvidia.read_file(write(protocol, G_ema=tree, D=discriminator()))
    network = nvidia.generator(found["G_ema"])
    assert not trace.exists() and not network.training
    codes = torch.randn(2, 6, W)
    const = tree["synthesis"]["b4"]["const"]
    expected = formulas.synthesis(codes, const, layers_of(tree), to_rgb_of(tree), clamp)
    torch.testing.assert_close(network.synthesis(codes), expected.float(), rtol=1e-4, atol=1e-4)
    if clamp:  # it would show if the bound were left out
        free = formulas.synthesis(codes, const, layers_of(tree), to_rgb_of(tree))
        assert (free - expected).abs().max() > 0.1


@pytest.mark.parametrize("depth, multiplier", [(1, 0.01), (2, 0.01), (8, 0.01), (3, 0.1)])
@torch.no_grad()
def test_mapping_gives_the_codes_of_the_formulas(write, depth, multiplier):
    torch.manual_seed(1)
    tree = generator(depth=depth, multiplier=multiplier)
    network = nvidia.generator(nvidia.read_file(write(G_ema=tree))["G_ema"])
    z = torch.randn(3, Z)
    layers = [(layer["weight"], layer["bias"]) for layer in
              (tree["mapping"][f"fc{i}"] for i in range(depth))]
    expected = formulas.mapping(z, layers, multiplier).float()
    torch.testing.assert_close(network.mapping(z)[:, 3], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.w_avg, tree["mapping"]["w_avg"].expand(6, W))


@pytest.mark.parametrize("clamp, group", [(None, 4), (None, 2), (1.5, 4)])
@torch.no_grad()
def test_discriminator_judges_as_the_formulas_say(write, clamp, group):
    torch.manual_seed(2)
    tree = discriminator(clamp, group)
    network = nvidia.discriminator(nvidia.read_file(write(G_ema=generator(), D=tree))["D"])
    images = torch.randn(4, 3, 16, 16)

    def pair(layer):
        return layer["weight"], layer.get("bias")

    blocks = [[pair(tree[b][name]) for name in ("conv0", "conv1", "skip")] for b in ("b16", "b8")]
    last = tree["b4"]
    expected = formulas.discriminate(images, pair(tree["b16"]["fromrgb"]), blocks,
                                     pair(last["conv"]), pair(last["fc"]), pair(last["out"]),
                                     clamp, group)
    torch.testing.assert_close(network(images), expected.float(), rtol=1e-4, atol=1e-4)


def test_the_file_would_run_code_if_it_were_unpickled(write, trace):
    """What the other tests rely on."""
    path = write(G_ema=generator())
    pickle.loads(path.read_bytes())
    assert trace.exists()


def test_noise_may_be_missing(write):
    tree = generator()
    for key in ("noise_const", "noise_strength"):
        del tree["synthesis"]["b8"]["conv1"][key]
    network = nvidia.generator(nvidia.read_file(write(G_ema=tree))["G_ema"])
    assert [layer.noise_strength.item() == 0 for layer in network.layers] == [False] * 2 + [
        True] + [False] * 2


def put(tree, path, value):
    *parents, last = path.split("/")
    for name in parents:
        tree = tree[name]
    tree[last] = value


@pytest.mark.parametrize("path, value, message", [
    (".c_dim", 10, r"conditional \(on 10 classes\)"),
    ("mapping/.c_dim", 3, "conditional"),
    ("mapping/embed", {"weight": torch.zeros(6, 3), "bias": torch.zeros(6)}, "conditional"),
    ("synthesis/L0_36_8", {"weight": torch.zeros(6, 3)}, "is one of StyleGAN3"),
    ("mapping/fc0/.weight_gain", 10**400, "no gains that are numbers"),
    (".img_channels", 1, "img_channels 1 cannot be read"),
    ("synthesis/b8/.architecture", "resnet", "architecture 'resnet'"),
    ("synthesis/b8/conv1/.activation", "relu", "activation 'relu'"),
    ("synthesis/b8/conv0/.activation", "linear", "b8.conv0.activation 'linear'"),
    ("mapping/fc1/.activation", "swish", "fc1.activation 'swish'"),
    ("synthesis/b8/conv0/affine/.activation", "lrelu", "affine.activation 'lrelu'"),
    ("synthesis/b8/conv0/.conv_clamp", 7.0, "conv_clamp 7.0"),
    ("synthesis/b8/conv0/resample_filter", torch.ones(4, 4), "another filter"),
    ("synthesis/b8/conv0/weight", torch.zeros(9, 9, 3, 3), r"shape \[9, 9, 3, 3\], expected"),
    ("synthesis/b16/strange", torch.zeros(3), "Unknown key 'synthesis.b16.strange'"),
    ("mapping/fc0/.weight_gain", "x", "no gains that are numbers"),
])  # fmt: skip
def test_other_networks_are_refused(write, path, value, message):
    tree = generator()
    put(tree, path, value)
    with pytest.raises(ValueError, match=message):
        nvidia.generator(nvidia.read_file(write(G_ema=tree))["G_ema"])


class Command:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("content, message", [
    (lambda trace: {"G_ema": Command(f"touch {trace}")}, "names 'posix.system', which is not run"),
    (lambda trace: {"G_ema": 3}, "something else where a network should be"),
    (lambda trace: [1, 2], "holds no networks"),
    (lambda trace: {"other": 3}, "holds no network G_ema"),
])  # fmt: skip
def test_other_content_is_refused(tmp_path, trace, content, message):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps(content(trace)))
    with pytest.raises(ValueError, match=message):
        nvidia.read_file(path)
    assert not trace.exists()


def test_attributes_of_what_a_file_names_cannot_be_set(tmp_path):
    """BUILD on a name of the list, by which a file could change what it stands for."""
    path = tmp_path / "network.pkl"
    path.write_bytes(b"ctorch._utils\n_rebuild_tensor_v2\n}(Vname\nVos.system\nub.")
    with pytest.raises(ValueError, match="changes torch._utils._rebuild_tensor_v2"):
        nvidia.read_file(path)


def test_memo_indices_reserve_no_memory(tmp_path):
    """In the C unpickler this file of 10 bytes asks for tens of gigabytes."""
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.PROTO + b"\x04}" + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f.")
    with pytest.raises(ValueError, match="holds no network G_ema"):
        nvidia.read_file(path)


def test_networks_that_contain_themselves_are_refused(write):
    """A record doubled at every level, 2^40 modules in a file of a few kilobytes."""
    node = records.Call(records.PERSISTENT, ({"state": {
        "_parameters": {}, "_buffers": {}, "_modules": {}}},))
    for _ in range(40):
        node = records.Call(records.PERSISTENT, ({"state": {
            "_parameters": {}, "_buffers": {}, "_modules": {"a": node, "b": node}}},))
    with pytest.raises(records.RecordError, match="refers to itself"):
        nvidia.network(records.Record.of(node), 0)


def test_tensors_larger_than_their_numbers_are_refused():
    stored = records.Call("torch.storage._load_from_bytes", (pickle.dumps(1),))
    with pytest.raises(records.RecordError, match="damaged tensor"):
        records.view(stored, 0, (2,), (1,))
    data = next(arg for op, arg, _ in pickletools.genops(pickle.dumps(torch.zeros(4)))
                if isinstance(arg, bytes))
    stored = records.Call("torch.storage._load_from_bytes", (data,))
    assert records.view(stored, 0, (2, 2), (2, 1)).shape == (2, 2)
    with pytest.raises(records.RecordError, match="larger than its numbers"):
        records.view(stored, 0, (10**9,), (0,))


def test_discriminator_of_another_kind_is_left_out(write, tmp_path, monkeypatch):
    """As projected GANs and those of --cfg=cifar have them."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "models"))
    strange = discriminator()
    strange["b8"][".architecture"] = "orig"
    with pytest.warns(UserWarning, match="imported without its discriminator: .*architecture"):
        names = importing.import_file(write(G_ema=generator(), D=strange), "new")
    assert names == ["new"]


def test_networks_of_tensorflow_say_what_to_do(tmp_path):
    path = tmp_path / "network.pkl"
    path.write_bytes(b"cdnnlib.tflib.network\nNetwork\n.")
    path.write_bytes(b"\x80\x03cdnnlib.tflib.network\nNetwork\n.")
    with pytest.raises(ValueError, match="is a network of TensorFlow: convert it by legacy.py"):
        importing.import_file(path, "new")


def test_a_storage_that_is_named_often_takes_no_memory(write):
    """Each tensor is a copy: 200 of one storage would be 200 times the file."""
    shared = torch.zeros(1000)
    tree = generator()
    for i in range(200):
        tree["synthesis"]["b16"][f"x{i}"] = {"noise_const": shared}
    path = write(G_ema=tree)
    with pytest.raises(ValueError, match="more numbers than it has bytes"):
        nvidia.read_file(path)


@pytest.mark.parametrize("size", ["ab", [3], ("ab", 10**11), ([0], 10**11), (-1, -1), (0, 10**30)])
def test_sizes_that_are_no_numbers_reserve_no_memory(size):
    data = io.BytesIO()
    torch.save(torch.zeros(4).untyped_storage(), data)
    stored = records.Call("torch.storage._load_from_bytes", (data.getvalue(),))
    node = records.Call("torch._utils._rebuild_tensor", (stored, 0, size, (1, 1)))
    with pytest.raises(records.RecordError):
        records.tensor(node)
    with pytest.raises(records.RecordError, match="bytes"):
        records.as_bytes(10**11)
