"""Encoders of photographs: Eq. (1) in closed form to begin with, then Eq. (2) on stand-ins."""

import copy

import pytest
import torch
from idinvert import models
from idinvert.data import standins, to_float
from idinvert.nn import stylegan
from idinvert.settings import SettingsError
from idinvert.training import runs, zoo
from idinvert.training.standins import Conventional, DomainGuided, Recipe
from idinvert.training.train import train_entry


class Whole(stylegan.Generator):
    """A generator whose images are inverted at their own size."""

    whole = property(lambda self: self)

    def synthesis(self, w, noise="fixed", size=None):
        return super().synthesis(w, noise)


@pytest.fixture
def photographs(own_registry, efficientnet, vgg16, tmp_path, monkeypatch):
    """Instead of `ffhq` a generator of 32 px. Returns the splits that were loaded."""
    monkeypatch.setenv("IDINVERT_RUNS", str(tmp_path / "runs"))
    torch.manual_seed(0)
    generator = Whole(resolution=32, z_dim=4, w_dim=4, channel_base=128, channel_max=16,
                      layerwise=True).eval()

    loaded = []

    def load(name, whole, split, count):
        loaded.append(split)
        codes = [standins.code(whole, split, i) for i in range(count)]
        return standins.StandIns(**standins.render(whole, codes), split=split)

    monkeypatch.setattr(models, "load_working", lambda name, device: copy.deepcopy(generator))
    monkeypatch.setattr(standins, "load", load)
    return loaded


def entry(kind=DomainGuided, **settings):
    recipe = Recipe(learning_rate=1e-2, schedule_kimg=0.128)
    return kind(**{"name": "new-base", "generator": "portraits", "stand_ins": 48, "kimg": 0.128,
                   "settings": {"rank": 8, "hidden": 8}, "recipe": recipe, **settings})


def curve(name):
    """Error on held-out stand-ins by thousand images."""
    return {point["kimg"]: point["held_out_mse"] for point in models.card(name)["curve"]}


def test_a_run_that_goes_on_takes_the_same_steps(photographs):
    """The fit that it begins with is not made again, and what it needs is not loaded."""
    train_entry(entry(), checkpoint_kimg=0.064, device="cpu")
    train_entry(entry(name="parts-base"), kimg=0.064, checkpoint_kimg=0.064, device="cpu")
    assert list(curve("parts-base")) == [0.064] and photographs == ["train", "test"] * 2
    train_entry(entry(name="parts-base"), checkpoint_kimg=0.064, device="cpu")
    assert photographs == ["train", "test"] * 2 + ["test"]
    assert curve("parts-base") == curve("new-base")
    states = [models.load(name).state_dict() for name in ("new-base", "parts-base")]
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())


def test_a_published_model_goes_on_without_its_run(photographs, monkeypatch, tmp_path):
    train_entry(entry(), kimg=0.064, device="cpu")
    monkeypatch.setenv("IDINVERT_RUNS", str(tmp_path / "elsewhere"))
    assert train_entry(entry(), device="cpu")["kimg"] == 0.128
    assert photographs == ["train", "test", "test"]


def test_an_entry_can_have_bits_of_its_own(photographs):
    stored = [train_entry(entry(name=f"new-{bits}", kimg=0.032, bits=bits), device="cpu")["bits"]
              for bits in (None, 6.5)]
    assert stored == [5, 6.5]


@pytest.mark.parametrize("batch", [4, 6])
def test_every_step_takes_stand_ins_that_nothing_has_seen(photographs, batch):
    """They lie beyond those of the fit, and depend on the step alone."""
    new = entry(recipe=Recipe(batch=batch)).make_task().new
    generator = models.load_working("portraits", "cpu")
    for step in (0, 1, 2, 9, 1):  # in turn, and as where a run goes on
        images, codes = new.of_step(step)
        index = range(48 + step * batch, 48 + (step + 1) * batch)
        assert torch.equal(images, standins.make(generator, "train", index))
        known = torch.stack([standins.code(generator, "train", i) for i in index])
        assert torch.allclose(codes, known)


def test_eq_2_comes_nearer_to_the_images_than_eq_1(photographs):
    """With it alone, without the codes, and to images that neither has seen."""
    recipe = Recipe(learning_rate=2e-2, lambda_code=0, schedule_kimg=2)
    task = entry(recipe=recipe).make_task()
    before = task.evaluate()["held_out_mse"]
    for step in range(48):
        task.step(step)
    assert task.evaluate()["held_out_mse"] < 0.8 * before


def test_the_learning_rate_decays_to_a_fortieth(photographs):
    task = entry(recipe=Recipe(learning_rate=1e-3)).make_task()  # a schedule as long as the run
    for step, done in ((0, 0), (8, 0.5), (16, 1)):
        task.step(step)
        assert task.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 * 0.4 ** (4 * done))


def test_a_conventional_encoder_is_fitted_to_plain_samples_alone(photographs):
    """Every second image of the stand-ins is one; no step follows."""
    train_entry(entry(Conventional, name="plain", kimg=0, recipe=Recipe()), device="cpu")
    card = models.card("plain")
    assert card["kimg"] == 0 and not runs.begun("plain")
    fitted = entry(Conventional, name="plain-too", kimg=0, recipe=Recipe()).make_task().encoder
    found = standins.load("portraits", models.load_working("portraits", "cpu"), "train", 48)
    features = fitted.features(to_float(found.images[::2]))
    assert torch.allclose(fitted.mean, features.mean(0), atol=1e-5)


def test_a_conventional_encoder_of_photographs_takes_no_steps(photographs):
    plain = entry(Conventional, name="plain", kimg=0, recipe=Recipe())
    with pytest.raises(ValueError, match="kimg must be 0"):
        train_entry(plain, kimg=1, device="cpu")
    listed = {"kind": "conventional_of_photographs", "generator": "ffhq", "kimg": 12}
    with pytest.raises(SettingsError, match="zoo.yml, x.*kimg must be 0"):
        zoo.parse({"x": listed})
