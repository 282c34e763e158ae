"""Whatever a file holds, it is read or refused in one sentence, and nothing in it is run."""

import io
import os
import pickle
import resource
import warnings
import zipfile

import numpy as np
import pytest
import test_convert_boundaries
import test_nvidia
import test_rosinality
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from idinvert import models
from idinvert.models import importing, pretrained
from idinvert.models.importers import boundaries, nvidia, states
from idinvert.nn.architecture import build
from test_nvidia import trace, write  # noqa: F401

LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(
    max_size=5)
PLAIN = st.recursive(LEAF, lambda part: st.lists(part, max_size=3) | st.dictionaries(
    st.text(max_size=12) | st.sampled_from(["G_ema", "D", "boundary", "meta_data"]), part,
    max_size=3), max_leaves=8)
EDITS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6)
CUT = st.none() | st.integers(0, 10**6)
FIXED = settings(max_examples=80, deadline=None, derandomize=True,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


class Run:
    """A pickle that creates a file as it is read, in one of several ways."""

    def __init__(self, path, way):
        self.path, self.way = str(path), way

    def __reduce__(self):
        return {
            "system": (os.system, (f"touch {self.path}",)),
            "open": (open, (self.path, "w")),
            "eval": (eval, (f"open({self.path!r}, 'w')",)),
            "load": (torch.load, (self.path,)),
        }[self.way]


class Files(dict):
    def __repr__(self):
        return "files"  # not their content


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The content of a sound file of each format."""
    torch.manual_seed(0)
    checkpoint, boundary = io.BytesIO(), io.BytesIO()
    torch.save({"g_ema": test_rosinality.generator(1)}, checkpoint)
    np.save(boundary, {"boundary": test_convert_boundaries.NORMAL, "meta_data": {}})
    return Files({".pt": checkpoint.getvalue(), ".npy": boundary.getvalue()})


def changed(content, edits, cut):
    data = bytearray(content)
    for position, value in edits:
        data[position % len(data)] = value
    return bytes(data if cut is None else data[: cut % len(data)])


def refused_or_read(path, folder):
    """Import a file; the error, if there is one, is a sentence. Returns whether it was read."""
    before = sorted(folder.iterdir())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importing.import_file(path, "own", replace=True)
        return True
    except ValueError as error:
        assert str(error).endswith(".") and "\n" not in str(error), str(error)
        return False
    finally:
        assert sorted(folder.iterdir()) == before


@pytest.fixture
def registry(tmp_path, monkeypatch):
    folder = tmp_path / "registry"
    monkeypatch.setenv("IDINVERT_MODELS", str(folder))
    torch.manual_seed(0)
    settings = {"resolution": 16, "z_dim": 4, "w_dim": 4, "channel_base": 64, "channel_max": 4}
    models.save("own", build("stylegan2.Generator", settings))
    return folder


@pytest.mark.parametrize("suffix", [".pt", ".npy"])
@FIXED
@given(edits=EDITS, cut=CUT)
def test_damaged_files(files, tmp_path, registry, suffix, edits, cut):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(changed(files[suffix], edits, cut))
    refused_or_read(path, tmp_path)


@FIXED
@given(edits=EDITS, cut=CUT)
def test_damaged_nvidia_files(write, trace, registry, tmp_path, edits, cut):  # noqa: F811
    path = tmp_path / "network.pkl"
    if not (tmp_path / "sound.pkl").exists():
        torch.manual_seed(0)
        (tmp_path / "sound.pkl").write_bytes(write(G_ema=test_nvidia.generator()).read_bytes())
    path.write_bytes(changed((tmp_path / "sound.pkl").read_bytes(), edits, cut))
    refused_or_read(path, tmp_path)
    assert not trace.exists()


@FIXED
@given(data=st.binary(max_size=60))
def test_any_pickle_opcodes(tmp_path, data):
    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.PROTO + b"\x04" + data)
    with pytest.raises(ValueError, match=r"no readable NVIDIA file: .*\.$"):
        nvidia.read_file(path)


@pytest.mark.parametrize("way", ["system", "open", "eval", "load"])
@FIXED
@given(around=PLAIN, protocol=st.integers(2, 5))
def test_code_anywhere_in_a_pickle(tmp_path, way, around, protocol):
    ran, path = tmp_path / "ran", tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps({"G_ema": around, "x": [around, Run(ran, way)]}, protocol))
    with pytest.raises(ValueError, match="names .* which is not run"):
        nvidia.read_file(path)
    np.save(tmp_path / "age.npy", {"boundary": around, "x": Run(ran, way)})
    with pytest.raises(ValueError, match="names .* which is not run"):
        boundaries.read_file(tmp_path / "age.npy")
    torch.save({"g_ema": around, "x": Run(ran, way)}, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="not a PyTorch file of plain tensors"):
        importing.import_file(tmp_path / "file.pt", "own")
    assert not ran.exists()


@FIXED
@given(content=PLAIN)
def test_any_plain_content(tmp_path, registry, content):
    path = tmp_path / "file"
    path.write_bytes(pickle.dumps(content, 4))
    assert not refused_or_read(path, tmp_path)
    torch.save(content, path)
    assert not refused_or_read(path, tmp_path)
    np.save(tmp_path / "file.npy", np.array(content, dtype=object), allow_pickle=True)
    assert not refused_or_read(tmp_path / "file.npy", tmp_path)


@pytest.mark.parametrize("changes, message", [
    ({"input.input": torch.zeros(1).expand(1, 10**6, 4, 4)}, "'input.input' holds no plain tensor"),
    ({"input.input": torch.zeros(1, 4, 4, 4, device="meta")}, "no plain tensor"),
    ({"strange": torch.zeros(4, 4).to_sparse()}, "no plain tensor"),
    ({"input.input": torch.zeros(1, 4096 * 65, 0, 4)}, "which no network has"),
    ({"to_rgbs.60.bias": torch.zeros(1, 3, 1, 1)}, "px, larger than 4096"),
    ({"to_rgbs.1000000000000.bias": torch.zeros(1)}, "has the number 100000000, not one up to 64"),
    ({"style.65.weight": torch.zeros(6, 6)}, "has the number 65, not one up to 64"),
    ({3: torch.zeros(1)}, "no state dict under g_ema"),
], ids=str)  # fmt: skip
def test_small_files_that_ask_for_much(tmp_path, registry, changes, message):
    """Refused before a network is built."""
    path = tmp_path / "network.pt"
    torch.save({"g_ema": test_rosinality.generator() | changes}, path)
    with pytest.raises(ValueError, match=message):
        importing.import_file(path, "new")
    torch.save(test_rosinality.generator() | changes, path)
    with pytest.raises(ValueError, match=r"\.$"):
        importing.import_file(path, "new")


def test_files_for_which_memory_is_short_are_not_damaged(tmp_path, registry, monkeypatch,
                                                         write):  # noqa: F811
    def short(*_, **__):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1")

    torch.save({"g_ema": test_rosinality.generator()}, tmp_path / "network.pt")
    pickled = write(G_ema=test_nvidia.generator())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", short)
        for path in (tmp_path / "network.pt", pickled):
            with pytest.raises(ValueError, match="it asks for more memory than there is"):
                importing.import_file(path, "new")
    monkeypatch.setattr("idinvert.models.importers.states.convert", short)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        importing.import_file(tmp_path / "network.pt", "new")


def test_one_tensor_under_many_names_is_not_a_large_network(tmp_path, registry, monkeypatch):
    """A file of 150 MB could hold a network of 3 GB."""
    shared = {}
    state = {key: shared.setdefault(value.shape, value)
             for key, value in test_rosinality.generator().items()}
    torch.save({"g_ema": state}, tmp_path / "network.pt")
    monkeypatch.setattr(states, "MOST", 1000)
    with pytest.raises(ValueError, match="The generator has 7.*e.03 numbers, more than the 1e.03 "):
        importing.import_file(tmp_path / "network.pt", "new")


def test_long_names_are_not_told_in_full(tmp_path, registry):
    state = test_rosinality.generator() | {"x" * 10**5: torch.zeros(1)}
    torch.save({"g_ema": state}, tmp_path / "network.pt")
    with pytest.raises(ValueError, match="Unknown key 'x{80}' of shape"):
        importing.import_file(tmp_path / "network.pt", "new")


def test_half_precision_is_read(tmp_path, registry):
    state = {key: value.half() for key, value in test_rosinality.generator().items()}
    torch.save({"g_ema": state, "latent_avg": torch.zeros(6).half()}, tmp_path / "network.pt")
    assert importing.import_file(tmp_path / "network.pt", "new") == ["new"]
    assert models.load("new").w_avg.dtype == torch.float32


def nested(end, depth=300_000):
    """The opcodes of tuples in tuples, as a key of what `end` makes."""
    return b"N" + b"\x85" * depth + end


@pytest.mark.parametrize("content", [
    b"}" + nested(b"Ns"), b"}(" + nested(b"Nu"), b"(" + nested(b"Nd"),
    b"\x8f(" + nested(b"\x90"), b"(" + nested(b"\x91"),
    b"ccollections\nOrderedDict\n(](" + nested(b"N\x86etR"),
], ids=["item", "items", "dictionary", "set", "frozen", "ordered"])  # fmt: skip
def test_keys_that_would_end_the_process(tmp_path, content):
    """Tuples in tuples as a key: hashing them recurses without end."""
    path = tmp_path / "network.pkl"
    path.write_bytes(b"\x80\x04" + content + b".")
    with pytest.raises(ValueError, match="other keys than names and numbers"):
        nvidia.read_file(path)


def torch_file(path, pickled, compress=zipfile.ZIP_STORED):
    """A PyTorch file with this pickle in it."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in parts.items():
            archive.writestr(name, pickled if name.endswith("data.pkl") else content)


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("content, message", [
    (b"}" + nested(b"Ns"), "other keys than names and numbers"),
    (b"ccollections\nCounter\n(](" + nested(b"etR"), "other keys"),
    (b"c__builtin__\nset\n(](" + nested(b"etR"), "other keys"),
    (b"cbuiltins\nbytearray\n(L100000000000L\ntR", "names 'builtins.bytearray'"),
    (b"ctorch\nTensor\n(L100000000000L\ntR", "names 'torch.Tensor'"),
    (b"ctorch.storage\nUntypedStorage\n(L100000000000L\ntR", "no whole pickle"),
    (b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nL100000000000L\nNtQ", "more numbers than"),
    (b"ctraining.networks\nGenerator\n)R", "an object whose code is not run: save its state_dict"),
], ids=["key", "counter", "set", "bytes", "tensor", "storage", "size", "object"])  # fmt: skip
def test_torch_files_are_checked_before_they_are_read(tmp_path, content, message, old):
    """In this process: what `torch.load` makes of them would end it, or take 100 GB."""
    path, pickled = tmp_path / "network.pt", b"\x80\x02" + content + b"."
    if old:
        start = [pickle.dumps(x, 2) for x in (0x1950a86a20f9469cfc6c, 1001, {})]
        path.write_bytes(b"".join(start) + pickled + pickle.dumps([], 2))
    else:
        torch_file(path, pickled)
    with pytest.raises(ValueError, match=message):
        importing.import_file(path, "own")
    with pytest.raises(pretrained.PretrainedError, match="network.pt is not"):
        pretrained.load_vgg16(path=path)


def test_compressed_torch_files_are_refused(tmp_path):
    """A file of a megabyte could hold a gigabyte."""
    torch_file(tmp_path / "network.pt", b"\x80\x02" + b"N0" * 10**6 + b"}.", zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed, which PyTorch's files are not"):
        importing.import_file(tmp_path / "network.pt", "own")


def test_nothing_is_built_before_all_keys_fit(tmp_path, registry):
    """Four keys of a network of 4096 channels, which would take 13 GB."""
    state = test_rosinality.generator() | {
        "input.input": torch.zeros(1, 4096, 4, 4), "to_rgbs.9.bias": torch.zeros(1, 3, 1, 1),
        "to_rgbs.9.conv.weight": torch.zeros(1, 3, 4096, 1, 1)}
    torch.save({"g_ema": state}, tmp_path / "network.pt")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="Key '.*' has shape"):
        importing.import_file(tmp_path / "network.pt", "new")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("content, message", [
    (b"<!DOCTYPE html><html>", "is a web page: the download did not give the file"),
    (b"\n<html lang=en>", "is a web page"),
    (b"version https://git-lfs.github.com/spec/v1\n", "run git lfs pull"),
    (b"\x89HDF\r\n\x1a\n", "HDF5 file, as Keras writes"),
    (b"\x1f\x8b\x08", "compressed by gzip"),
    (b"", "is empty"),
    (b'\x40\0\0\0\0\0\0\0{"__metadata__"', "is a safetensors file"),
    ({"unet": {"down_blocks.0.x": torch.zeros(1)}}, "is a network of diffusers"),
    ({"synthesis.L0_36_8.weight": torch.zeros(1)}, "is a StyleGAN3 generator"),
    ({"synthesis.b4.const": torch.zeros(1)}, "import the .pkl"),
], ids=str)  # fmt: skip
def test_what_a_file_is_and_what_to_do_is_said(tmp_path, registry, content, message):
    path = tmp_path / "file"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        importing.import_file(path, "new")
    with pytest.raises(ValueError, match="is a folder: name the file"):
        importing.import_file(tmp_path, "new")


def test_whatever_an_importer_raises_is_one_sentence(tmp_path, registry, monkeypatch):
    torch.save({"g_ema": test_rosinality.generator()}, tmp_path / "network.pt")
    monkeypatch.setattr("idinvert.models.importers.states.convert", lambda *_: 1 // 0)
    with pytest.raises(ValueError, match="network.pt is damaged, or no file of rosinality.*zero"):
        importing.import_file(tmp_path / "network.pt", "new")
