"""Train a generator, an encoder or a classifier.

    idinvert train --list
    idinvert train face-stylegan-layerwise --kimg 1000
    idinvert train --all --budget-minutes 60

trains models of the study, or continues them where they stopped: the log, checkpoints and samples
are in runs/NAME, the weights and their card among the models.

    idinvert train gan mine --images photos/ --resolution 32
    idinvert train encoder --generator mine --images photos/
    idinvert train classifier mine-classifier --images photos/ --labels labels.csv

train on images of your own (`idinvert train gan --help`). Several GPUs share the batches:
torchrun --nproc-per-node 4 -m idinvert train NAME.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tyro.conf import Positional

from idinvert import boundaries, processes
from idinvert import models as weights
from idinvert.training import own, zoo
from idinvert.training.loop import Schedule, train

from . import UsageError, read_options


@dataclass(frozen=True)
class Command:
    names: Positional[tuple[str, ...]] = ()
    """models of the study, see --list"""
    list: bool = False
    """show every model and its state"""
    all: bool = False
    """train what is missing, in order"""
    kimg: float | None = None
    """thousand images; as the study has them if not given"""
    budget_minutes: float = float("inf")
    """stop cleanly after this time; the same command continues"""
    checkpoint_kimg: float = 10.0
    """thousand images between two checkpoints"""
    device: str = "auto"
    """cuda if there is one, else cpu"""


def state(name: str) -> str:
    """One line on a model: trained or not, what was spent, last figures."""
    if not zoo.trained(name):
        return f"{name:40} not trained"
    if zoo.entry(name)["kind"] == "boundaries":
        fitted = boundaries.load(weights.folder() / f"{name}.safetensors").values()
        return f"{name:40} accuracy  " + " ".join(f"{b.name}={b.accuracy:.3f}" for b in fitted)
    card = weights.card(name)
    figures = " ".join(f"{k}={v:.4g}" for k, v in card["evaluation"].items())
    return f"{name:40} {card['kimg']:8.0f} kimg {card['seconds'] / 60:7.0f} min  {figures}"


def train_one(name: str, options: Command, share: processes.Share) -> bool:
    """Train one model and publish it, also where it was stopped early; True if finished.

    A model published elsewhere at that length stays as it is, and so does what its card says. Of
    several processes the first one publishes.
    """
    if zoo.entry(name)["kind"] == "boundaries":
        if share.first:
            zoo.fit_boundaries(name, options.device)
            print(state(name))
        return True
    kimg = options.kimg or zoo.entry(name, options.device)["kimg"]
    started = (zoo.run_folder(name) / "checkpoint.pt").exists()
    if not started and zoo.trained(name) and weights.card(name)["kimg"] >= kimg:
        if share.first:
            print(f"{state(name)}  (--kimg above {weights.card(name)['kimg']:g} trains on)")
        return True
    task = zoo.make_task(name, options.device, kimg, share)
    schedule = Schedule(kimg, checkpoint_kimg=options.checkpoint_kimg,
                        seed=zoo.entry(name).get("seed", 0), minutes=options.budget_minutes)
    start = zoo.adopt(name, task, writes=share.first)
    finished = train(task, zoo.run_folder(name), schedule, share.first, start, writes=share.first)
    if share.first:
        card = zoo.publish(name, task)
        print(f"{name}: {card['kimg']:.0f} kimg, {card['parameters'] / 1e6:.2f} M parameters, "
              f"saved in {weights.folder()}")
    return finished


def main(arguments: list[str]) -> int | None:
    """Train what is asked for; 130 where a budget ended it before it was finished."""
    if arguments and arguments[0] in own.TASKS:
        return own.main(arguments)
    options = read_options(Command, arguments, __name__, __doc__)
    if options.list:
        print("\n".join(map(state, zoo.zoo())))
        return None
    names = options.names
    if options.all:
        names = [name for name in zoo.zoo() if not zoo.trained(name)]
    if not names and not options.all:
        raise UsageError("name at least one model, or use --all or --list.")
    for name in names:
        zoo.entry(name)
    share = processes.share()
    options = replace(options, device=share.device(options.device))
    processes.connect(share, options.device)
    try:
        for name in names:
            finished = train_one(name, options, share)
            processes.wait()  # the next model may need this one
            if not finished:
                raise KeyboardInterrupt
    finally:
        processes.disconnect()
    return None
