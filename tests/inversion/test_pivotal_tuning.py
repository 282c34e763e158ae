"""Pivotal tuning: codes stay, each image gets a generator of its own, and edits are its images."""

import copy
import os
from dataclasses import replace

import idinvert
import numpy as np
import pytest
import torch
from idinvert import models, read_image, write_image
from idinvert.boundaries import Boundary
from idinvert.cli import main
from idinvert.inversion import Image2StyleGAN, InDomain, PivotalTuning, Tuned
from idinvert.inversion.cache import cached_along, cached_codes, cached_tuning
from idinvert.inversion.methods import pivotal_tuning

SHORT = {"lambda_vgg": 0, "pivot_iterations": 2, "iterations": 12, "learning_rate": 0.01}


@pytest.fixture
def model(own_registry, tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    return idinvert.load("own", "cpu")


@pytest.fixture
def images():
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def errors(found, images):
    return (found - images).square().mean((1, 2, 3))


def test_each_image_is_nearer_from_the_same_code_and_the_generator_stays(model, images):
    before = copy.deepcopy(model.generator.state_dict())
    pivots = InDomain(iterations=2, lambda_vgg=0).invert(model, images)
    found = model.invert(images, "pivotal-tuning", **SHORT)
    assert torch.equal(found.codes, pivots.codes) and not found.diverged.any()
    assert (errors(found.images, images) < 0.9 * errors(pivots.images, images)).all()
    assert all(torch.equal(before[k], v) for k, v in model.generator.state_dict().items())
    assert not any(p.requires_grad for p in model.generator.parameters())


def test_every_batch_keeps_the_generators_that_render_its_images_and_their_edits(model, images):
    whole, parts = (model.invert(images, "pivotal-tuning", batch=n, **SHORT) for n in (3, 2))
    torch.testing.assert_close(parts.images, whole.images, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.render(parts.codes, parts), parts.images)
    moved = parts.codes + 0.5
    alone = parts.generators[2].synthesis(moved[2:])
    torch.testing.assert_close(model.render(moved, parts)[2:], alone)
    assert (model.render(moved) - model.render(moved, parts)).abs().max() > 0.01
    with pytest.raises(ValueError, match="one code for each image"):
        parts.render(moved[:2])


def test_locality_keeps_images_of_other_codes(model, images):
    near = model.sample(3, seed=5)

    def change(locality):
        found = model.invert(images, "pivotal-tuning", locality=locality, locality_reach=1,
                             locality_every=1, **SHORT)
        pivots = found.codes
        near = torch.cat([pivotal_tuning.nearby(w[None], model.sample(1, 7), 1) for w in pivots])
        return errors(model.render(near, found), model.render(near)).mean()
    assert change(10.0) < 0.5 * change(0.0)
    assert abs((pivotal_tuning.nearby(near[:1], near[1:2], 2.0) - near[:1]).norm() - 2) < 1e-5


def test_tuning_that_diverges_keeps_the_generator(model, images):
    images[1] = torch.nan
    found = PivotalTuning(**SHORT).invert(model, images)
    assert found.diverged.tolist() == [False, True, False]
    assert found.generators[1] is model.generator


def test_an_image_whose_pivot_diverged_is_told(model, images, monkeypatch):
    pivots = replace(InDomain(iterations=0).invert(model, images),
                     diverged=torch.tensor([False, True, False]))

    def diverged(*_, **__):
        return pivots
    monkeypatch.setattr(InDomain, "invert", diverged)
    found = PivotalTuning(**SHORT).invert(model, images)
    assert torch.equal(found.diverged, pivots.diverged)


@pytest.mark.parametrize("name", ["cache", os.fsdecode(b"\xff")], ids=ascii)
def test_cached_tuning_is_the_method(model, images, tmp_path, monkeypatch, name):
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / name))
    method = PivotalTuning(**SHORT)
    expected = method.invert(model, images)
    for _ in range(2):  # the second time from the cache
        found = cached_tuning(model, method, images, progress=False)
        torch.testing.assert_close(found.images, expected.images, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="cached_tuning"):
        cached_codes(model, method, images)


@pytest.mark.parametrize("kind", [InDomain, Image2StyleGAN])
def test_codes_along_one_run_are_those_of_shorter_runs(model, images, kind, monkeypatch):
    method = kind(lambda_vgg=0, bf16=True)
    alone = {n: kind(iterations=n, lambda_vgg=0, bf16=True).invert(model, images).codes
             for n in (0, 2, 5)}
    found = cached_along(model, method, images, [5, 0, 2], progress=False)
    assert all(torch.equal(found[n], alone[n]) for n in alone)
    monkeypatch.setattr(kind, "invert", None)  # all are known now, each as that of a shorter run
    known = cached_codes(model, kind(iterations=2, lambda_vgg=0, bf16=True), images)
    assert torch.equal(known, alone[2])


def test_edits_of_saved_codes_take_the_tuned_weights(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_image("photo.png", torch.rand(3, 9, 9) * 2 - 1)
    models.save_boundaries("own", [Boundary("age", torch.eye(4) / 2, 0.0, tuple(range(4)))])
    how = ["--model", "own", "--device", "cpu"]
    tuning = ["--method", "pivotal-tuning", *(
        word for k, v in SHORT.items() for word in (f"--{k.replace('_', '-')}", str(v)))]
    assert main(["edit", "photo.png", "age=1", "--out", "a.png", *how, *tuning]) == 0
    assert main(["invert", "photo.png", *how, *tuning]) == 0
    assert main(["edit", "inverted/codes/photo.npz", "age=1", "--out", "b.png", *how]) == 0
    assert (read_image("a.png", 8) - read_image("b.png", 8)).abs().max() < 0.02
    assert "codes alone" not in capsys.readouterr().err
    assert main(["edit", "inverted/codes.npy", "age=1", "--out", "c.png", *how]) == 0
    assert "inverted/codes.npy has codes alone, but pivotal-tuning" in capsys.readouterr().err
    code = torch.from_numpy(np.load("inverted/codes.npy"))
    plain = model.render(model.edit(code, age=1))[0].clip(-1, 1)
    assert (read_image("a.png", 8) - plain).abs().max() > 0.05
    assert isinstance(model.invert(torch.zeros(1, 3, 8, 8), "pivotal-tuning", **SHORT), Tuned)
