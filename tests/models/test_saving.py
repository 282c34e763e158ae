"""Saving a model is one step: killed at any moment, or read meanwhile, it is the old or the new."""

import json
import os
import random
import signal
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from idinvert import models
from idinvert.boundaries import Boundary
from idinvert.models import store
from idinvert.nn.stylegan import Generator

SETTINGS = {"resolution": 8, "channel_base": 32, "channel_max": 8, "z_dim": 4, "w_dim": 4}
FILES = ["own.json", "own.safetensors"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture
def two(folder):
    """Two generators, the first one saved as "own"."""
    torch.manual_seed(0)
    networks = [Generator(**SETTINGS), Generator(**SETTINGS)]
    for network, value in zip(networks, (1.0, 2.0)):
        network.const.data.fill_(value)
    models.save("own", networks[0])
    return networks


def in_child(work):
    """Process number of a child that works until it is killed."""
    child = os.fork()
    if child:
        return child
    try:
        while True:
            work()
    finally:
        os._exit(1)


def is_whole():
    """Whether "own" is one of the two models; an error of loading is one of the test."""
    store.kept.clear()
    card, network = store.read_network("own")
    return torch.equal(network.const, torch.full_like(network.const, card["value"]))


def save_in_turn(two):
    for value, network in zip((1.0, 2.0), two):
        models.save("own", network, value=value)


def test_a_killed_save_leaves_the_old_model_or_the_new(two, folder):
    models.save("own", two[0], value=1.0)
    rng = random.Random(0)
    for _ in range(30):
        child = in_child(lambda: save_in_turn(two))
        time.sleep(rng.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert is_whole()
    models.save("own", two[1], value=2.0)
    assert sorted(path.name for path in folder.iterdir()) == FILES  # nothing is left over


def test_who_reads_during_saves_by_two_processes_finds_one_model(two):
    models.save("own", two[0], value=1.0)
    children = [in_child(lambda: save_in_turn(two)) for _ in range(2)]
    try:
        assert all(is_whole() for _ in range(50))
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


@pytest.mark.parametrize("moment", ["weights", "card"])
def test_a_crash_between_two_steps(two, folder, monkeypatch, moment):
    """After the new weights, the old model is there; after the new card, the new one."""
    def crash(path, *_):
        raise KeyboardInterrupt

    models.save("own", two[0], value=1.0)
    if moment == "weights":
        real = store.replacing
        monkeypatch.setattr(store, "replacing",
                            lambda path: crash(path) if path.suffix == ".json" else real(path))
    else:
        monkeypatch.setattr(store, "settle", crash)
    with pytest.raises(KeyboardInterrupt):
        models.save("own", two[1], value=2.0)
    assert models.load("own").const.min() == (1 if moment == "weights" else 2)
    assert models.digest("own") == models.card("own")["sha256"]


def test_files_have_the_permissions_of_new_files(two, folder):
    mask = os.umask(0o027)
    try:
        models.save("shared", two[0])
    finally:
        os.umask(mask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("shared.*")}
    assert modes == {0o640}


def test_several_processes_may_add_boundaries_at_once(two):
    children = []
    for i in range(4):
        child = os.fork()
        if not child:
            try:
                fitted = Boundary(f"b{i}", torch.ones(4, 4) / 4, 0.0, (0, 1, 2, 3))
                models.save_boundaries("own", [fitted], add=True)
            finally:
                os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(models.load_boundaries("own")) == ["b0", "b1", "b2", "b3"]


def test_what_is_stored_relative_to_another_model_while_that_is_replaced(two, monkeypatch):
    """Whichever is first: the difference is kept with what it is from, or stored whole."""
    def slowly(*arguments, real=store.codec.stored):
        time.sleep(0.3)
        return real(*arguments)

    monkeypatch.setattr(store.codec, "stored", slowly)
    with ThreadPoolExecutor(2) as pool:
        child = pool.submit(models.save, "child", two[1], relative_to="own")
        time.sleep(0.1)
        other = pool.submit(models.save, "own", Generator(**SETTINGS))
        child.result(), other.result()
    store.kept.clear()
    assert torch.equal(models.load("child").const, two[1].const)


@pytest.mark.filterwarnings("error")
def test_boundaries_stay_those_of_a_difference_that_is_stored_whole(two):
    """Though its file is another one then, its codes are what they were."""
    models.save("child", two[1], relative_to="own")
    one, other = (Boundary(name, torch.ones(4, 4) / 4, 0.0, (0, 1, 2, 3), generator=generator)
                  for name, generator in (("age", None), ("old", "0" * 64)))
    models.save_boundaries("child", [one, other])
    models.save("own", Generator(**SETTINGS))
    found = models.load_boundaries("child")
    assert found["age"].generator == models.digest("child")
    assert found["old"].generator == other.generator


def test_what_a_difference_is_from_is_replaced_while_it_is_read(two, monkeypatch):
    """The difference would be added to other weights."""
    def replace(name, real=store.check_chain):
        monkeypatch.setattr(store, "check_chain", real)
        two[0].const.data.fill_(3)
        models.save("own", two[0])
        real(name)

    models.save("child", two[1], relative_to="own")
    store.kept.clear()
    monkeypatch.setattr(store, "check_chain", replace)
    assert torch.equal(models.load("child").const, two[1].const)
    assert "relative_to" not in models.card("child")


def test_a_model_is_saved_over_one_whose_card_is_damaged(two, folder):
    """Else what a training has made would be lost for it."""
    (folder / "own.json").write_text("{")
    models.save("own", two[1], value=2.0)
    assert is_whole() and models.card("own")["value"] == 2


def test_a_model_may_be_relative_to_none(two, folder):
    card = json.loads((folder / "own.json").read_text())
    (folder / "own.json").write_text(json.dumps(card | {"relative_to": None}))
    store.kept.clear()
    assert torch.equal(models.load("own").const, two[0].const)
