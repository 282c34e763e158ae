"""Encoders of photographs: Eq. (1) in closed form to begin with, then Eq. (2) on stand-ins."""

import copy

import pytest
import torch
from idinvert import models
from idinvert.codes import render, sample_codes
from idinvert.data import standins, to_uint8
from idinvert.nn import stylegan
from idinvert.training import runs
from idinvert.training.standins import Conventional, DomainGuided, Recipe
from idinvert.training.train import train_entry


class Whole(stylegan.Generator):
    """A generator whose images are inverted at their own size."""

    whole = property(lambda self: self)


@pytest.fixture
def photographs(own_registry, efficientnet, vgg16, monkeypatch):
    """Instead of `ffhq` a generator of 32 px, and its samples as images."""
    torch.manual_seed(0)
    generator = Whole(resolution=32, z_dim=4, w_dim=4, channel_base=128, channel_max=16,
                      layerwise=True).eval()

    def load(name, whole, split, count):
        codes = sample_codes(whole, count, seed=("train", "test").index(split))
        return standins.StandIns(to_uint8(render(whole, codes)), codes, split)

    monkeypatch.setattr(models, "load_working", lambda name: copy.deepcopy(generator))
    monkeypatch.setattr(standins, "load", load)


def entry(kind=DomainGuided, **settings):
    recipe = Recipe(learning_rate=1e-2, schedule_kimg=0.128)
    return kind(**{"name": "new-base", "generator": "portraits", "stand_ins": 48, "kimg": 0.128,
                   "settings": {"rank": 8, "hidden": 8}, "recipe": recipe, **settings})


def curve(name):
    """Error on held-out stand-ins by thousand images."""
    return {point["kimg"]: point["held_out_mse"] for point in models.card(name)["curve"]}


def test_a_run_that_goes_on_takes_the_same_steps(photographs):
    """The fit that it begins with is not made again."""
    train_entry(entry(), checkpoint_kimg=0.064, device="cpu")
    train_entry(entry(name="parts-base"), kimg=0.064, checkpoint_kimg=0.064, device="cpu")
    assert list(curve("parts-base")) == [0.064]
    train_entry(entry(name="parts-base"), checkpoint_kimg=0.064, device="cpu")
    assert curve("parts-base") == curve("new-base")
    states = [models.load(name).state_dict() for name in ("new-base", "parts-base")]
    assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())


def test_eq_2_comes_nearer_to_the_images_than_eq_1(photographs):
    """With it alone, without the codes."""
    task = entry(recipe=Recipe(learning_rate=3e-3, lambda_code=0)).make_task()
    torch.manual_seed(0)
    errors = torch.tensor([float(task.step(step)["pixel"]) for step in range(48)])
    assert errors[-8:].mean() < 0.8 * errors[:8].mean()


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
    task = entry(Conventional, name="plain-too", kimg=0, recipe=Recipe()).make_task()
    found = standins.load("portraits", models.load_working("portraits"), "train", 48)
    assert torch.equal(task.images, found.images[::2])
