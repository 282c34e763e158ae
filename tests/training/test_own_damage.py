"""Runs of one's own whose cards, logs, checkpoints and settings are damaged."""

import json
import math

import pytest
import torch
from idinvert import models
from idinvert.nn import stylegan, stylegan2
from idinvert.training import runs
from own import encoder, gan


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


@pytest.mark.parametrize("family, resolution", [(stylegan2, 16), (stylegan, 8)])
def test_a_model_of_other_settings_is_not_gone_on_from(folder, capsys, family, resolution):
    """As one of the same name that was trained elsewhere, beside what is left of a run of here."""
    gan(folder)
    (folder / "runs" / "own" / "checkpoint.pt").unlink()
    card = models.card("own")
    facts = {key: card[key] for key in ("kind", "role", "images_used", "kimg", "seconds")}
    network = family.Generator(resolution, 4, 4, 64, 8)
    models.save("own", network, **facts)
    before = models.digest("own")
    status = gan(folder, kimg=0.032)
    error = capsys.readouterr().err.splitlines()[-1]
    assert status == 1 and "a model 'own' already, which this training does not go on" in error
    assert models.digest("own") == before


@pytest.mark.parametrize("schedule", ["5", -1, [1], math.inf])
def test_a_damaged_schedule_of_a_card_is_told(folder, capsys, schedule):
    gan(folder)
    encoder(folder)
    (folder / "runs" / "own-base" / "checkpoint.pt").unlink()
    path = models.folder() / "own-base.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {"recipe": {"schedule_kimg": schedule}}))
    assert encoder(folder, kimg=0.032) == 1
    assert "The card of own-base is damaged, for the schedule_kimg" in capsys.readouterr().err
