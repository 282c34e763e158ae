"""`idinvert train gan` and `encoder`: models from a folder of images."""

import json
import math
import shutil

import pandas as pd
import pytest
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.cli import train as train_command
from idinvert.codes import sample_codes
from idinvert.data import write_image
from idinvert.nn import stylegan
from idinvert.nn.classifier import Classifier
from idinvert.training import loop, runs
from idinvert.training.classifier import ClassifierTask
from idinvert.training.classifier import Recipe as ClassifierRecipe
from idinvert.training.encoder import Recipe
from idinvert.training.gan import GanEntry

NETWORK = ["--channel-base", "64", "--channel-max", "8", "--batch", "8", "--device", "cpu"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Forty images, one of which is none, and a registry of one's own."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "results" / "weights"))
    monkeypatch.setenv("IDINVERT_RUNS", str(tmp_path / "runs"))
    torch.manual_seed(0)
    for i in range(40):
        write_image(tmp_path / "photos" / f"{i}.png", torch.rand(3, 9, 12) * 2 - 1)
    (tmp_path / "photos" / "7.png").write_bytes(b"no image")
    return tmp_path


def gan(folder, *extra, kimg=0.016, judge="--no-projected", resolution=8):
    return main(["train", "gan", "own", "--images", str(folder / "photos"),
                 "--resolution", str(resolution), "--dimensions", "4",
                 "--kimg", str(kimg), judge, *NETWORK, *extra])


def encoder(folder, *extra, kimg=0.016):
    return main(["train", "encoder", "--generator", "own", "--images", str(folder / "photos"),
                 "--kimg", str(kimg), "--lambda-vgg", "0", *NETWORK, *extra])


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
    assert encoder(folder, "--backbone", "backbones.MobileNet") == 0
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


def change_card(**changes):
    path = models.folder() / "own.json"
    card = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in card.items() if value != "gone"}))


@pytest.mark.parametrize("key", ["kimg", "seconds"])
@pytest.mark.parametrize("value", [math.nan, -5, math.inf, "gone"])
def test_a_card_with_numbers_that_no_training_has_is_damaged(folder, capsys, key, value):
    """Without one, the training goes on as if it had cost nothing."""
    gan(folder)
    (folder / "runs" / "own" / "checkpoint.pt").unlink()
    change_card(**{key: value})
    status = gan(folder, kimg=0.032)
    assert status == (0 if value == "gone" else 1)
    assert ("own.json is no card of a model" in capsys.readouterr().err) == bool(status)


def test_damaged_lines_of_a_kept_log_are_left_out(folder):
    gan(folder)
    (folder / "runs" / "own" / "checkpoint.pt").unlink()
    with open(runs.kept_log("own"), "ab") as log:
        log.write(b'{"kimg": 0.016, "loss": 1}\n{"kimg": 0.016, "seconds": 1, "loss": "1"}\n'
                  b'{"kimg": 0.016, "seconds": NaN, "loss": 1}\n')
        log.write(b'\xff\xfe{\n[]\n3\n{"kimg": 1')
    assert gan(folder, kimg=0.032) == 0
    assert [line["kimg"] for line in runs.read_log("own")] == [0.008, 0.016, 0.024, 0.032]


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
        "The learning rate fell to 0 over 0.5 thousand images; in this longer run it rises again, "
        "to fall to 0 at 2.\n")


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


def change_task(path, network, **tensors):
    """Put other tensors into a network of a checkpoint."""
    state = torch.load(path)
    assert tensors.keys() <= state["task"][network].keys()
    state["task"][network].update(tensors)
    torch.save(state, path)


def change_moments(path, **values):
    """Change what Adam keeps of the first parameter in a checkpoint, or remove it."""
    state = torch.load(path)
    kept = next(iter(state["task"]["optimizers"][0]["state"].values()))
    kept.update(values)
    for name in [name for name, value in values.items() if value is None]:
        del kept[name]
    torch.save(state, path)


DAMAGES = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "empty": lambda path: path.write_bytes(b""),
    "another file": lambda path: path.write_text("<html>"),
    "without parts": lambda path: torch.save({"step": 2, "seconds": 1.0}, path),
    "other parts": lambda path: torch.save(
        torch.load(path) | {"task": torch.load(path)["task"] | {"optimizers": [3]}}, path),
    "whole numbers": lambda path: change_task(path, "average", const=torch.ones(
        1, 8, 4, 4, dtype=torch.int8)),
    "no second moments": lambda path: change_moments(path, exp_avg_sq=None),
    "other moments": lambda path: change_moments(path, exp_avg=torch.ones(3, 3)),
    "negative steps": lambda path: change_moments(path, step=torch.tensor(-5.0)),
} | {f"{change}": lambda path, change=change: torch.save(torch.load(path) | change, path)
     for change in ({"step": -5}, {"step": 10**9}, {"step": 10**400}, {"batch": 10**9},
                    {"batch": 0}, {"batch": "8"}, {"seconds": math.nan}, {"seconds": math.inf},
                    {"sums": {"g_loss": 3}}, {"sums": {"g_loss": (1.0, 0)}})}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_loses_nothing(folder, capsys, damage):
    gan(folder)
    path = folder / "runs" / "own" / "checkpoint.pt"
    DAMAGES[damage](path)
    files = [path, path.with_name("log.jsonl"), models.folder() / "own.json"]
    before = [file.read_bytes() for file in files]
    capsys.readouterr()
    assert gan(folder, kimg=0.032) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"error: {path} is damaged: remove it, and the training goes on from the" in error
    assert [file.read_bytes() for file in files] == before
    path.unlink()  # as it says
    assert gan(folder, kimg=0.032) == 0
    kimg = [line["kimg"] for line in runs.read_log("own")]
    assert kimg[0] <= 0.016 < kimg[-1] == models.card("own")["kimg"] == 0.032


@pytest.mark.parametrize("content", ["", '{"seed": ', "[]", "\udcff"])
def test_damaged_settings_of_a_run_are_named_and_lose_nothing(folder, capsys, content):
    gan(folder)
    path = folder / "runs" / "own" / "settings.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert gan(folder, kimg=0.032) == 1
    assert f"error: {path} is damaged: remove it if you know" in capsys.readouterr().err
    path.unlink()
    assert gan(folder, kimg=0.032) == 0 and models.card("own")["kimg"] == 0.032


def test_settings_of_another_type_are_another_value(folder, capsys):
    gan(folder)
    (folder / "runs" / "own" / "settings.json").write_text('{"path": 3}')
    assert gan(folder, kimg=0.032) == 1
    assert "was made with path 3, not " in capsys.readouterr().err


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
def test_photographs_are_trained_on_in_small_batches(advised, asked, batch, monkeypatch):
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
