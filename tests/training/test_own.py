"""`idinvert train gan` and `encoder`: models from a folder of images."""

import json
import shutil

import pandas as pd
import pytest
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.cli import train as train_command
from idinvert.codes import sample_codes
from idinvert.nn import stylegan
from idinvert.nn.classifier import Classifier
from idinvert.training import loop, runs
from idinvert.training.classifier import ClassifierTask
from idinvert.training.classifier import Recipe as ClassifierRecipe
from idinvert.training.encoder import Recipe
from idinvert.training.gan import GanEntry
from own import NETWORK, encoder, gan


@pytest.mark.parametrize("family, extra", [
    ("stylegan", []), ("stylegan", ["--layerwise"]), ("stylegan2", []),
    ("stylegan2", ["--layerwise"]),
])  # fmt: skip
def test_generator_then_encoder(folder, family, extra, capsys):
    assert gan(folder, "--architecture", family, *extra) == 0
    errors = capsys.readouterr().err
    assert "left out: 7.png is not an image" in errors and "1 images left out, 39 used" in errors
    card = models.card("own")
    assert card["architecture"] == f"{family}.Generator" and card["images_used"] == 39
    assert card["settings"]["layerwise"] == bool(extra) and card["kimg"] == 0.016
    assert encoder(folder, "--average") == 0
    generator, trained = models.load("own"), models.load("own-base")
    codes = trained(torch.rand(2, 3, 8, 8))
    assert generator.synthesis(codes).shape == (2, 3, 8, 8)
    average = sample_codes(generator, 10_000).mean(0)
    torch.testing.assert_close(trained.w_avg, average, rtol=1e-3, atol=1e-3)  # Eq. (6)
    assert models.card("own-base")["generator"] == "own"
    assert sorted(models.names()) == ["own", "own-base", "own-d"]


def test_a_discriminator_that_looks_through_vgg_trains_generator_and_encoder(folder, vgg16):
    assert gan(folder, judge="--projected", resolution=16) == 0
    card = models.card("own-d")
    assert card["architecture"] == "projected.Discriminator"
    assert models.card("own")["discriminator"] == "projected.Discriminator"
    assert encoder(folder) == 0
    assert "adversarial" in (runs.run_folder("own-base") / "log.jsonl").read_text()


def test_a_backbone_is_found_by_its_name(folder, capsys):
    gan(folder)
    assert encoder(folder, "--backbone", "backbones.MobileNet", size=[]) == 0
    assert models.card("own-base")["architecture"] == "backbones.MobileNet"
    assert models.load("own-base")(torch.rand(2, 3, 8, 8)).shape == (2, 4, 4)
    assert encoder(folder, "--backbone", "backbones.ResNt") == 1
    assert "did you mean 'backbones.ResNet'" in capsys.readouterr().err


def test_a_network_that_is_no_encoder_is_refused(folder, capsys):
    gan(folder)
    assert encoder(folder, "--backbone", "stylegan2.Generator") == 1
    assert "stylegan2.Generator is no encoder, for it has no w_std" in capsys.readouterr().err


def test_without_average_the_codes_are_not_offset(folder):
    gan(folder)
    encoder(folder)
    trained = models.load("own-base")
    assert not trained.w_avg.any() and (trained.w_std > 0).all()


def test_a_longer_run_continues_a_shorter_one(folder):
    gan(folder)
    gan(folder, kimg=0.032)
    lines = (folder / "runs" / "own" / "log.jsonl").read_text().splitlines()
    steps = [json.loads(x)["step"] for x in lines]
    assert steps == sorted(set(steps)) and steps[-1] == 4
    assert models.card("own")["kimg"] == 0.032


@pytest.mark.parametrize("left", ["", "\0\0\0"])
def test_a_run_whose_log_was_lost_is_finished_all_the_same(folder, left):
    gan(folder)
    (folder / "runs" / "own" / "log.jsonl").write_text(left)
    assert gan(folder) == 0
    card = models.card("own")
    assert card["kimg"] == 0.016 and card["seconds"] > 0


def test_what_was_made_for_a_generator_before_it_was_trained_on_is_named(folder, capsys):
    gan(folder)
    encoder(folder)
    assert "another generator now" not in capsys.readouterr().err
    gan(folder, kimg=0.032)
    assert ("own is another generator now: train, fit or import again what was made for the one "
            "before, own-base.") in capsys.readouterr().err


def test_an_encoder_does_not_go_on_for_another_generator(folder, capsys):
    """Not with more images, and not with nothing left to do, with its checkpoint or without."""
    gan(folder)
    encoder(folder)
    gan(folder, kimg=0.032)
    before = models.digest("own-base")
    for kimg in (0.016, 0.032):
        assert encoder(folder, kimg=kimg) == 1
        assert "own-base was made with a generator of the hash" in capsys.readouterr().err
    (folder / "runs" / "own-base" / "checkpoint.pt").unlink()
    assert encoder(folder) == 1
    assert models.digest("own-base") == before


@pytest.mark.parametrize("name", ["own", "own-d"])
def test_a_model_that_came_meanwhile_is_not_replaced(name, folder, capsys, monkeypatch):
    """What was trained stays, for when that model has got out of the way."""
    trained = loop.train

    def save_and_train(*arguments, **options):
        models.save(name, stylegan.Generator(8, 4, 4, 32, 8), imported="theirs.pkl")
        return trained(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", save_and_train)
        assert gan(folder) == 1
    assert f"a model '{name}' already" in capsys.readouterr().err
    assert models.card(name)["imported"] == "theirs.pkl"
    for path in models.folder().glob(f"{name}.*"):
        path.unlink()
    assert gan(folder) == 0 and "imported" not in models.card("own")


def test_an_encoder_is_not_published_for_a_generator_that_was_replaced(folder, capsys, monkeypatch):
    """While it was trained. What was trained stays, for when that generator is put back."""
    gan(folder)
    files = {path: path.read_bytes() for path in models.folder().glob("own*")}
    trained = loop.train

    def replace_and_train(*arguments, **options):
        for path in files:
            path.unlink()
        return trained(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", replace_and_train)
        assert encoder(folder) == 1
    assert "own was removed or replaced while own-base was trained" in capsys.readouterr().err
    assert not models.exists("own-base")
    for path, content in files.items():
        path.write_bytes(content)
    assert encoder(folder) == 0 and models.card("own-base")["kimg"] == 0.016


def test_names_that_leave_no_room_for_endings_are_told_before_the_training(folder, capsys):
    for name in ("n" * 199, "n" * 240):
        assert main(["train", "gan", name, "--images", str(folder / "photos"), "--kimg", "1",
                     "--resolution", "8", *NETWORK]) == 1
        assert "is too long for the name of a model: at most 200" in capsys.readouterr().err
    assert not (folder / "runs").exists()


def test_a_longer_encoder_run_goes_on_with_its_learning_rate(folder):
    """It does not jump back up, and the card tells the schedule."""
    gan(folder)
    encoder(folder)
    encoder(folder, kimg=0.032)
    state = torch.load(folder / "runs" / "own-base" / "checkpoint.pt")
    rate = state["task"]["optimizers"][0]["param_groups"][0]["lr"]
    assert rate == pytest.approx(5e-4 * 0.8 ** (4 * 3 / 2))  # the fourth step of a schedule of two
    card = models.card("own-base")
    assert (card["kimg"], card["recipe"]["schedule_kimg"]) == (0.032, 0.016)


def test_a_classifier_says_that_its_learning_rate_rises_again(capsys):
    network = Classifier(16, 2, channels=(4, 6))
    labels = pd.DataFrame({"a": [0.0, 1.0] * 12, "b": [1.0, 0.0] * 12})
    task = ClassifierTask(network, torch.zeros(24, 3, 16, 16, dtype=torch.uint8), labels, labels,
                          ClassifierRecipe(schedule_kimg=2, holdout=8))
    task.continue_schedule(2.0)
    assert not capsys.readouterr().err
    task.continue_schedule(0.5)
    assert capsys.readouterr().err == (
        "The learning rate was to fall to 0 over 0.5 thousand images; in this longer run it rises "
        "again, to fall to 0 at 2.\n")


def test_paths_are_compared_as_places(folder, monkeypatch):
    gan(folder)
    monkeypatch.chdir(folder)
    assert gan(folder, "--images", "photos/", kimg=0.032) == 0
    assert models.card("own")["kimg"] == 0.032


def test_a_run_goes_on_where_its_images_have_been_moved(folder, monkeypatch, capsys):
    """Or from another folder than the one that its path was told in. What counts is the content."""
    monkeypatch.chdir(folder)
    assert gan(folder, "--images", "photos") == 0
    monkeypatch.chdir(folder / "photos")
    assert gan(folder, kimg=0.032) == 0
    (folder / "photos").rename(folder / "moved")
    assert gan(folder, "--images", str(folder / "moved"), kimg=0.048) == 0
    (folder / "moved" / "3.png").unlink()
    assert gan(folder, "--images", str(folder / "moved"), kimg=0.064) == 1
    assert "own was made with images of the hash" in capsys.readouterr().err
    (folder / "runs" / "own" / "checkpoint.pt").unlink()  # with nothing to read, the place counts
    assert gan(folder, kimg=0.048) == 1
    assert "own was made with path" in capsys.readouterr().err


def test_a_run_among_its_images_adds_none(folder, monkeypatch):
    """Its sheets of samples are images too."""
    monkeypatch.setenv("IDINVERT_RUNS", str(folder / "photos" / "runs"))
    for kimg in (0.016, 0.032):
        assert gan(folder, kimg=kimg) == 0
        assert models.card("own")["images_used"] == 39


def test_a_model_is_not_replaced_by_one_that_was_trained_less(folder, capsys):
    """As where it was trained on with other machines, and came back without its run."""
    gan(folder)
    shutil.copytree(folder / "runs", folder / "older")
    gan(folder, kimg=0.064)
    shutil.rmtree(folder / "runs")
    shutil.move(folder / "older", folder / "runs")
    before = models.digest("own")
    for kimg in (0.016, 0.032, 0.08):
        assert gan(folder, kimg=kimg) == 1
        assert ("checkpoint.pt is of 0.016 thousand images, but own has been trained with 0.064, "
                "in another place: remove that file, and") in capsys.readouterr().err
        assert models.digest("own") == before
    (folder / "runs" / "own" / "checkpoint.pt").unlink()  # as it says
    assert gan(folder, kimg=0.08) == 0 and models.card("own")["kimg"] == 0.08


@pytest.mark.parametrize("kind", ["gan", "encoder"])
def test_a_training_that_diverges_in_its_last_step_is_told(folder, capsys, kind):
    """No figure of a step shows it."""
    if kind == "encoder":
        gan(folder)
    train, name = {"gan": (gan, "own"), "encoder": (encoder, "own-base")}[kind]
    assert train(folder, "--learning-rate", "1e30", kimg=0.008) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"{name} has diverged, for its " in error and "with lower learning rates" in error
    assert not models.exists(name) and not runs.begun(name)


def test_a_card_tells_the_device_that_was_trained_on(folder, monkeypatch):
    """Not a GPU that was left alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert gan(folder) == 0 and "CPU cores" in models.card("own")["hardware"]
    assert runs.hardware("cuda:1") == "GPU of cuda:1"


def test_a_run_of_an_older_version_goes_on(folder):
    """Its settings.json has other names, and lacks some."""
    gan(folder)
    path = folder / "runs" / "own" / "settings.json"
    path.write_text(json.dumps({"command": "gan", "images": str(folder / "photos"), "split": "all",
                                "batch": 8, "seed": 0, "resolution": 8, "layerwise": False}))
    assert gan(folder, kimg=0.032) == 0 and models.card("own")["kimg"] == 0.032


def test_a_finished_model_without_its_checkpoint_is_told_and_keeps_its_settings(folder, capsys):
    """With nothing left to train, another setting is not taken for the one that it has."""
    gan(folder)
    (folder / "runs" / "own" / "checkpoint.pt").unlink()
    assert gan(folder) == 0
    assert "(--kimg above 0.016 trains on)" in capsys.readouterr().out
    assert gan(folder, "--seed", "3") == 1
    assert "was made with seed 0, not 3" in capsys.readouterr().err


def test_settings_of_a_run_cannot_change_on_the_way(folder, capsys):
    gan(folder)
    assert gan(folder, "--seed", "3", kimg=0.032) == 1
    assert "was made with seed 0, not 3" in capsys.readouterr().err


def test_images_of_a_run_cannot_change_on_the_way(folder, capsys):
    gan(folder)
    (folder / "photos" / "3.png").unlink()
    assert gan(folder, kimg=0.032) == 1
    assert "own was made with images of the hash" in capsys.readouterr().err


def test_settings_of_another_type_are_another_value(folder, capsys):
    gan(folder)
    path = folder / "runs" / "own" / "settings.json"
    path.write_text('{"path": 3}')
    assert gan(folder, kimg=0.032) == 1
    assert "was made with path 3, not " in capsys.readouterr().err
    path.write_text('{"path": "\\u0000"}')  # no path at all
    assert gan(folder, kimg=0.032) == 1
    assert "was made with path \\x00, not " in capsys.readouterr().err


def test_a_generator_without_discriminator_gets_a_new_one(folder):
    """As published inversion generators have none."""
    settings = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    models.save("own", stylegan.Generator(**settings))
    assert encoder(folder) == 0
    assert models.names() == ["own", "own-base"]


def test_a_discriminator_of_another_generator_is_named(folder, capsys):
    """As one that is left where a generator was imported in the place of another one."""
    settings = {"channel_base": 64, "channel_max": 8}
    models.save("own", stylegan.Generator(8, z_dim=4, w_dim=4, **settings))
    models.save("own-d", stylegan.Discriminator(16, **settings))
    assert encoder(folder) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("own-d judges images of 16 px, but own renders 8: remove it for a new "
                          "one, or put that of own there.")
    for path in models.folder().glob("own-d.*"):
        path.unlink()
    assert encoder(folder) == 0


def test_a_flag_that_says_the_default_is_taken(folder):
    assert gan(folder, "--augment") == 0 and models.card("own")["recipe"]["augment"]


def test_models_are_not_overwritten(folder, capsys):
    settings = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    models.save("own", stylegan.Generator(**settings))
    assert gan(folder) == 1
    assert "There is a model 'own' already" in capsys.readouterr().err


def test_a_new_model_does_not_take_the_place_of_boundaries(folder, capsys):
    """Which would then seem damaged, and to be removed."""
    gan(folder)
    assert encoder(folder, "--name", "own-boundaries") == 1
    assert "is what the boundaries of 'own' are called: take another" in capsys.readouterr().err
    assert not models.exists("own-boundaries")


def test_a_model_of_the_study_does_not_replace_another_one_of_its_name(folder, capsys):
    settings = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    models.save("face-stylegan-layerwise", stylegan.Generator(**settings))
    assert main(["train", "face-stylegan-layerwise", "--kimg", "1"]) == 1
    assert "There is a model 'face-stylegan-layerwise' already" in capsys.readouterr().err
    assert main(["train", "--list"]) == 0
    assert "face-stylegan-layerwise                  another model" in capsys.readouterr().out


def test_models_of_own_images_and_of_the_study_do_not_go_on_from_one_another(folder, capsys):
    """Whichever was first: both are of the kind `gan`."""
    gan(folder)
    card = models.card("own")
    facts = {key: value for key, value in card.items() if key not in (
        "name", "architecture", "settings", "parameters", "sha256")}
    models.save("face-stylegan", models.load("own"), **facts)
    assert main(["train", "face-stylegan", "--kimg", "0.016"]) == 1
    assert "There is a model 'face-stylegan' already" in capsys.readouterr().err
    assert main(["train", "--list"]) == 0
    assert "face-stylegan                            another model" in capsys.readouterr().out
    del facts["images_used"]
    models.save("own", models.load("own"), **facts)
    assert gan(folder, kimg=0.032) == 1
    assert "There is a model 'own' already" in capsys.readouterr().err


def test_what_is_published_beside_a_model_replaces_no_other(folder, capsys):
    settings = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    models.save("own-d", stylegan.Generator(**settings), role="generator")
    assert gan(folder) == 1
    assert "a model 'own-d' already, as the discriminator of 'own'" in capsys.readouterr().err


def test_a_run_of_another_kind_is_not_this_model(folder, capsys):
    assert gan(folder) == 0
    assert encoder(folder, "--name", "own") == 1
    assert "There is a model 'own' already" in capsys.readouterr().err
    assert models.card("own")["kind"] == "gan"


@pytest.mark.parametrize("extra, message", [
    (["--resolution", "9"], "resolution must be a power of two"),
    (["--split", "ffhq"], "split ffhq needs 70000 images, but there are 40"),
    (["--images", "nowhere"], "nowhere does not exist"),
    (["--batch", "0"], "batch is 0, but should be greater than or equal to 1"),
    (["--kimg", "-1"], "kimg is -1.0, but should be greater than 0"),
    (["--resolution", "65536"], "resolution is 65536, but should be less than or equal to 4096"),
    (["--dimensions", "50000"], "A stylegan2.Generator of this size cannot be trained: it would"),
    (["--channel-base", "4"], "channel_base is 4, which leaves the layers of 8 px"),
])  # fmt: skip
def test_errors_are_one_sentence(folder, extra, message, capsys):
    assert gan(folder, *extra) in (1, 2)
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("idinvert train: error: ") and message in error


@pytest.mark.parametrize("advised, asked, batch", [
    ({}, {}, 16), ({"backbone": "pooled.Encoder"}, {}, 4),
    ({"backbone": "pooled.Encoder"}, {"recipe": Recipe(batch=2)}, 2)])
def test_photographs_are_trained_on_in_small_batches(advised, asked, batch, own_registry,
                                                     monkeypatch):
    """Sixteen at 1024 px would take 20 GB."""
    monkeypatch.setattr(models, "advice", lambda _: advised)
    entry = train_command.Encoder(generator="own", images="photos", **asked).entry()
    assert entry.recipe.batch == batch


def test_few_images_are_refused(folder, capsys):
    for path in sorted((folder / "photos").iterdir())[:30]:
        path.unlink()
    assert gan(folder) == 1
    assert "readable images, but at least 16 are needed" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["parent", "teacher"])
def test_a_generator_learns_from_generators_alone(own_registry, part):
    settings = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    entry = GanEntry("stylegan2.Generator", settings, "stylegan2.Discriminator", name="new",
                     kimg=1, domain="face", **{part: "own-base"})
    with pytest.raises(models.ModelsError, match="own-base is no generator, for it has no"):
        entry.make_task()


def test_runs_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IDINVERT_RUNS", "~/runs")
    assert runs.run_folder("own") == tmp_path / "runs" / "own"


