import math

import numpy as np
import pandas as pd
import pytest
import torch
from idinvert import data, models
from idinvert.cli import main
from idinvert.data import POSITIVE_CLASSES, Split, binary_labels, write_image
from idinvert.nn.classifier import Classifier
from idinvert.processes import Share
from idinvert.settings import SettingsError
from idinvert.training.classifier import (
    ClassifierEntry,
    ClassifierTask,
    Recipe,
    degrade,
    gaussian_blur,
    learning_rate,
    mirrored_labels,
    shift,
)
from idinvert.training.images import OwnImages
from idinvert.training.loop import Schedule, train
from idinvert.training.train import train_entry

TINY = Recipe(schedule_kimg=0.064, batch=8, holdout=8)


def labels(domain, count, seed=0):
    """Random rows that hold what `binary_labels` reads."""
    rng = np.random.default_rng(seed)
    values = {
        "male": ("male", "female"), "old": ("old", "young"), "right": ("right", "left"),
        "presence": ("presence", "absence"), "smile": ("smile", "neutral"),
    }  # fmt: skip
    return pd.DataFrame(
        {a: rng.choice(values[p], count) for a, p in POSITIVE_CLASSES[domain].values()}
    )


def split(domain="face", count=40, size=16):
    images = torch.randint(256, (count, 3, size, size), dtype=torch.uint8)
    return Split(images, labels(domain, count), domain, "train")


def task(recipe=TINY, data=None):
    torch.manual_seed(0)
    data = data or split()
    classifier = Classifier(16, len(POSITIVE_CLASSES[data.domain]), channels=(4, 6))
    return ClassifierTask(classifier, data.images, *both(data), recipe)


def both(data):
    """Labels of the images and of their mirror images."""
    return (binary_labels(data.labels, data.domain), mirrored_labels(data.labels, data.domain))


@pytest.mark.parametrize("domain", data.DOMAINS)
def test_a_flip_changes_labels_that_name_a_side(domain):
    table = labels(domain, 50)
    plain, mirrored = binary_labels(table, domain), mirrored_labels(table, domain)
    for name in plain:
        expected = 1 - plain[name] if name == "pose" else plain[name]
        assert mirrored[name].equals(expected)


def test_a_batch_pairs_flipped_images_with_mirrored_labels():
    """Images are bright on the side that the pose label names, whichever way they are drawn."""
    faces = split()
    right = torch.tensor((faces.labels["pose"] == "right").to_numpy())
    bright_right = (torch.arange(16) >= 8) == right[:, None]
    faces.images[:] = (bright_right[:, None, None, :] * 200).to(torch.uint8)
    image, label = task(data=faces).draw()
    side = image[..., 12].mean((1, 2)) > image[..., 3].mean((1, 2))
    assert torch.equal(side.float(), label[:, 3])
    assert label.shape == (8, 5)


@pytest.mark.parametrize("domain", data.DOMAINS)
def test_every_domain_trains(domain, tmp_path):
    classifier_task = task(data=split(domain))
    assert train(classifier_task, tmp_path, Schedule(TINY.schedule_kimg), progress=False)
    figures = classifier_task.evaluate()
    assert set(figures) == {f"accuracy_{x}" for x in (*POSITIVE_CLASSES[domain], "mean")}
    assert (tmp_path / "sample-00000.png").exists()


def test_an_interrupted_run_takes_the_same_steps(tmp_path):
    whole, first, second = task(), task(), task()
    train(whole, tmp_path / "whole", Schedule(0.064), progress=False)
    train(first, tmp_path / "parts", Schedule(0.024), progress=False)
    train(second, tmp_path / "parts", Schedule(0.064), progress=False)
    for name in ("classifier", "average"):
        a, b = whole.state_dict()[name], second.state_dict()[name]
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_held_out_images_are_never_drawn():
    faces = split()
    faces.images[:] = 255
    faces.images[-TINY.holdout :] = 0
    quiet = Recipe(batch=8, holdout=8, light=0, noise=0)
    classifier_task = task(quiet, faces)
    assert all((classifier_task.draw()[0] > 0.99).all() for _ in range(20))


def test_it_learns_what_is_there_to_learn():
    faces = split(count=200)
    old = torch.tensor((faces.labels["age"] == "old").to_numpy())
    faces.images[old, 0] = faces.images[old, 0] // 2 + 127
    classifier_task = task(Recipe(schedule_kimg=1.6, batch=32, holdout=40, ema_steps=5), faces)
    for step in range(50):
        classifier_task.step(step)
    assert classifier_task.evaluate()["accuracy_age"] > 0.9


def test_unknown_labels_count_for_nothing():
    """What is not known gives no gradient, no accuracy and no NaN."""
    faces = split()
    plain, mirrored = both(faces)
    unknown = plain.astype(float).assign(gender=float("nan"))
    torch.manual_seed(0)
    classifier_task = ClassifierTask(Classifier(16, 5, channels=(4, 6)), faces.images, unknown,
                                     unknown, TINY)
    before = classifier_task.classifier.output.weight.clone()
    figures = classifier_task.step(0)
    moved = (classifier_task.classifier.output.weight - before).abs().amax(1)
    decay = (before * TINY.weight_decay * figures["learning_rate"]).abs().amax(1)
    assert moved[0] <= decay[0] * 1.01 and (moved[1:] > decay[1:]).all()
    assert all(float(x) == float(x) for x in figures.values())
    evaluated = classifier_task.evaluate()
    assert "accuracy_gender" not in evaluated
    known = [evaluated[f"accuracy_{name}"] for name in list(plain)[1:]]
    assert evaluated["accuracy_mean"] == pytest.approx(sum(known) / 4)
    assert torch.isfinite(classifier_task.sample()).all()


def test_an_attribute_may_be_called_mean(monkeypatch):
    """Its accuracy is then its own."""
    table = pd.DataFrame({"mean": [0.0, 1.0] * 12, "b": [1.0, 0.0] * 12})
    trained = ClassifierTask(Classifier(16, 2, channels=(4, 6)), split(count=24).images, table,
                             table, TINY)
    monkeypatch.setattr(trained, "judge", lambda: (torch.tensor([[1.0, 1.0], [1.0, -1.0]]),
                                                   torch.tensor([[1.0, 0.0], [1.0, 1.0]])))
    assert trained.evaluate() == {"accuracy_mean": 1.0, "accuracy_b": 0.0}


def test_the_average_follows_the_weights():
    classifier_task = task(Recipe(schedule_kimg=1, batch=8, holdout=8, ema_steps=1))
    classifier_task.step(0)
    a, b = classifier_task.average.state_dict(), classifier_task.classifier.state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a if a[k].is_floating_point())


def test_errors():
    with pytest.raises(ValueError, match="2 attributes, but there are 5: gender, age"):
        ClassifierTask(Classifier(16, 2), split().images, *both(split()), TINY)
    with pytest.raises(ValueError, match="40 images cannot spare 40"):
        task(Recipe(holdout=40))


def test_average_of_less_than_a_step_is_refused():
    """It would go beyond the weights."""
    with pytest.raises(SettingsError, match="ema_steps is 0.5, but should be greater than or"):
        Recipe(ema_steps=0.5)


def test_learning_rate_rises_then_falls_to_zero():
    recipe = Recipe(schedule_kimg=6.4, batch=64, learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(101)]
    assert rates[0] < rates[3] and rates[-1] == pytest.approx(0, abs=1e-9)
    assert rates[50] == pytest.approx(0.5) and rates[3:] == sorted(rates[3:], reverse=True)


def test_degraded_images_stay_close_and_depend_on_the_global_seed():
    images = torch.zeros(6, 3, 16, 16)
    torch.manual_seed(1)
    a = degrade(images, Recipe())
    torch.manual_seed(1)
    assert torch.equal(a, degrade(images, Recipe()))
    assert a.shape == images.shape and a.abs().max() < 0.2 + 5 * 0.06
    nothing = Recipe(shift=0, light=0, blur=1e-3, noise=0)
    torch.testing.assert_close(degrade(images + 0.3, nothing), images + 0.3)


def test_shift_moves_pixels_and_repeats_edges():
    ramp = torch.arange(16.0).expand(32, 1, 16, 16)
    offset = shift(ramp, 2) - ramp
    assert offset.abs().max() == 2 and offset.min() == -2
    middle = offset[:, 0, 8, 2:-2]
    assert torch.equal(middle, middle[:, :1].expand_as(middle))


def test_blur_equals_the_reference():
    from scipy.ndimage import gaussian_filter

    image = torch.randn(2, 3, 16, 16)
    expected = gaussian_filter(image.numpy(), (0, 0, 1.2, 1.2), mode="nearest", truncate=2.5)
    torch.testing.assert_close(gaussian_blur(image, 1.2), torch.from_numpy(expected),
                               atol=1e-5, rtol=0)


def test_a_classifier_of_several_processes_is_refused_before_images_are_read():
    entry = ClassifierEntry(name="judge", kimg=1, images=OwnImages("nowhere", labels="nothing"))
    with pytest.raises(ValueError, match="only one can train a model of the kind 'classifier'"):
        train_entry(entry, device="cpu", share=Share(0, 2))


@pytest.mark.parametrize("option", [
    {"checkpoint_kimg": 0}, {"checkpoint_kimg": "x"}, {"budget_minutes": math.nan}, {"kimg": -1},
    {"device": None}, {"seed": 0.5},
], ids=str)  # fmt: skip
def test_arguments_of_a_training_are_checked(option):
    entry = ClassifierEntry(name="judge", kimg=1, images=OwnImages("nowhere", labels="nothing"))
    with pytest.raises(SettingsError, match=f"train_entry: {next(iter(option))} is"):
        train_entry(entry, **option)


def test_a_seed_beyond_those_of_pytorch_is_told():
    with pytest.raises(SettingsError, match="seed is .*should be less than 4294967296"):
        ClassifierEntry(name="judge", kimg=1, seed=1 << 62,
                        images=OwnImages("nowhere", labels="nothing"))


def test_a_classifier_learns_the_labels_of_a_table(folder, capsys):
    """Images are dark or bright, lit from the left or the right; the table tells both."""
    rows = ["image,bright,right"]
    for i in range(64):
        bright, right = i % 2, i // 2 % 2
        image = torch.full((3, 16, 16), 0.5 * bright - 0.5)
        image[:, :, 8 * right : 8 * right + 8] += 0.4
        write_image(folder / "photos" / f"{i}.png", image)
        rows.append(f"{i},{bright},{right}")
    (folder / "labels.csv").write_text("\n".join(rows))
    command = ["train", "classifier", "judge", "--images", str(folder / "photos"),
               "--resolution", "16", "--labels", str(folder / "labels.csv"),
               "--batch", "16", "--device", "cpu"]
    assert main([*command, "--sided", "right", "--kimg", "1.6"]) == 0
    card = models.card("judge")
    assert card["kind"] == "classifier" and card["attributes"] == ["bright", "right"]
    assert card["evaluation"]["accuracy_bright"] == 1 and card["evaluation"]["accuracy_right"] == 1
    assert main([*command[:2], "other", *command[3:], "--sided", "left"]) == 1
    assert "has no column 'left'" in capsys.readouterr().err


def judged(folder, rows, *extra, columns="image,a,b"):
    """Train a classifier on labels; the status."""
    (folder / "labels.csv").write_text("\n".join([columns, *rows]))
    return main(["train", "classifier", "judge", "--images", str(folder / "photos"),
                 "--labels", str(folder / "labels.csv"), "--resolution", "16", "--kimg", "0.01",
                 "--batch", "1", "--device", "cpu", *extra])


def test_a_classifier_goes_on_with_the_labels_that_it_began_with(folder, capsys):
    """Its run would else end as a classifier of what it was hardly trained on."""
    rows = [f"{i},{i % 2},{i // 2 % 2}" for i in range(40)]
    assert judged(folder, rows) == 0
    assert judged(folder, rows, "--kimg", "0.02", columns="image,a,c") == 1
    assert "made with attributes ['a', 'b'], not ['a', 'c']: take" in capsys.readouterr().err
    other = [f"{i},{(i + 1) % 2},{i // 2 % 2}" for i in range(40)]
    assert judged(folder, other, "--kimg", "0.02") == 1
    assert "was made with labels of the hash" in capsys.readouterr().err
    assert judged(folder, rows, "--kimg", "0.02") == 0


def test_a_finished_classifier_keeps_the_schedule_that_it_had(folder):
    rows = [f"{i},{i % 2},{i // 2 % 2}" for i in range(40)]
    for kimg in ("0.01", "0.005"):
        assert judged(folder, rows, "--kimg", kimg) == 0
        card = models.card("judge")
        assert card["kimg"] == card["recipe"]["schedule_kimg"] == 0.01
    assert judged(folder, rows, "--kimg", "0.02") == 0
    assert models.card("judge")["recipe"]["schedule_kimg"] == 0.02


def test_a_classifier_needs_both_kinds_of_every_attribute(folder, capsys):
    assert judged(folder, [f"{i},{i % 2},1" for i in range(40)]) == 1
    assert "Attribute 'b' has 39 positive and 0 negative images: 4" in capsys.readouterr().err


def test_a_classifier_is_not_trained_on_images_without_any_label(folder):
    """Batches of one image would have no loss, and what is held out no accuracy."""
    rows = [f"{i},{i % 2 if i < 20 else ''},{i % 2 if 20 <= i < 36 else ''}" for i in range(40)]
    assert judged(folder, rows, "--holdout", "1") == 0
    card = models.card("judge")
    assert card["images_used"] == 35
    assert len(card["evaluation"]) == 2 and all(map(math.isfinite, card["evaluation"].values()))


def test_a_classifier_can_be_trained_without_blur(folder):
    rows = [f"{i},{i % 2},{i % 2}" for i in range(40)]
    assert judged(folder, rows, "--blur", "0") == 0
    assert judged(folder, rows, "--blur", "1000") == 2
