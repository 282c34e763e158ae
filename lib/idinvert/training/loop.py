"""The one training loop: steps, status line, JSON-lines log, sample sheets, checkpoints.

All randomness of a step comes from `torch.manual_seed` of (seed, step), so that a run which is
interrupted and continued takes exactly the steps that one uninterrupted run takes.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from idinvert import devices, processes
from idinvert.data import write_image
from idinvert.files import replacing

from .steps import NetworkTask

SEED_STRIDE = 10_000_019  # keeps the steps of neighbouring seeds apart
FASTEST = 1e6  # images a second: beyond what any machine trains
ENDING = {"step", "kimg", "seconds", "images_per_second"}  # what a line of `end_log` has


@dataclass(frozen=True)
class Schedule:
    """How long to train and how often to report."""

    kimg: float  # thousand images in all
    tick_kimg: float = 2.0  # between two log lines
    checkpoint_kimg: float = 20.0  # between two checkpoints, evaluations and sample sheets
    seed: int = 0
    minutes: float = math.inf  # stop cleanly after this wall-clock time


def train(task: NetworkTask, folder: Path, schedule: Schedule, progress: bool = True,
          start: tuple[int, float] = (0, 0.0), writes: bool = True) -> bool:
    """Train until `schedule.kimg`, continuing from the checkpoint in `folder` if there is one.

    Without a checkpoint the run begins at `start`, the steps and seconds already spent elsewhere.

    Writes `log.jsonl`, `checkpoint.pt` and `sample-KIMG.png` into the folder. Ctrl-C, SIGTERM,
    SIGHUP and the end of `schedule.minutes` finish the step, save and return False; True means
    finished. Of several processes that train one task together, one `writes`.
    ValueError: the checkpoint is of another architecture, or another one than the other processes
    have, or the training diverges.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step, spent, sums = resume(task, folder, start, writes)
    if not processes.same(step):
        raise ValueError(f"The processes do not find the same checkpoint in {folder}: let them "
                         "share that folder, or copy it to each machine.")
    steps = math.ceil(schedule.kimg * 1000 / task.batch)
    if writes and step >= max(steps, 1):
        end_log(folder, step, task.batch, spent)
    begun = tick_start = time.monotonic()
    tick_step = step
    bar = tqdm(total=steps * task.batch, initial=step * task.batch, unit="img", unit_scale=True,
               desc=folder.name, disable=not progress, mininterval=2)
    with bar, interruptible() as stopped:
        while step < steps:
            torch.manual_seed(schedule.seed * SEED_STRIDE + step)
            for name, value in task.step(step).items():
                total, count = sums.get(name, (0.0, 0))
                sums[name] = (total + exact(value), count + 1)
            step += 1
            bar.update(task.batch)
            now, done = time.monotonic(), step == steps
            stop = processes.any_of(stopped() or now - begun > schedule.minutes * 60)
            if writes and (done or crossed(step, task.batch, schedule.tick_kimg)):
                rate = (step - tick_step) * task.batch / max(now - tick_start, 1e-9)
                means = {name: float(total) / count for name, (total, count) in sums.items()}
                check_finite(folder, means)
                append(folder, step, task.batch, spent + now - begun,
                       {"images_per_second": rate, **means})
                bar.set_postfix_str(" ".join(f"{k}={v:.3g}" for k, v in means.items()))
                sums.clear()
                tick_start, tick_step = now, step
            if writes and (done or stop or crossed(step, task.batch, schedule.checkpoint_kimg)):
                sums = {name: (float(total), count) for name, (total, count) in sums.items()}
                check_finite(folder, {name: total for name, (total, _) in sums.items()})
                keep(task, folder, step, spent - begun, sums)
                tick_start += time.monotonic() - now  # what took no steps does not count
            if stop and not done:
                if writes:
                    end_log(folder, step, task.batch, spent + now - begun)
                return False
    return True


def exact(value: Tensor | float) -> Tensor | float:
    """A figure in double precision; on CUDA where it is: to read it would be to wait for the GPU.
    Others, as that of a Mac, do not have that precision."""
    if not isinstance(value, Tensor):
        return value
    return value.detach().double() if value.is_cuda else value.item()


def check_finite(folder: Path, figures: dict[str, float]) -> None:
    """ValueError if a figure of the steps, or of the networks after them, is not finite."""
    for name, value in figures.items():
        if not math.isfinite(value):
            raise ValueError(f"{folder.name} has diverged, for its {name} is {value}: what was "
                             "saved before is kept; begin anew with lower learning rates, and "
                             "other settings nearer to their defaults.")


def crossed(step: int, batch: int, kimg: float) -> bool:
    """Whether this step is the first at or beyond a multiple of `kimg` thousand images."""
    return int(step * batch / (kimg * 1000)) > int((step - 1) * batch / (kimg * 1000))


def resume(task: NetworkTask, folder: Path, start: tuple[int, float], writes: bool = True
           ) -> tuple[int, float, dict[str, tuple[float, int]]]:
    """Load the checkpoint if there is one, drop log lines after it (all if the run begins).

    Returns the steps and seconds already spent, and sum and count of each figure since the last log
    line, so that the next line is that of an uninterrupted run. A run may go on with another batch
    size: steps are then counted in the new one.
    """
    path, log = folder / "checkpoint.pt", folder / "log.jsonl"
    if not path.exists():
        if not start[0] and writes:
            log.unlink(missing_ok=True)
        elif writes:
            shorten_log(log, math.inf)
        return *start, {}
    state = read_checkpoint(path)
    check_architecture(state["task"], task.state_dict(), path)
    with undamaged(path):
        task.load_state_dict(state["task"])
    if writes:
        shorten_log(log, state["step"] * state.get("batch", task.batch) / 1000)
    step = round(state["step"] * state.get("batch", task.batch) / task.batch)
    return step, state["seconds"], state["sums"]


def reached(path: Path, batch: int) -> float:
    """Thousand images of a checkpoint, if it does not tell otherwise in steps of a batch;
    ValueError: it is damaged."""
    state = read_checkpoint(path)
    return state["step"] * state.get("batch", batch) / 1000


def read_checkpoint(path: Path) -> dict:
    """What a checkpoint holds; ValueError: it is damaged."""
    with undamaged(path):
        state = torch.load(path, weights_only=True, map_location="cpu")
        sums = {name: (float(total), int(count))
                for name, (total, count) in state.get("sums", {}).items()}
        state |= {"step": int(state["step"]), "seconds": float(state["seconds"]),
                  "task": dict(state["task"]), "sums": sums}
        counts = [state["step"] + 1, state.get("batch", 1), *(count for _, count in sums.values())]
        seen, most = state["step"] * state.get("batch", 1), FASTEST * max(state["seconds"], 1.0)
        if min(counts) < 1 or not math.isfinite(state["seconds"]) or seen > most:
            raise ValueError("a number that no training writes")
        return state


@contextmanager
def undamaged(path: Path):
    """Inside the block, what cannot be taken from a checkpoint is a ValueError: it is damaged."""
    try:
        yield
    except Exception as error:  # damaged files raise many types
        if isinstance(error, OSError) or devices.is_out_of_memory(error):
            raise
        raise ValueError(f"{path} is damaged: remove it, and the training goes on from the saved "
                         "model, or begins anew if there is none.") from error


def check_architecture(found: dict, expected: dict, path: Path) -> None:
    """ValueError naming the first tensor that is missing, unknown or of another shape."""
    found, expected = tensor_shapes(found), tensor_shapes(expected)
    networks = {name.split(".")[0] for name in expected}
    unknown = [n for n in found if n not in expected and n.split(".")[0] in networks]
    for name in [*expected, *unknown]:
        if found.get(name) != expected.get(name):
            there, here = (f"shape {shapes[name]}" if name in shapes else "no value"
                           for shapes in (found, expected))
            raise ValueError(f"{path} is of another architecture: '{name}' has {there} there, "
                             f"{here} here.")


def tensor_shapes(state: dict, prefix: str = "") -> dict[str, list[int]]:
    """Shapes of the tensors in nested dicts by dotted name; optimisers' lists are left out."""
    shapes = {}
    for name, value in state.items():
        if isinstance(value, dict):
            shapes |= tensor_shapes(value, f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            shapes[f"{prefix}{name}"] = list(value.shape)
    return shapes


def shorten_log(log: Path, kimg: float) -> None:
    """Keep the lines of a log, if there is one, that are `complete`."""
    if log.exists():
        lines = log.read_text("utf-8", "replace").splitlines()
        with replacing(log) as temporary:
            temporary.write_text("".join(x + "\n" for x in lines if complete(x, kimg)))


def complete(line: str, kimg: float) -> bool:
    """Whether a log line is whole, of numbers alone, not beyond so many thousand images, and not
    of `end_log`."""
    try:
        found = json.loads(line)
        return (found["kimg"] <= kimg + 1e-6 and found["seconds"] >= 0
                and all(map(math.isfinite, found.values())) and not found.keys() <= ENDING)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return False


def keep(task: NetworkTask, folder: Path, step: int, clock: float, sums: dict) -> None:
    """Log the evaluation, write the sample sheet, then the checkpoint, whole or not at all; nothing
    if the networks have diverged in the last step, which its own figures do not show.

    clock: what to add to `time.monotonic()` for the seconds that the run has taken.
    """
    state, picture = task.state_dict(), task.sample()
    shown = {} if picture is None else {"sample": picture}
    weights = {f"{name}.{key}": value for name, network in state.items()
               if isinstance(network, dict) for key, value in network.items()}
    check_finite(folder, {name: float(value.abs().max())
                          for name, value in (weights | shown).items()
                          if value.is_floating_point() and value.numel()})
    if figures := {key: x for key, x in task.evaluate().items() if math.isfinite(x)}:
        append(folder, step, task.batch, clock + time.monotonic(), figures)
    if picture is not None:
        path = folder / f"sample-{round(step * task.batch / 1000):05d}.png"
        write_image(path, picture.clamp(-1, 1))
    with replacing(folder / "checkpoint.pt") as temporary:
        torch.save({"step": step, "batch": task.batch, "seconds": clock + time.monotonic(),
                    "sums": sums, "task": state}, temporary)


def end_log(folder: Path, step: int, batch: int, seconds: float) -> None:
    """Let the log of a run that stops, or has nothing left to do, tell how far it came: between
    two lines, and where its last lines were lost, as when the power fails."""
    log = folder / "log.jsonl"
    last = log.read_text().splitlines()[-1:] if log.exists() else []
    if not last or json.loads(last[0])["kimg"] < step * batch / 1000 - 1e-6:
        append(folder, step, batch, seconds,
               {"images_per_second": step * batch / max(seconds, 1e-9)})


def append(folder: Path, step: int, batch: int, seconds: float, figures: dict) -> None:
    """Add one line to the log: step, thousand images, seconds and the figures."""
    line = {"step": step, "kimg": step * batch / 1000, "seconds": round(seconds, 3),
            **{name: float(f"{value:.6g}") for name, value in figures.items()}}
    folder.mkdir(parents=True, exist_ok=True)  # it may have been moved, or removed, meanwhile
    with open(folder / "log.jsonl", "a") as f:
        f.write(json.dumps(line) + "\n")


@contextmanager
def interruptible():
    """Give a function that tells whether Ctrl-C, SIGTERM or SIGHUP came; a second Ctrl-C stops at
    once. SIGHUP, of a terminal that is closed, stays ignored where it is, as under nohup; outside
    the main thread, which alone gets signals, none comes."""
    came = []
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        signals = []

    def note(number, _frame):
        came.append(number)
        signal.signal(number, previous[number])

    previous = {s: signal.signal(s, note) for s in signals}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
