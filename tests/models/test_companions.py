"""Companions of a generator are asked for by role; what a model is to others, its card tells."""

import json

import pytest
import torch
from idinvert import boundaries, models
from idinvert.nn import classifier, encoder, stylegan, stylegan2

GENERATOR = {"resolution": 8, "channel_base": 32, "channel_max": 8, "z_dim": 4, "w_dim": 4}
ENCODER = {"resolution": 8, "w_dim": 4, "channel_base": 4, "channel_max": 8}
DISCRIMINATOR = {"resolution": 8, "channel_base": 32, "channel_max": 8}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path))
    return tmp_path


def save(name, part, **facts):
    network = {"generator": lambda: stylegan.Generator(**GENERATOR),
               "encoder": lambda: encoder.Encoder(**ENCODER),
               "discriminator": lambda: stylegan2.Discriminator(**DISCRIMINATOR),
               "classifier": lambda: classifier.Classifier(attributes=1)}[part]()
    return models.save(name, network, **facts)


@pytest.fixture
def own(folder):
    """A generator, "own-x", with companions of every role, and another generator, "own"."""
    save("own", "generator")
    save("own-x", "generator", domain="face")
    for variant in ("base", "base-no-average"):
        save(f"own-x-{variant}", "encoder", generator="own-x")
    save("own-x-conventional", "encoder", kind="conventional", generator="own-x")
    save("own-x-d", "discriminator", kind="discriminator")
    save("face-classifier", "classifier", domain="face")
    age = boundaries.Boundary("age", torch.ones(2, 4) / 8**0.5, 0.5, (0, 1))
    assert models.save_boundaries("own-x", [age]) == "own-x-boundaries"
    return folder


FOUND = {
    "generator": {"base": "own-x"},
    "encoder": {"base": "own-x-base", "base-no-average": "own-x-base-no-average"},
    "conventional": {"base": "own-x-conventional"},
    "discriminator": {"base": "own-x-d"},
    "classifier": {"base": "face-classifier"},
    "boundaries": {"base": "own-x-boundaries"},
}


def check(found=FOUND):
    assert set(found) == set(models.ROLES)
    for role, expected in found.items():
        assert models.companions("own-x", role) == expected
        assert models.companion("own-x", role) == expected["base"]
        assert models.companions("own", role) == ({"base": "own"} if role == "generator" else {})


def test_companions_are_found_by_role(own):
    check()
    assert models.companion("own-x", "encoder", "base-no-average") == "own-x-base-no-average"


def test_cards_without_roles_are_understood_by_their_names(own):
    """As the cards of older registries are."""
    for path in own.glob("*.json"):
        card = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in card.items() if k not in ("role", "variant")}))
    check()


def test_the_card_tells_more_than_the_name(own):
    """An encoder of any name is a variant of its generator's."""
    save("quick", "encoder", generator="own-x", role="encoder", variant="fast")
    assert models.companion("own-x", "encoder", "fast") == "quick"
    save("judge", "classifier", role="classifier", generator="own-x")
    assert models.companion("own-x", "classifier") == "judge"  # its own, before the domain's


def test_what_is_missing_is_named(own):
    with pytest.raises(models.ModelsError, match=r"own has no encoder: .* own-base\.$"):
        models.companion("own", "encoder")
    with pytest.raises(models.ModelsError, match="no encoder 'e4e': .* has base, base-no-average"):
        models.companion("own-x", "encoder", "e4e")
    with pytest.raises(models.ModelsError, match="Unknown model 'own-y': did you mean"):
        models.companion("own-y", "discriminator")
    with pytest.raises(ValueError, match="Unknown role 'coder': expected one of generator"):
        models.companions("own", "coder")


def test_files_of_a_companion_that_were_renamed_are_told(own):
    """The card has them as another generator's."""
    for end in ("json", "safetensors"):
        (own / f"own-x-base.{end}").rename(own / f"own-base.{end}")
    with pytest.raises(models.ModelsError, match="own has no encoder: by its card own-base is the "
                                                 "encoder of own-x; correct that"):
        models.companion("own", "encoder")


@pytest.mark.parametrize("told", [
    {"sha256": "\ud800" * 64}, {"relative_to": {"name": "\ud800", "sha256": ""}}], ids=str)
def test_half_a_character_in_a_card_names_no_file(own, told):
    path = own / "own-x-d.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | told))
    with pytest.raises(models.ModelsError, match="not the file that its card describes|no longer"):
        models.load("own-x-d")
    models.save("own-x", models.load("own-x"))


@pytest.mark.parametrize("content", ["[]", "3", "{", '{"role": 5}', None])
def test_files_that_are_no_cards_stop_only_what_names_them(own, content):
    path = own / "own-x-e4e.json"
    path.mkdir() if content is None else path.write_text(content)
    check(FOUND)
    save("own-x", "generator", domain="face")
    with pytest.raises((models.ModelsError, IsADirectoryError), match=r"own-x-e4e\.json"):
        models.companion("own-x", "encoder", "e4e")


def test_shipped_cards_tell_their_role():
    for path in models.folder().glob("*.json"):
        card = json.loads(path.read_text())
        assert card == models.card(path.stem), "a role that the name, not the card, tells"
        if "generator" in card:
            assert path.stem in models.companions(card["generator"], card["role"]).values()
            assert models.companion_name(
                card["generator"], card["role"], card.get("variant", "base")) == path.stem


def test_new_boundaries_join_those_that_there_are(own):
    one = boundaries.Boundary("smile", torch.ones(2, 4) / 8**0.5, 0.5, (0, 1))
    models.save_boundaries("own-x", [one], add=True)
    assert list(models.load_boundaries("own-x")) == ["age", "smile"]
    models.save_boundaries("own-x", [one])
    assert list(models.load_boundaries("own-x")) == ["smile"]
