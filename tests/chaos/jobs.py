"""Commands that take a second, in processes that can be killed, and what they leave."""

import json
import multiprocessing
import os
import socket
import traceback
from pathlib import Path

import numpy as np
import torch
from idinvert import models
from idinvert.cli import main
from idinvert.data import write_image
from idinvert.models import pretrained
from idinvert.nn import encoder, stylegan, stylegan2
from idinvert.training import zoo
from idinvert.training.e4e import OffsetEntry, Recipe
from idinvert.training.images import OwnImages

FORK = multiprocessing.get_context("forkserver")  # children of a process that has done nothing yet
FORK.set_forkserver_preload(["idinvert.cli.train", "idinvert.cli.invert", "pandas", "torch._dynamo",
                             "tyro", __name__])
SIZE = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
KIMG, CHECKPOINT = 0.12, 0.024  # 15 steps of 8 images, a checkpoint after each third
TRAINING = ["--images", "photos", "--kimg", str(KIMG), "--checkpoint-kimg", str(CHECKPOINT),
            "--batch", "8", "--channel-base", "64", "--channel-max", "8", "--device", "cpu"]
CLOCK = ("seconds", "images_per_second")


def gan():
    return main(["train", "gan", "new", "--resolution", "8", "--dimensions", "4",
                 "--no-projected", *TRAINING])


def guided():
    return main(["train", "encoder", "--generator", "own", "--name", "own-new",
                 "--lambda-vgg", "0", *TRAINING])


def noise():
    """An encoder that predicts noise maps too."""
    return main(["train", "encoder", "--generator", "old", "--name", "old-noise",
                 "--backbone", "noise_encoder.NoiseEncoder", "--lambda-vgg", "0", *TRAINING])


def e4e():
    """As a model of the study, of which one is so small; its VGG-16 is one convolution."""
    torch.manual_seed(2)
    features = torch.nn.Conv2d(3, 4, 3)
    pretrained.load_vgg16 = lambda: features
    entry = OffsetEntry("own", settings={"channel_base": 4, "channel_max": 8}, name="own-e4e",
                        kimg=KIMG, images=OwnImages("photos"),
                        recipe=Recipe(batch=8, pool=20, r1_every=2))
    zoo.entry = lambda name, device=None: entry
    return main(["train", "own-e4e", "--checkpoint-kimg", str(CHECKPOINT), "--device", "cpu"])


def invert():
    return main(["invert", "photos", "--model", "own", "--lambda-vgg", "0", "--iterations", "4",
                 "--batch", "4", "--device", "cpu", "--out", "runs/inverted"])


JOBS = {job.__name__: job for job in (gan, guided, noise, e4e, invert)}


def prepare(folder, photos=24):
    """A folder to work in: tiny generators, "own" with its encoder and "old", and photographs."""
    torch.manual_seed(0)
    os.environ["IDINVERT_MODELS"] = str(folder / "weights")
    models.save("own", stylegan2.Generator(**SIZE))
    models.save("own-base", encoder.Encoder(8, 4, 4, 8))
    models.save("old", stylegan.Generator(**SIZE))
    del os.environ["IDINVERT_MODELS"]
    for i in range(photos):
        write_image(folder / "photos" / f"{i:03}.png", torch.rand(3, 9, 12) * 2 - 1)


class Command:
    """A job at work in a folder, by one process or by several that share it; what it says is in
    the file `messages`, beside the folder unless told."""

    def __init__(self, job, folder, world=1, limit=None, messages=None):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.messages = messages or folder.with_name(f"{folder.name}-messages")
        self.processes = [FORK.Process(target=work, args=(
            job, folder, self.messages, rank, world, port, limit)) for rank in range(world)]
        for process in self.processes:
            process.start()

    def wait(self, seconds=None):
        """Wait for the end, or so long; whether it has ended well."""
        for process in self.processes:
            process.join(seconds)
        return all(process.exitcode == 0 for process in self.processes)

    def ended(self):
        """Whether all processes have ended."""
        return all(process.exitcode is not None for process in self.processes)

    def kill(self):
        """SIGKILL to all, at once."""
        for process in self.processes:
            process.kill()
        self.wait()


def work(job, folder, messages, rank, world, port, limit):
    """What a process does; its messages go to a file."""
    torch.set_num_threads(1)
    handle = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(folder)
    os.environ |= {"IDINVERT_MODELS": str(folder / "weights"), "IDINVERT_RUNS": "runs"}
    if world > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                       "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    if limit is not None:
        limit()
    try:
        status = JOBS[job]()
    except BaseException:
        traceback.print_exc()
        status = 3
    os._exit(status or 0)


def results(folder):
    """What a command leaves, without the clock: the bytes of weights, codes, images and tables,
    what cards and logs say. No file of a killed process is among them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        assert not name.endswith((".partial", ".tmp")), name
        if path.is_dir() or name.startswith("photos") or path.name == "checkpoint.pt":
            continue
        found[name] = content(path)
    return found


def content(path: Path):
    """The content of a file, as far as it does not depend on the clock."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {key: arrays[key].tobytes() for key in arrays}
    if path.suffix == ".jsonl":
        return [without_clock(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return without_clock(json.loads(path.read_text()))
    return path.read_bytes()


def without_clock(told):
    return {key: value for key, value in told.items() if key not in CLOCK}
