"""Killed at any moment, the same command goes on to the very numbers of a run without kills; a
full or read-only disk costs nothing that was finished."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time
from functools import partial

import pytest
from idinvert.data import open_image
from idinvert.files import locked
from jobs import FORK, JOBS, Command, prepare, results


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A folder in which every job can work."""
    folder = tmp_path_factory.mktemp("ready")
    prepare(folder)
    first = FORK.Process(target=int)  # after which a process starts within milliseconds
    first.start()
    first.join()
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The same with 300 photographs."""
    folder = tmp_path_factory.mktemp("many")
    prepare(folder, 300)
    return folder


def complete(job, folder, world=1, **options):
    """Let a job end; the seconds that it takes."""
    start = time.monotonic()
    command = Command(job, folder, world, **options)
    assert command.wait(), command.messages.read_text()
    return time.monotonic() - start


def killed_and_resumed(job, ready, tmp_path, kills, world):
    """Kill a job so many times, at random moments; compare each run's end with one without kills.
    """
    whole = shutil.copytree(ready, tmp_path / "whole")
    seconds = complete(job, whole, world)
    expected, rng, runs = results(whole), random.Random(0), 0
    while kills:
        folder = shutil.copytree(ready, tmp_path / f"killed-{runs}")
        while kills:
            command, start = Command(job, folder, world), time.monotonic()
            command.wait(rng.uniform(0, seconds) / world)
            if command.ended():  # in less time than the first took
                seconds = min(seconds, time.monotonic() - start)
                break
            command.kill()
            kills -= 1
        complete(job, folder, world)
        assert results(folder) == expected
        runs += 1
    return runs


SHORT = [("gan", 1), ("guided", 1), ("e4e", 1), ("invert", 1), ("gan", 2), ("invert", 2)]


@pytest.mark.parametrize("job, world", SHORT)
def test_a_killed_command_goes_on_to_the_very_numbers(job, world, ready, tmp_path):
    killed_and_resumed(job, ready, tmp_path, 2, world)


@pytest.mark.chaos
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("job", JOBS)
def test_twenty_kills(job, world, ready, many, tmp_path):
    runs = killed_and_resumed(job, many if job == "invert" else ready, tmp_path, 20, world)
    print(f"\n{job}, {world} processes: 20 kills in {runs} runs, each equal bit for bit")


def limit_of_files(size):
    """Let no file of this process become larger, in bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("job, size", [
    ("gan", 6000), ("guided", 30_000), ("e4e", 30_000), ("invert", 700),
])  # fmt: skip
def test_files_that_cannot_be_written(job, size, ready, tmp_path):
    """One sentence names the file, nothing half-written stays, the same command goes on."""
    folder = shutil.copytree(ready, tmp_path / "folder")
    command = Command(job, folder, limit=partial(limit_of_files, size))
    assert not command.wait()
    told = command.messages.read_text()
    assert f"idinvert {'invert' if job == 'invert' else 'train'}: error: File too large: " in told
    assert "Traceback" not in told
    results(folder)
    whole = shutil.copytree(ready, tmp_path / "whole")
    for place in (folder, whole):
        complete(job, place)
    assert results(folder) == results(whole)


@pytest.fixture
def disk(tmp_path):
    """A function that makes, or makes again, a small disk of so many kB, with options of mount."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(kilobytes, *options):
        if os.path.ismount(place):
            options = (*options, "remount")
        words = ",".join([f"size={kilobytes}k", *options])
        command = ["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no disk may be mounted here")
        return place

    yield mount
    if os.path.ismount(place):
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.chaos
@pytest.mark.parametrize("job", JOBS)
def test_twenty_full_and_read_only_disks(job, ready, disk, tmp_path):
    """The disk is full after a random part of what the command writes, then read-only."""
    whole = shutil.copytree(ready, tmp_path / "whole")
    complete(job, whole)
    expected, rng, full = results(whole), random.Random(0), 0
    place, apart = disk(100_000), {"messages": tmp_path / "messages"}  # not on the disk
    taken = [kilobytes(folder) for folder in (ready, whole)]
    for turn in range(20):
        folder = shutil.copytree(ready, place / "folder")
        disk(rng.randint(taken[0] + 8, taken[1]))
        command = Command(job, folder, **apart)
        ended = command.wait()
        full += not ended
        told = lines(command)
        assert ended or told[-1].endswith("then the same command continues."), told
        check_finished(folder, expected)
        if not ended:
            disk(100_000, "ro")
            again = Command(job, folder, **apart)
            assert not again.wait() and "Read-only file system" in lines(again)[-1]
        disk(100_000, "rw")
        complete(job, folder, **apart)
        assert results(folder) == expected, turn
        shutil.rmtree(folder)
        command.messages.unlink()
    print(f"\n{job}: {full} of 20 runs met a full disk, then a read-only one, and ended equal")


def kilobytes(folder):
    """What a folder takes of a disk."""
    return sum(-(-path.stat().st_size // 4096) * 4 for path in folder.rglob("*") if path.is_file())


def lines(command):
    """What a command has said, without progress bars."""
    text = command.messages.read_text().replace("\r", "\n")
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if line.strip()]


def check_finished(folder, expected):
    """What is there of codes, images and weights is whole."""
    for name, content in results(folder).items():
        if name.endswith(".png") and "inverted" not in name:  # samples of an earlier checkpoint
            open_image(folder / name)
        elif name.endswith((".npz", ".png", ".safetensors")):
            assert content == expected[name]


@pytest.mark.parametrize("job, place", [
    ("gan", "runs/new"), ("guided", "runs/own-new"), ("invert", "runs/inverted/codes"),
])  # fmt: skip
def test_the_second_command_in_a_folder_says_that_it_is_in_use(job, place, ready, tmp_path):
    folder = shutil.copytree(ready, tmp_path / "folder")
    with locked(folder / place):
        command = Command(job, folder)
        assert not command.wait()
    assert f"{place} is in use by another command: wait until that has ended" in lines(command)[-1]


@pytest.mark.chaos
@pytest.mark.parametrize("world", [1, 2])
@pytest.mark.parametrize("job", JOBS)
def test_twenty_times_two_commands_at_once(job, world, ready, tmp_path):
    """The second starts at a random moment of the first, which ends as if it were alone."""
    whole = shutil.copytree(ready, tmp_path / "whole")
    seconds = complete(job, whole, world)
    expected, rng, refused = results(whole), random.Random(0), 0
    for turn in range(20):
        folder = shutil.copytree(ready, tmp_path / f"shared-{turn}")
        first = Command(job, folder, world)
        first.wait(rng.uniform(0, seconds) / world)
        second = Command(job, folder, world, messages=tmp_path / f"second-{turn}")
        ended = [command.wait() for command in (first, second)]
        for command, well in zip((first, second), ended, strict=True):
            assert well or any("is in use by another command" in line for line in lines(command))
        assert any(ended)  # both where the first had ended before
        refused += not all(ended)
        assert results(folder) == expected, turn
    assert refused
    print(f"\n{job}, {world} processes: {refused} of 20 second commands were refused, 20 equal")
