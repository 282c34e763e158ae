"""Several processes on one task, as `torchrun` starts them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

import torch
import torch.distributed as dist

from idinvert import devices


@dataclass(frozen=True)
class Share:
    """Which process this is: `rank` of `world`, `local` among those of its machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that reports."""
        return self.rank == 0

    def of(self, items: list) -> list:
        """The part of the items that falls to this process."""
        return items[self.rank :: self.world]

    def device(self, name: str = "auto") -> str:
        """The device of this process: with "auto", its own GPU if there are GPUs. ValueError: this
        machine does not have it, as where more processes are started than it has GPUs."""
        picked = devices.pick(name)
        if picked != "cuda" or self.world == 1:
            return picked
        if self.local >= (count := torch.cuda.device_count()):
            raise ValueError(f"Process {self.local + 1} of this machine has no GPU of its own, of "
                             f"which there are {count}: start as many processes as GPUs.")
        return f"cuda:{self.local}"


ALONE = Share()
# What launchers set, and its values for a process alone
VARIABLES = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}


def share() -> Share:
    """The share of this process, from the environment that launchers set.

    ValueError: the variables do not fit one another, as where one of them is left over. A process
    would then leave images to others that there are not.
    """
    given = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    whole = all(value.isdecimal() for value in given.values())
    rank, world, local, _ = (int(given.get(name, alone)) if whole else -1
                             for name, alone in VARIABLES.items())
    if not 0 <= rank < world or (world > 1 and "RANK" not in given):
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        raise ValueError(f"The environment has {told}, as for several processes, but not all of "
                         "it: start them with torchrun, or unset these variables.")
    return Share(rank, world, local)


def warn_if_crowded(own: Share, device: str) -> None:
    """Warn, once, that the processes on this machine's CPU have more threads than it has cores:
    then an image costs more CPU time than with fewer."""
    count, threads = int(os.environ.get("LOCAL_WORLD_SIZE") or own.world), torch.get_num_threads()
    cores = os.cpu_count() or 1
    if own.first and own.world > 1 and device == "cpu" and count * threads > cores:
        fewer = (f"set OMP_NUM_THREADS={cores // count}" if count <= cores
                 else f"start at most {cores}")
        warnings.warn(f"{count} processes with {threads} threads each share {cores} cores, which "
                      f"wastes CPU time: {fewer}.", stacklevel=2)


def connect(own: Share, device: str) -> None:
    """Join the other processes, over NCCL on GPUs and Gloo on CPUs; nothing if there are none.

    ValueError: the environment does not say where they meet.
    """
    if own.world > 1 and not dist.is_initialized():
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise ValueError(f"The environment has WORLD_SIZE={own.world}, but no {name}: "
                                 "start the processes with torchrun, or unset WORLD_SIZE.")
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        try:
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        except (ValueError, RuntimeError) as error:
            place = ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))
            raise ValueError(f"The processes cannot meet at {place}, where MASTER_ADDR and "
                             "MASTER_PORT say: start all of them with torchrun.") from error


def any_of(condition: bool) -> bool:
    """Whether a condition holds in any of the connected processes; all get the same answer."""
    if not dist.is_initialized():
        return condition
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor([int(condition)], device=device)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return bool(votes.item())


def same(value: object) -> bool:
    """Whether all connected processes have the same value."""
    if not dist.is_initialized():
        return True
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return all(other == value for other in values)


def wait() -> None:
    """Wait until every connected process has come this far."""
    any_of(False)


def disconnect() -> None:
    """Leave the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()
