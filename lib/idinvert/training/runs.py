"""Runs: their folders, logs and what they cost.

A run lives in `runs/NAME` (or `$IDINVERT_RUNS/NAME`): checkpoint, log and sample sheets. The log of
a published model is kept in results/logs.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
from pathlib import Path

import torch

from idinvert import models
from idinvert.files import read_notes, replacing

# Settings that name a place, which can be spelled in several ways, and what tells its content
PLACES = {"path": "images of the hash", "labels": "labels of the hash"}
CHANGING = ("kimg", "schedule_kimg", "name", "notes")  # settings that may change during a run


def run_folder(name: str) -> Path:
    """Where checkpoint, log and sample sheets of a run lie."""
    registry = models.folder()
    above = registry.parent.parent  # results/weights, own/weights; but not above where we are
    beside = registry.parent in (Path.cwd(), Path(registry.anchor))
    default = (registry.parent if beside else above) / "runs"
    return Path(os.environ.get("IDINVERT_RUNS") or default).expanduser() / name


def begun(name: str) -> bool:
    """Whether there is a checkpoint from which a run goes on."""
    return checkpoint(name).exists()


def checkpoint(name: str) -> Path:
    """Where the checkpoint of a run is."""
    return run_folder(name) / "checkpoint.pt"


def is_new(name: str) -> bool:
    """Whether nothing of a model is here yet that a training would go on from."""
    return not (begun(name) or models.exists(name))


def is_here(name: str) -> bool:
    """Whether there is a run, or what is left of it, with images of one's own."""
    return begun(name) or (run_folder(name) / "settings.json").exists()


def log_folder() -> Path:
    """Where the logs of published models are kept, beside the models."""
    return models.folder().parent / "logs"


def kept_log(name: str) -> Path:
    """Where the log of a published model is kept; one that took no step has none."""
    return log_folder() / f"{name}.jsonl"


def repetition(name: str, seed: int) -> str:
    """Name of the run that trains a model again with another seed, of which only the log is kept.
    """
    return f"{name}-seed{seed}"


def keep_log(name: str) -> None:
    """Copy the log of a run to where those of published models are, if it took a step."""
    if read_log(name):
        with replacing(kept_log(name)) as temporary:
            shutil.copyfile(run_folder(name) / "log.jsonl", temporary)


def restore_log(name: str) -> None:
    """Let the log of a run begin with that of the published model from which it goes on."""
    if kept_log(name).exists():
        with replacing(run_folder(name) / "log.jsonl") as temporary:
            shutil.copyfile(kept_log(name), temporary)


def read_log(name: str) -> list[dict]:
    """The log lines of a run, none if it took no step."""
    log = run_folder(name) / "log.jsonl"
    return [json.loads(x) for x in log.read_text().splitlines()] if log.exists() else []


def evaluations(name: str) -> list[dict]:
    """The log lines of a run that hold an evaluation."""
    return [line for line in read_log(name) if "images_per_second" not in line]


def cost(name: str, device: str) -> dict:
    """Thousand images, seconds, hardware and last evaluation of a run on a device, from its log;
    zeros if it took no step, as a generator that is its parent but for its codes."""
    last = (read_log(name) or [{"kimg": 0, "seconds": 0}])[-1]
    figures = {k: v for k, v in (evaluations(name) or [{}])[-1].items()
               if k not in ("step", "kimg", "seconds")}
    return {"kimg": last["kimg"], "seconds": last["seconds"], "hardware": hardware(device),
            "torch": torch.__version__, "evaluation": figures}


def curve(name: str, points: int = 50) -> list[dict]:
    """The evaluations of a run from first to last, at most so many of them, without the clock."""
    lines = evaluations(name)
    every = max(1, math.ceil((len(lines) - 1) / (points - 1)))
    chosen = sorted({len(lines) - 1 - i for i in range(0, len(lines), every)})
    return [{k: v for k, v in lines[i].items() if k not in ("step", "seconds")} for i in chosen]


def hardware(device: str) -> str:
    """The processor of a device, in words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"


def check_settings(name: str, settings: dict) -> None:
    """Write the settings that a run depends on into its folder; ValueError as
    `compare_settings`."""
    now = compare_settings(name, settings)
    with replacing(run_folder(name) / "settings.json") as temporary:
        temporary.write_text(json.dumps(now, indent=1) + "\n")


def compare_settings(name: str, settings: dict, moved: bool = False) -> dict:
    """The settings that a run depends on, nested ones side by side.

    moved: do not compare places, for what is there will be compared.
    ValueError: a run that goes on was begun with another value of one. Names that only one of both
    has do not count: another version wrote the file. Nor does a place where the same content now
    lies, nor what a run was begun with of which neither a checkpoint nor a model is left.
    """
    path = run_folder(name) / "settings.json"
    now = {key: value for key, value in flat(settings).items() if key not in CHANGING}
    if path.exists() and not is_new(name):  # else nothing is left that was made with others
        before = read_notes(path)
        before.setdefault("path", before.get("images"))  # as older versions called it
        known = now.keys() & before.keys()
        for key in known:
            if key in PLACES and (moved or PLACES[key] in known):
                continue
            if place(key, before[key]) != place(key, now[key]):
                raise ValueError(f"{path.parent} was made with {key} {before[key]}, not "
                                 f"{now[key]}: take another name, or remove that folder and the "
                                 "model to begin anew.")
    return now


def flat(settings: dict) -> dict:
    """Nested settings side by side."""
    found = {}
    for key, value in settings.items():
        found |= flat(value) if isinstance(value, dict) else {key: value}
    return found


def place(key: str, value: object) -> object:
    """A setting as it is compared: a path as the place that it names."""
    named = key in PLACES and value and isinstance(value, str) and "\0" not in value
    return str(Path(value).resolve()) if named else value
