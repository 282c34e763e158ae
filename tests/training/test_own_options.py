"""Options of `idinvert train` that change what is trained, or say why they do not."""

import json
import shutil
import warnings

import pytest
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.cli import train as train_command
from idinvert.data import write_image
from idinvert.nn import noise_encoder, stylegan
from own import encoder, gan

SETTINGS = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}


def told(capsys):
    """The last line of what was said."""
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words, backbone, batch, average", [
    ([], "pooled.Encoder", 4, True), (["--batch", "16"], "pooled.Encoder", 16, True),
    (["--backbone", "pooled.Encoder"], "pooled.Encoder", 4, True),
    (["--backbone", "encoder.Encoder"], "encoder.Encoder", 4, False)])
def test_what_is_asked_for_is_trained_for_photographs_too(words, backbone, batch, average,
                                                          own_registry, monkeypatch):
    """Also where it is what other generators have by default."""
    monkeypatch.setattr(models, "advice", lambda _: {"backbone": "pooled.Encoder"})
    options = train_command.read_options(train_command.Encoder, [
        "--generator", "own", "--images", "photos", *words], "train encoder", "")
    entry = options.entry()
    assert (entry.architecture, entry.recipe.batch, entry.average) == (backbone, batch, average)


def test_a_size_that_a_backbone_does_not_have_is_refused(folder, capsys):
    gan(folder)
    assert encoder(folder, "--backbone", "backbones.MobileNet") == 2
    assert "backbones.MobileNet does not use --channel-base: leave it out." in told(capsys)


def test_every_network_that_has_a_size_gets_it(folder):
    models.save("own", stylegan.Generator(**SETTINGS))
    assert encoder(folder, "--backbone", "noise_encoder.NoiseEncoder") == 0
    assert models.card("own-base")["settings"]["channel_max"] == 8
    assert isinstance(models.load("own-base"), noise_encoder.NoiseEncoder)


def test_an_e4e_encoder_is_no_backbone(folder, capsys):
    """Its offsets would never be in use."""
    gan(folder)
    assert encoder(folder, "--backbone", "e4e.OffsetEncoder") == 1
    assert "e4e.OffsetEncoder has offsets that only a training of the kind 'e4e'" in told(capsys)


def test_batch_norm_needs_two_images(folder, capsys, vgg16):
    """A projected discriminator, which compares no images, does not ask for more."""
    gan(folder, judge="--projected", resolution=16)
    assert encoder(folder, "--batch", "1") == 1
    assert told(capsys).endswith("batch norm compares the images of a batch: it must be 2 or more.")


def gan_entry(*words):
    return train_command.read_options(train_command.Gan, ["own", "--images", "photos", *words],
                                      "train gan", "").entry()


def test_settings_that_change_nothing_are_told():
    with pytest.warns(UserWarning, match="--r1-every changes nothing: a projected discriminator"):
        gan_entry("--r1-every", "4")
    with pytest.warns(UserWarning, match="--teacher-weight changes nothing: there is no teacher"):
        gan_entry("--no-projected", "--teacher-weight", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gan_entry("--no-projected", "--r1-every", "4")


@pytest.mark.parametrize("judge, told", [("projected", True), ("stylegan2", False)])
def test_a_penalty_that_the_discriminator_of_a_generator_does_not_have_is_told(
        own_registry, judge, told, monkeypatch):
    found = None, f"{judge}.Discriminator"
    monkeypatch.setattr(train_command, "own_or_new", lambda name: found)
    with warnings.catch_warnings(record=True) as said:
        train_command.read_options(
            train_command.Encoder, ["--generator", "own", "--images", "photos", "--r1-gamma", "3"],
            "train encoder", "").entry()
    unused = [str(x.message) for x in said if "--r1-gamma changes nothing" in str(x.message)]
    assert len(unused) == told


def test_a_schedule_that_a_run_does_not_take_is_told(folder, capsys):
    """It goes on with the one that it began with, also where that was asked for without words."""
    gan(folder)
    said = "goes on to decay over 0.016 thousand images, as this run began, not over "
    assert encoder(folder) == 0 and "to decay" not in capsys.readouterr().err
    assert encoder(folder) == 0 and "to decay" not in capsys.readouterr().err
    assert encoder(folder, "--schedule-kimg", "5", kimg=0.032) == 0
    assert f"{said}5: only a run that" in capsys.readouterr().err
    (folder / "runs" / "own-base" / "checkpoint.pt").unlink()  # from the published model, too
    assert encoder(folder, kimg=0.048) == 0
    assert f"{said}0.048: only a run that" in capsys.readouterr().err
    assert models.card("own-base")["recipe"]["schedule_kimg"] == 0.016


def test_a_run_that_has_kept_nothing_begins_anew_with_other_settings(folder, capsys):
    """As it is told to where it has diverged or memory ran out."""
    assert gan(folder, "--learning-rate", "1e30", kimg=0.008) == 1
    assert "begin anew with lower learning rates, and other settings nearer" in told(capsys)
    assert gan(folder, "--seed", "3") == 0
    settings = json.loads((folder / "runs" / "own" / "settings.json").read_text())
    assert (settings["learning_rate"], settings["seed"]) == (2e-3, 3)
    assert gan(folder, kimg=0.032) == 1 and "was made with seed 3, not 0" in told(capsys)


def test_images_of_the_folder_that_one_is_in_have_a_name(folder, monkeypatch):
    monkeypatch.chdir(folder / "photos")
    assert gan(folder, "--images", ".") == 0
    assert models.card("own")["data"] == "photos"


def test_images_and_labels_without_the_other_are_counted(folder, capsys):
    torch.manual_seed(0)
    rows = [f"{i},{i % 2}" for i in range(5, 60)]
    (folder / "labels.csv").write_text("\n".join(["image,a", *rows]))
    assert main(["train", "classifier", "judge", "--images", str(folder / "photos"), "--labels",
                 str(folder / "labels.csv"), "--resolution", "16", "--kimg", "0.01", "--batch", "8",
                 "--device", "cpu"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "5 of 40 images have no label and are left out." in lines
    assert "20 of 55 labels have no image and are left out." in lines
    assert models.card("judge")["images_used"] == 34


def test_held_out_images_of_a_run_cannot_change_on_the_way(folder, capsys):
    """Its figures before and after would not be of the same images."""
    gan(folder)
    encoder(folder)
    write_image(folder / "photos" / "39.png", torch.zeros(3, 9, 12))
    assert encoder(folder, kimg=0.032) == 1
    assert "own-base was made with held-out images of the hash" in told(capsys)


def test_a_number_too_large_for_any_memory_is_told(folder, capsys):
    assert gan(folder, "--batch", str((1 << 63) - 4)) == 1
    assert told(capsys).endswith("a number among the options is too large to compute with.")


@pytest.mark.parametrize("words, said", [
    (["--all", "--seed", "1"], "name the models whose training is to be repeated"),
    (["--kimg", "1", "gan", "own"], "gan comes first: idinvert train gan, then its options.")])
def test_what_fits_no_training_of_the_study_is_told(words, said, capsys):
    assert main(["train", *words]) == 2 and said in told(capsys)


def test_what_was_made_for_a_generator_that_is_trained_anew_is_named(folder, capsys):
    """As it is told to where its settings are to change."""
    gan(folder)
    encoder(folder)
    shutil.rmtree(folder / "runs" / "own")
    for path in models.folder().glob("own.*"):
        path.unlink()
    capsys.readouterr()
    assert gan(folder, "--seed", "3") == 0
    assert "made for the one before, own-base." in capsys.readouterr().err
    assert gan(folder, "--seed", "3") == 0
    assert "made for the one before" not in capsys.readouterr().err


def test_a_classifier_of_another_size_than_its_generator_is_told(folder):
    models.save("own", stylegan.Generator(**SETTINGS | {"resolution": 16}))
    words = ["own-classifier", "--images", "photos", "--labels", "labels.csv"]

    def entry(*more):
        train_command.read_options(train_command.Classifier, [*words, *more], "x", "").entry()

    with pytest.warns(UserWarning, match="of 64 px, but own renders 16: take --resolution 16"):
        entry()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        entry("--resolution", "16")
