"""The registry gives back what was saved, and says in one sentence what is wrong with a file."""

import json
import lzma
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from idinvert import boundaries, models
from idinvert.models import cards, codec, store
from idinvert.nn import stylegan
from safetensors.torch import load_file, save_file
from torch.nn.utils import prune

SETTINGS = {"resolution": 8, "channel_base": 32, "channel_max": 8, "z_dim": 4, "w_dim": 4}


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path))
    torch.manual_seed(0)
    generator = stylegan.Generator(**SETTINGS)
    models.save("face-tiny", generator, kind="gan", seed=3)
    return generator


def test_load_gives_the_half_precision_of_what_was_saved(saved):
    loaded = models.load("face-tiny")
    for name, value in saved.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value.half().float(), rtol=0, atol=0)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("bits", [8, 5, 4.5])
def test_few_bits_keep_every_weight_within_their_bound(saved, bits):
    """Off by at most half a step of the largest weight of the row; vectors are float16."""
    card = models.save("small", saved, bits=bits)
    assert card["bits"] == bits
    loaded = models.load("small").state_dict()
    for name, value in saved.state_dict().items():
        if value.ndim < 2:
            torch.testing.assert_close(loaded[name], value.half().float(), rtol=0, atol=0)
            continue
        rows = value.flatten(1)
        bound = rows.abs().amax(1, keepdim=True) / (2**bits - 2) + 1e-7
        assert ((loaded[name].flatten(1) - rows).abs() <= bound).all()
    packed = codec.stored(torch.nn.Linear(400, 400).state_dict(), torch.float16, bits)["weight"]
    assert packed.dtype == torch.uint8 and packed.numel() < 1.02 * 400 * 400 * bits / 8


def test_few_bits_store_what_they_gave_again():
    """What was read and is saved again is the same: a zoo that is copied does not lose anything."""
    torch.manual_seed(0)
    once = codec.unpacked(codec.packed({"weight": torch.randn(4, 3, 2)}, 5))
    again = codec.unpacked(codec.packed(once, 5))
    torch.testing.assert_close(again["weight"], once["weight"])
    assert again["weight"].shape == (4, 3, 2)


def child_of(saved):
    """A network that is a small step away from a saved one."""
    child = stylegan.Generator(**SETTINGS)
    child.load_state_dict({key: value + 1e-3 * torch.randn_like(value)
                           for key, value in saved.state_dict().items()})
    return child


def test_a_difference_in_few_bits_is_nearer_than_the_whole(saved, tmp_path):
    child = child_of(saved)
    errors = {}
    for name, other in (("whole", None), ("difference", "face-tiny")):
        models.save(name, child, bits=4, relative_to=other)
        loaded = models.load(name).state_dict()
        errors[name] = max((loaded[key] - value).abs().max()
                           for key, value in child.state_dict().items() if value.ndim > 1)
    assert errors["difference"] < 0.01 * errors["whole"]
    models.save("same", models.load("face-tiny"), bits=4,
                 relative_to="face-tiny")
    for key, value in models.load("face-tiny").state_dict().items():
        assert torch.equal(models.load("same").state_dict()[key], value)


def test_a_difference_is_as_fine_as_the_whole_as_far_as_8_bits_go(saved):
    """A model that has gone far from the one it began as keeps the precision of the others."""
    torch.manual_seed(7)
    far = stylegan.Generator(**SETTINGS)
    models.save("far", far, bits=7, relative_to="face-tiny",
                 difference_bits=3)
    loaded, old = models.load("far").state_dict(), models.load("face-tiny").state_dict()
    for name, value in far.state_dict().items():
        if value.ndim > 1:
            rows, found = value.flatten(1), loaded[name].flatten(1)
            whole = rows.abs().amax(1, keepdim=True) / (2**7 - 2)
            eight = (rows - old[name].flatten(1)).abs().amax(1, keepdim=True) / (2**8 - 2)
            assert ((found - rows).abs() <= whole.maximum(eight) * 1.0001 + 1e-6).all()


def test_what_a_difference_is_from_may_be_missing(saved, tmp_path):
    """The error names both; and what cannot be read does not keep the other from being saved."""
    models.save("child", child_of(saved), relative_to="face-tiny")
    (tmp_path / "child.safetensors").write_bytes(b"damaged")
    models.save("face-tiny", stylegan.Generator(**SETTINGS))
    assert models.load("face-tiny") and (tmp_path / "child.safetensors").read_bytes() == b"damaged"
    models.save("child", child_of(saved), relative_to="face-tiny")
    for end in ("json", "safetensors"):
        (tmp_path / f"face-tiny.{end}").unlink()
    with pytest.raises(models.ModelsError, match="child is stored as the difference from a face"):
        models.load("child")


def test_a_difference_from_itself_is_refused(saved, tmp_path):
    models.save("child", child_of(saved), relative_to="face-tiny")
    path = tmp_path / "face-tiny.json"
    card = json.loads(path.read_text())
    for name in ("face-tiny", "child"):
        card["relative_to"] = {"name": name, "sha256": models.card(name)["sha256"]}
        path.write_text(json.dumps(card))
        with pytest.raises(models.ModelsError, match="face-tiny is stored as the difference from "
                                                     "itself: fetch it again"):
            models.load("face-tiny")


def test_a_difference_outlives_the_model_that_it_is_from(saved, tmp_path):
    """Before another model takes that one's place it is stored whole; it is refused if the file
    was replaced by other means."""
    models.save("child", child_of(saved), bits=4, seed=5,
                 relative_to="face-tiny")
    before = models.load("child").state_dict()
    models.save("face-tiny", stylegan.Generator(**SETTINGS))
    after, card = models.load("child").state_dict(), models.card("child")
    for key, value in before.items():
        torch.testing.assert_close(after[key], value, rtol=1e-3, atol=1e-6)
    assert card["seed"] == 5 and "relative_to" not in card and "bits" not in card

    models.save("child", child_of(saved), relative_to="face-tiny")
    old = (tmp_path / "face-tiny.json").read_text()
    models.save("other", saved)
    for end in ("json", "safetensors"):
        (tmp_path / f"other.{end}").replace(tmp_path / f"face-tiny.{end}")
    assert (tmp_path / "face-tiny.json").read_text() != old
    with pytest.raises(models.ModelsError, match="child is stored as the difference from a face"):
        models.load("child")
    models.save("face-tiny", saved)  # is not kept from training


def test_few_bits_of_zeros_are_zeros():
    state = {"weight": torch.zeros(2, 3), "count": torch.tensor(4)}
    again = codec.unpacked(codec.packed(state, 8))
    assert torch.equal(again["weight"], state["weight"]) and again["count"] == 4
    with pytest.raises(ValueError, match="from 2 to 8, not 1"):
        codec.packed(state, 1)


def test_scales_without_a_shape_are_not_overlooked(saved, tmp_path):
    """An older form of few bits is refused; its whole numbers are not taken for weights."""
    path = tmp_path / "face-tiny.safetensors"
    state = load_file(path)
    key = next(key for key, value in state.items() if value.ndim == 4)
    state |= {key: state[key].to(torch.int8), f"{key}|scales": torch.ones(len(state[key]))}
    save_file(state, path)
    card = json.loads((tmp_path / "face-tiny.json").read_text())
    card["sha256"] = models.file_sha256(path)
    (tmp_path / "face-tiny.json").write_text(json.dumps(card))
    with pytest.raises(models.ModelsError, match=r"unknown key .*\|scales"):
        models.load("face-tiny")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_layers_that_share_a_weight_are_stored_each(saved, dtype):
    first, second = saved.mapping.dense[:2]
    second.weight = first.weight
    models.save("sharing", saved, dtype=dtype)
    loaded = models.load("sharing").mapping.dense
    assert torch.equal(loaded[0].weight, loaded[1].weight)
    torch.testing.assert_close(loaded[0].weight, first.weight.to(dtype).float())


def test_a_damaged_stream_is_answered_in_a_sentence(saved, tmp_path):
    models.save("small", saved, bits=5)
    path = tmp_path / "small.safetensors"
    state = load_file(path)
    key = next(key for key, value in state.items() if value.dtype == torch.uint8)
    save_file(state | {key: state[key][:-20].clone()}, path)
    with pytest.raises(models.ModelsError, match="small.safetensors is not a readable"):
        models.read(path)


def test_card_keeps_the_facts(saved):
    card = models.card("face-tiny")
    assert (card["seed"], card["kind"]) == (3, "gan")
    assert card["parameters"] == sum(p.numel() for p in saved.parameters())
    assert card["settings"] == saved.settings and saved.settings.items() >= SETTINGS.items()
    assert card["architecture"] == "stylegan.Generator"


def test_unknown_name_is_answered_with_the_nearest(saved):
    with pytest.raises(models.ModelsError, match=r"'face-tini'.*face-tiny"):
        models.load("face-tini")


def test_altered_file_is_refused(saved, tmp_path):
    path = tmp_path / "face-tiny.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(models.ModelsError, match="not the file that its card describes"):
        models.load("face-tiny")


def test_truncated_file_without_a_hash_is_refused(saved, tmp_path):
    path = tmp_path / "face-tiny.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(models.ModelsError, match="not a readable safetensors file"):
        models.read(path)


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("const"), "lacks const"),
    (lambda s: s.update(extra=torch.zeros(1)), "unknown key extra"),
    (lambda s: s.update(const=torch.zeros(1, 9, 4, 4)), r"const has shape \[1, 9, 4, 4\]"),
])  # fmt: skip
def test_weights_of_another_shape_name_the_key(saved, tmp_path, change, message):
    path = tmp_path / "face-tiny.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path)
    card = tmp_path / "face-tiny.json"
    described = json.loads(card.read_text()) | {"sha256": models.file_sha256(path)}
    card.write_text(json.dumps(described))
    with pytest.raises(models.ModelsError, match=message):
        models.load("face-tiny")


def test_boundaries_are_found_by_the_name_of_their_generator(saved, tmp_path):
    with pytest.raises(models.ModelsError, match="face-tiny has no boundaries"):
        models.load_boundaries("face-tiny")
    with pytest.raises(models.ModelsError, match=r"'face-tini'.*face-tiny"):
        models.load_boundaries("face-tini")
    age = boundaries.Boundary("age", torch.ones(2, 4) / 8**0.5, 0.5, (0, 1))
    boundaries.save([age], tmp_path / "face-tiny-boundaries.safetensors")
    found = models.load_boundaries("face-tiny")
    assert list(found) == ["age"] and torch.equal(found["age"].normal, age.normal)
    assert models.names() == ["face-tiny"]


def test_unknown_architecture(saved, tmp_path):
    card = json.loads((tmp_path / "face-tiny.json").read_text())
    (tmp_path / "face-tiny.json").write_text(json.dumps(card | {"architecture": "stylegan9.X"}))
    with pytest.raises(models.ModelsError, match="card of face-tiny .*stylegan9.X"):
        models.load("face-tiny")


def test_networks_of_unknown_classes_are_not_saved(saved):
    with pytest.raises(models.ModelsError, match="Linear cannot be saved"):
        models.save("layer", torch.nn.Linear(2, 2))


def test_nothing_is_read_twice_until_it_changes(saved, monkeypatch):
    models.save("child", child_of(saved), relative_to="face-tiny")
    first, other = models.load("child"), models.load("face-tiny")
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read again"))
    again = models.load("child")
    for key, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[key], value)
    assert models.digest("face-tiny") == models.card("face-tiny")["sha256"] == \
        models.loaded["face-tiny"]
    monkeypatch.setattr(Path, "read_bytes", real)
    with torch.no_grad():
        other.const.add_(1)
    models.save("child", other)
    assert torch.equal(models.load("child").const, other.const.half().float())


def test_a_loaded_network_is_the_caller_s_own(saved):
    changed = models.load("face-tiny")
    with torch.no_grad():
        changed.const.fill_(7)
    changed.train().requires_grad_(True)
    again = models.load("face-tiny")
    assert not (again.const == 7).any() and not again.training
    assert not any(p.requires_grad for p in again.parameters())


def test_loading_uses_up_no_random_numbers(saved):
    store.kept.clear()
    torch.manual_seed(3)
    models.load("face-tiny")
    drawn = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(2), drawn)


def test_models_are_looked_for_in_order(saved, tmp_path, monkeypatch):
    """`$IDINVERT_MODELS` comes before what the package brings; without it, checkout and cache."""
    shipped, checkout, cache = tmp_path / "shipped", tmp_path / "checkout", tmp_path / "cache"
    monkeypatch.setattr(cards, "SHIPPED", shipped)
    shipped.mkdir()
    for end in ("json", "safetensors"):
        (tmp_path / f"face-tiny.{end}").rename(shipped / f"face-tiny.{end}")
    assert models.names() == ["face-tiny"] and models.load("face-tiny")
    models.save("face-tiny", child_of(saved), seed=4)
    assert models.card("face-tiny")["seed"] == 4 and models.folder() == tmp_path

    monkeypatch.delenv("IDINVERT_MODELS")
    monkeypatch.setenv("IDINVERT_CACHE", str(cache))
    monkeypatch.setattr(cards, "CHECKOUT", checkout)
    assert models.card("face-tiny")["seed"] == 3 and models.folder() == cache / "models"
    models.save("mine", saved)
    checkout.mkdir()
    assert models.names() == ["face-tiny", "mine"] and models.folder() == checkout
    models.save("mine", saved, seed=5)
    assert models.card("mine")["seed"] == 5 and (checkout / "mine.json").exists()

    monkeypatch.setenv("IDINVERT_WEIGHTS", str(tmp_path))  # the variable's old name
    assert models.folder() == tmp_path and models.card("face-tiny")["seed"] == 4
    monkeypatch.setenv("IDINVERT_MODELS", "here")
    monkeypatch.chdir(tmp_path)
    assert models.folder() == tmp_path / "here"
    monkeypatch.setenv("IDINVERT_MODELS", "/w")
    assert models.folder() == Path("/w")


def test_a_damaged_card_is_named(saved, tmp_path):
    (tmp_path / "face-tiny.json").write_text('{"name": ')
    with pytest.raises(models.ModelsError, match="face-tiny.json is no card of a model"):
        models.load("face-tiny")
    (tmp_path / "face-tiny.json").write_text("[]")
    with pytest.raises(models.ModelsError, match="face-tiny.json is no card of a model"):
        models.load("face-tiny")


def test_pipes_and_links_to_nothing_are_no_models(own_registry, tmp_path):
    """Nothing waits for what a pipe may bring."""
    place = tmp_path / "weights"
    for end in ("json", "safetensors"):
        os.mkfifo(place / f"pipe.{end}")
        (place / f"link.{end}").symlink_to("nowhere")
        (place / f"named.{end}").symlink_to(f"own.{end}")
    assert models.names() == ["named", "own", "own-base"]
    assert not models.exists("pipe") and not models.exists("link") and models.exists("named")
    with pytest.raises(models.ModelsError, match="Unknown model 'pipe'"):
        models.card("pipe")


@pytest.mark.parametrize("change", [
    {"sha256": 5}, {"architecture": 3}, {"settings": [1]}, {"settings": None}, {"variant": 7},
    {"generator": ["own"]}, {"relative_to": "own"}, {"relative_to": {}}, {"inversion": []},
    {"inversion": {"resolution": -3}}, {"inversion": {"batch": "x"}}, {"parameters": "x"},
    {"kimg": "many"}, {"evaluation": [1]}, {"recipe": None}, {"parameters": -1},
    {"parameters": 10**40},
], ids=str)  # fmt: skip
def test_cards_with_values_of_another_kind_are_refused(own_registry, tmp_path, change):
    path = tmp_path / "weights" / "own.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(models.ModelsError, match="own.json is no card of a model: fetch it again"):
        models.card("own")
    for content in ("[" * 100_000, f'{{"note": {"[" * 400}{"]" * 400}}}'):
        path.write_text(content)
        with pytest.raises(models.ModelsError, match="own.json is no card of a model: fetch it "
                                                     "again"):
            models.card("own")


def test_cards_as_editors_and_copies_leave_them(own_registry, tmp_path):
    """With a byte order mark, or beside a hidden file of macOS."""
    path = tmp_path / "weights" / "own.json"
    path.write_text(json.dumps(models.card("own") | {"note": "\u00e4"}, ensure_ascii=False),
                    "utf-8-sig")
    (tmp_path / "weights" / "._own.json").write_bytes(b"\0\5\x16\7")
    assert models.card("own")["note"] == "\u00e4" and models.names() == ["own", "own-base"]


@pytest.mark.parametrize("settings", [
    {"resolution": 1 << 20}, {"mapping_depth": 10**9}, {"channel_base": 10**400},
    {"resolution": 4096, "channel_base": 1 << 24, "channel_max": 1 << 14}, {"z_dim": "x"},
    {"w_dim": -4}, {"w_dim": None},
], ids=str)  # fmt: skip
def test_cards_that_ask_for_more_than_any_model_are_refused(saved, tmp_path, settings):
    """Before a network is built, which would take all memory."""
    card = json.loads((tmp_path / "face-tiny.json").read_text())
    (tmp_path / "face-tiny.json").write_text(
        json.dumps(card | {"settings": card["settings"] | settings}))
    with pytest.raises(models.ModelsError, match="describes no network|do not fit"):
        models.load("face-tiny")


@pytest.mark.parametrize("shape", [[1 << 20, 1 << 20], [-1, 4], [1 << 27, 4]])
def test_small_streams_of_many_numbers_are_refused(shape):
    """A hundred bytes of LZMA can be gigabytes."""
    stream = torch.frombuffer(bytearray(lzma.compress(bytes(1 << 20))), dtype=torch.uint8)
    tensors = {"w": stream, f"w{codec.SHAPE}": torch.tensor(shape),
               f"w{codec.SCALES}": torch.ones(1)}
    with pytest.raises(ValueError, match="the shapes are none of a model"):
        codec.unpacked(tensors)


def test_weights_without_a_card_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    models.save("own", stylegan.Generator(8, 4, 4, channel_base=64, channel_max=8))
    (tmp_path / "weights" / "own.json").unlink()
    with pytest.raises(models.ModelsError, match="own.safetensors has no card own.json beside it"):
        models.load("own")


def test_boundaries_are_no_network(own_registry, tmp_path):
    models.save_boundaries("own", [boundaries.Boundary("age", torch.ones(4, 4) / 4, 0.5, (0, 1))])
    with pytest.raises(models.ModelsError, match="own-boundaries are the boundaries of own"):
        models.load("own-boundaries")


@pytest.mark.parametrize("name", ["own-boundaries", "own.202311231530"])
def test_a_model_has_no_name_under_which_it_would_be_replaced_or_removed(own_registry, name):
    with pytest.raises(models.ModelsError, match="take a"):
        models.save(name, models.load("own"))
    assert not models.exists(name)


def test_models_are_named_not_reached_by_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    models.save("own", stylegan.Generator(8, 4, 4, channel_base=64, channel_max=8))
    with pytest.raises(models.ModelsError, match="Unknown model"):
        models.load("../weights/own")


@pytest.mark.parametrize("options", [
    {"relative_to": "face-tiny"}, {"dtype": torch.int8}, {"dtype": "float16"}, {"bits": 99},
    {"bits": 0}, {"difference_bits": -1}, {"kimg": "much"}, {"note": torch.zeros(2)},
    {"inversion": {"resolution": 0}}, {"architecture": "another"}, {}])
def test_a_model_that_nobody_could_read_again_is_not_saved(saved, options):
    """It would take the place of one that can be read, and stop the list of models."""
    before = models.load("face-tiny").state_dict()
    if not options:
        saved.w_avg.fill_(1e6)  # infinite in float16
    with pytest.raises(ValueError):
        models.save("face-tiny", saved, **options)
    after = models.load("face-tiny").state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("change, said", [
    (lambda g: prune.l1_unstructured(g.mapping.dense[0], "weight", 0.5), "the file lacks mapping"),
    (lambda g: g.mapping.dense.pop(0), "the file lacks mapping.dense."),
    (lambda g: setattr(g, "more", torch.nn.Linear(2, 2)), "the file has the unknown key mo"),
    (lambda g: setattr(g, "const", torch.nn.Parameter(g.const[:, :2])), r"const has shape \[1, 2"),
])  # fmt: skip
def test_a_network_that_was_rebuilt_is_not_saved(saved, change, said):
    """Whoever would load it builds the one that its class and its settings tell."""
    change(saved)
    with pytest.raises(ValueError, match=f"face-tiny could not be read again, .* more: {said}"):
        models.save("face-tiny", saved)
    models.load("face-tiny")


def test_a_device_that_is_not_here(saved):
    with pytest.raises(ValueError, match="cannot be used here"):
        models.load("face-tiny", "cuda:99")


@pytest.mark.parametrize("fitted, said", [
    ([5], "boundaries with names, not 5"), (["x"], "boundaries with names, not 'x'"),
    (2 * [boundaries.Boundary("a", torch.ones(2, 3), 0.0, (0,))], "must have different names"),
    ([boundaries.Boundary("__metadata__", torch.ones(2, 3), 0.0, (0,))],
     "No boundary in a file can be called '__metadata__'")])
def test_what_is_no_set_of_boundaries_is_not_saved(saved, fitted, said):
    with pytest.raises(ValueError, match=said):
        models.save_boundaries("face-tiny", fitted)
    assert not models.companions("face-tiny", "boundaries")


def test_boundaries_are_those_of_a_model(saved, tmp_path):
    age = boundaries.Boundary("age", torch.ones(4, 4), 0.0, (0,))
    with pytest.raises(models.ModelsError, match="Unknown model 'face-tini': did you mean face-ti"):
        models.save_boundaries("face-tini", [age])
    models.save_boundaries("face-tiny", [age])
    assert models.load_boundaries("face-tiny")["age"].generator == models.digest("face-tiny")


def test_what_is_saved_is_found_beside_a_checkout_that_cannot_be_written_to(
        saved, tmp_path, monkeypatch):
    """As where an administrator has put the checkout: its models came before the new ones."""
    age = boundaries.Boundary("age", torch.ones(4, 4), 0.0, (0,))
    models.save_boundaries("face-tiny", [age])
    monkeypatch.delenv("IDINVERT_MODELS")
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cards, "CHECKOUT", tmp_path)
    assert models.folders()[0] == models.folder() == tmp_path
    monkeypatch.setattr(cards, "writable", lambda path: path != tmp_path)
    models.save_boundaries("face-tiny", [replace(age, name="smile")], add=True)
    models.save("face-tiny", saved, seed=4)
    assert list(models.load_boundaries("face-tiny")) == ["age", "smile"]
    assert models.card("face-tiny")["seed"] == 4 and models.folder().parent == tmp_path / "cache"
