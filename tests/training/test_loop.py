"""The training loop: interrupted runs continue as if they had not been, files are whole."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from idinvert.training import loop
from idinvert.training.loop import Schedule, train


class Walk:
    """A random walk in place of a network; at the step `interrupt` it sends itself a signal, Ctrl-C
    unless told."""

    batch = 10

    def __init__(self, size=3, interrupt=None, breaks=None, by=signal.SIGINT):
        self.place = torch.zeros(size)
        self.interrupt, self.breaks, self.by = interrupt, breaks, by
        self.steps = []

    def step(self, step):
        self.steps.append(step)
        if step == self.interrupt:
            os.kill(os.getpid(), self.by)
        if step == self.breaks:
            raise RuntimeError("power cut")
        self.place += torch.randn(len(self.place))
        figures = {"place": self.place.sum()}
        return figures | ({"rare": float(step)} if step % 4 == 0 else {})

    def state_dict(self):
        return {"walker": {"place": self.place.clone()}, "optimizers": [{"lr": 1.0}]}

    def load_state_dict(self, state):
        self.place.copy_(state["walker"]["place"])

    def evaluate(self):
        return {}

    def sample(self):
        return self.place.tanh().reshape(-1, 1, 1).expand(3, 4, 4)


# 40 steps, a log line every 5, a checkpoint every 8
SCHEDULE = {"kimg": 0.4, "tick_kimg": 0.05, "checkpoint_kimg": 0.08, "seed": 3}


def run(task, folder, **changes):
    return train(task, folder, Schedule(**(SCHEDULE | changes)), progress=False)


def log(folder):
    """Log lines without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


@pytest.fixture
def whole(tmp_path):
    """An uninterrupted run: its final place and log."""
    task, folder = Walk(), tmp_path / "whole"
    assert run(task, folder)
    return task.place, log(folder)


def test_log_lines_are_means_between_ticks(whole):
    _, lines = whole
    assert [line["step"] for line in lines] == list(range(5, 41, 5))
    assert lines[0]["kimg"] == 0.05
    assert lines[0]["rare"] == 2.0  # steps 0 and 4
    torch.manual_seed(3 * loop.SEED_STRIDE)
    first = torch.randn(3)
    torch.manual_seed(3 * loop.SEED_STRIDE + 1)
    walk = [first, first + torch.randn(3)]
    for step in (2, 3, 4):
        torch.manual_seed(3 * loop.SEED_STRIDE + step)
        walk.append(walk[-1] + torch.randn(3))
    mean = torch.stack(walk).sum(1).mean().item()
    assert lines[0]["place"] == pytest.approx(mean, rel=1e-4)


@pytest.mark.parametrize("interrupt", [0, 6, 7, 14, 38])
def test_interrupted_run_continues_to_the_same_numbers(tmp_path, whole, interrupt):
    first = Walk(interrupt=interrupt)
    assert not run(first, tmp_path)
    assert first.steps == list(range(interrupt + 1))  # the step is finished, no other begun
    second = Walk()
    assert run(second, tmp_path)
    assert second.steps == list(range(interrupt + 1, 40))
    assert torch.equal(second.place, whole[0])
    assert log(tmp_path) == whole[1]


@pytest.mark.parametrize("breaks", [5, 11, 20, 39])
def test_crashed_run_continues_from_its_checkpoint(tmp_path, whole, breaks):
    """Log lines beyond the checkpoint, and one that was cut off, are dropped and written again."""
    with pytest.raises(RuntimeError, match="power cut"):
        run(Walk(breaks=breaks), tmp_path)
    with open(tmp_path / "log.jsonl", "a") as f:
        f.write('{"step": 3, "ki')
    task = Walk()
    assert run(task, tmp_path)
    assert task.steps[0] == breaks // 8 * 8
    assert torch.equal(task.place, whole[0])
    assert log(tmp_path) == whole[1]


def test_finished_run_goes_on_to_a_longer_schedule(tmp_path, whole):
    run(Walk(), tmp_path, kimg=0.2)
    again = Walk()
    assert run(again, tmp_path, kimg=0.2) and again.steps == []
    assert run(again, tmp_path) and again.steps == list(range(20, 40))
    assert torch.equal(again.place, whole[0])


def test_seeds_differ(tmp_path, whole):
    task = Walk()
    run(task, tmp_path, seed=4)
    assert not torch.allclose(task.place, whole[0])


def test_time_limit_stops_cleanly(tmp_path, whole):
    task = Walk()
    assert not run(task, tmp_path, minutes=0)
    assert task.steps == [0] and (tmp_path / "checkpoint.pt").exists()
    last = json.loads((tmp_path / "log.jsonl").read_text())
    assert last["step"] == 1 and last["kimg"] == 0.01  # from which the cost of a model is read
    task = Walk()
    assert run(task, tmp_path)
    assert torch.equal(task.place, whole[0])


@pytest.fixture
def hangup(request):
    """What SIGHUP does, whether or not the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("hangup", [signal.SIG_DFL], indirect=True)
def test_a_closed_terminal_loses_nothing(hangup, tmp_path, whole):
    task = Walk(interrupt=2, by=signal.SIGHUP)
    assert not run(task, tmp_path) and task.steps == [0, 1, 2]
    task = Walk()
    assert run(task, tmp_path) and task.steps[0] == 3
    assert torch.equal(task.place, whole[0])


@pytest.mark.parametrize("hangup", [signal.SIG_IGN], indirect=True)
def test_under_nohup_a_training_goes_on(hangup, tmp_path, whole):
    task = Walk(interrupt=2, by=signal.SIGHUP)
    assert run(task, tmp_path)
    assert torch.equal(task.place, whole[0])


def test_a_training_can_run_in_a_thread(tmp_path, whole):
    task = Walk()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, task, tmp_path).result()
    assert torch.equal(task.place, whole[0])


def test_signals_are_put_back(tmp_path):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    run(Walk(interrupt=2), tmp_path)
    assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


def test_checkpoint_is_whole_or_not_there(tmp_path, monkeypatch):
    run(Walk(), tmp_path, kimg=0.1)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def cut(state, path):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(OSError, match="disk full"):
        run(Walk(), tmp_path, kimg=0.2)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name]


def test_sample_sheets_are_named_by_thousand_images(tmp_path):
    run(Walk(), tmp_path, kimg=2, checkpoint_kimg=1, tick_kimg=1)
    sheets = sorted(p.name for p in tmp_path.glob("sample-*"))
    assert sheets == ["sample-00001.png", "sample-00002.png"]


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    run(Walk(size=3), tmp_path, kimg=0.1)
    message = r"'walker.place' has shape \[3\] there, shape \[4\] here"
    with pytest.raises(ValueError, match=message):
        run(Walk(size=4), tmp_path)


@pytest.mark.parametrize(
    "found, message",
    [
        ({"net": {"a": torch.zeros(2)}}, r"'net.b' has no value there, shape \[1\] here"),
        (
            {"net": {"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(5)}},
            r"'net.c' has shape \[5\] there, no value here",
        ),
    ],
)
def test_missing_and_unknown_tensors_are_named(tmp_path, found, message):
    expected = {"net": {"a": torch.zeros(2), "b": torch.zeros(1)}, "optimizer": {"state": {}}}
    with pytest.raises(ValueError, match=message):
        loop.check_architecture(found, expected, tmp_path)
    moments = {"state": {0: {"exp_avg": torch.zeros(2)}}}
    loop.check_architecture(expected | {"optimizer": moments}, expected, tmp_path)


def test_a_training_that_diverges_stops_and_keeps_what_was_saved(tmp_path):
    run(Walk(), tmp_path, kimg=0.2)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    class Fall(Walk):
        def step(self, step):
            return super().step(step) | {"loss": float("nan")}

    with pytest.raises(ValueError, match="has diverged, for its loss is nan: what was saved"):
        run(Fall(), tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_damaged_lines_of_a_log_are_left_out(tmp_path):
    run(Walk(), tmp_path, kimg=0.2)
    sound = log(tmp_path)
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'3\n{}\n\xff\n{"kimg": "1"}\n' + b"[" * 100_000)
        file.write(b'\n{"kimg": 0.1, "seconds": 1, "loss": 1' + b"0" * 400 + b'}\n{"kimg": 0.1')
    run(Walk(), tmp_path, kimg=0.3)
    assert log(tmp_path)[:len(sound)] == sound and log(tmp_path)[-1]["kimg"] == 0.3


def test_a_run_goes_on_with_another_batch_size(tmp_path):
    """200 images in 20 steps of 10 are 4 steps of 50, and the log goes on from there."""
    run(Walk(), tmp_path, kimg=0.2)
    walk = Walk()
    walk.batch = 50
    assert run(walk, tmp_path)
    assert walk.steps == [4, 5, 6, 7]
    assert [line["kimg"] for line in log(tmp_path)][-4:] == pytest.approx([0.25, 0.3, 0.35, 0.4])


def test_figures_need_no_device_that_knows_double_precision(tmp_path, monkeypatch):
    """Which the GPU of a Mac does not."""
    def refuse(*_):
        raise TypeError("the MPS framework doesn't support float64")
    monkeypatch.setattr(torch.Tensor, "double", refuse)
    assert run(Walk(), tmp_path)
    assert loop.exact(torch.tensor(0.1, requires_grad=True)) == torch.tensor(0.1).item()


def test_the_rate_is_that_of_the_steps_alone(tmp_path, monkeypatch):
    """A step takes a second here, a checkpoint a hundred, also one between two log lines."""
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    class Timed(Walk):
        def step(self, step):
            clock[0] += 1
            return super().step(step)

        def evaluate(self):
            clock[0] += 100
            return {}

    run(Timed(), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["images_per_second"] for line in lines] == [10.0] * 8


def test_a_clock_that_stands_still_stops_no_training(tmp_path, monkeypatch):
    """As one that ticks every 16 milliseconds, in which some steps fit."""
    monkeypatch.setattr(loop.time, "monotonic", lambda: 0.0)
    assert run(Walk(), tmp_path)


def test_processes_begin_with_the_same_step(tmp_path, monkeypatch):
    """Else they would wait for one another, and average gradients of different networks."""
    monkeypatch.setattr(loop.processes, "same", lambda step: step == 0)
    run(Walk(), tmp_path, kimg=0.1)
    with pytest.raises(ValueError, match="do not find the same checkpoint in .*: let them share"):
        run(Walk(), tmp_path)


def test_a_folder_that_is_removed_meanwhile_loses_nothing_that_is_trained(tmp_path, whole):
    class Sweeper(Walk):
        def step(self, step):
            if step == 24:
                shutil.rmtree(tmp_path / "run")
            return super().step(step)

    task = Sweeper()
    assert run(task, tmp_path / "run")
    assert torch.equal(task.place, whole[0]) and log(tmp_path / "run") == whole[1][4:]
    assert (tmp_path / "run" / "checkpoint.pt").exists()
