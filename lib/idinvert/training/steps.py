"""Pieces of a training step that every task uses."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from idinvert.data import to_float
from idinvert.processes import ALONE, Share

from . import parallel


class NetworkTask:
    """What tasks share: the networks that are trained, their optimisers, and the state of both.

    Args:
        images: uint8 [N, 3, r, r] training images; None if every step makes its own.
        recipe: settings, of which `batch` is used here, and `schedule_kimg` where there is one.
        share: which process this is, if several train together; `batch` is that of all of them.
        networks: what a checkpoint keeps, by the name of the attribute that holds each.

    A subclass defines `step` and `sample`, appends to `optimizers` and, if several processes can
    train it, calls `share_batch`.
    """

    def __init__(self, images: Tensor | None, recipe: Any, device: str, share: Share = ALONE,
                 **networks: nn.Module):
        self.images = None if images is None else resident(images, device)
        self.recipe, self.device, self.batch, self.share = recipe, device, recipe.batch, share
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: list[torch.optim.Optimizer] = []
        self.keep(**networks)

    def keep(self, **networks: nn.Module) -> None:
        """Move networks to the device and hold them under their names, in the checkpoint too."""
        for name, network in networks.items():
            self.networks[name] = place(network, self.device)
            setattr(self, name, network)

    def step(self, step: int) -> dict[str, Tensor | float]:
        """Take one optimisation step; returns scalars to log."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, float]:
        """Figures worth a log line of their own, at every checkpoint."""
        return {}

    def sample(self) -> Tensor | None:
        """A picture [3, H, W] in [-1, 1] of the progress, or None."""

    def run(self, network: Callable, *inputs: Any, **options: Any) -> Any:
        """What a network returns, its convolutions in bfloat16."""
        with autocast(self.device):
            return network(*inputs, **options)

    def share_batch(self, group: int = 1) -> None:
        """Let the processes share every batch, whose images are judged in groups of so many.

        ValueError: a group would be torn apart.
        """
        world = self.share.world
        if self.batch % (world * group):
            who = "one process cannot take" if world == 1 else f"{world} processes cannot share"
            raise ValueError(
                f"{who} a batch of {self.batch}: the discriminator "
                f"compares groups of {group}, so it must be a multiple of {world * group}.")
        if world > 1:
            for optimizer in self.optimizers:
                optimizer.register_step_pre_hook(parallel.average_gradients)

    def part(self, batch: Tensor) -> Tensor:
        """Every `world`-th item of what was drawn for the whole batch: the part of this process."""
        return batch if self.share.world == 1 else batch[self.share.rank :: self.share.world]

    def whole(self, part: Tensor) -> Tensor:
        """The batch of all processes, of which each has the `part`; without its history."""
        return part.detach() if self.share.world == 1 else parallel.gather(part.detach())

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a value over the processes, without its history."""
        return value.detach() if self.share.world == 1 else parallel.mean(value)

    def means(self, figures: dict[str, Tensor | float]) -> dict[str, Tensor | float]:
        """Figures of a step, as means over the processes."""
        return {name: self.mean(value) if isinstance(value, Tensor) else value
                for name, value in figures.items()}

    def continue_schedule(self, kimg: float | None) -> None:
        """Go on from a run whose schedule was so many thousand images long, if it had one."""

    def state_dict(self) -> dict:
        """Everything that the next step depends on."""
        return {name: network.state_dict() for name, network in self.networks.items()} | {
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedule_kimg": getattr(self.recipe, "schedule_kimg", None)}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state; learning rates and the like stay those of the recipe, which may have
        changed. ValueError: numbers that no training of these networks writes."""
        for name, network in self.networks.items():
            for key, value in network.state_dict().items():
                if value.is_floating_point() != state[name][key].is_floating_point():
                    raise ValueError(f"{name}.{key} is of another type")
            network.load_state_dict(state[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            own = [{key: value for key, value in group.items() if key != "params"}
                   for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for parameter, kept in optimizer.state.items():
                check_moments(parameter, kept)
            for group, rates in zip(optimizer.param_groups, own, strict=True):
                group |= rates
        self.continue_schedule(state.get("schedule_kimg"))


def check_moments(parameter: Tensor, kept: dict[str, Tensor]) -> None:
    """ValueError unless what Adam has kept of a parameter, if anything, can be of it."""
    if kept and not (kept["step"] >= 0 and kept["exp_avg_sq"].min() >= 0
                     and kept["exp_avg"].shape == kept["exp_avg_sq"].shape == parameter.shape):
        raise ValueError("moments of another parameter")


class ScheduledTask(NetworkTask):
    """A task whose learning rates decay, over `schedule_kimg` of its recipe."""

    relative_rates = (1.0, 1.0)  # of the first optimiser, and of a second one

    def schedule(self, step: int) -> None:
        """Learning rates of this step: decay^(4 x share of the schedule that is done)."""
        done = step * self.batch / (self.recipe.schedule_kimg * 1000)
        for optimizer, relative in zip(self.optimizers, self.relative_rates):
            for group in optimizer.param_groups:
                group["lr"] = self.recipe.learning_rate * self.recipe.decay**(4 * done) * relative

    def continue_schedule(self, kimg: float | None) -> None:
        """The decay goes on as it began: in a longer run the learning rate does not rise again.
        That another one was asked for is said, as the steps of a much longer run move nothing."""
        asked = self.recipe.schedule_kimg
        self.recipe = replace(self.recipe, schedule_kimg=kimg or asked)
        if asked and asked != (kept := self.recipe.schedule_kimg) and self.share.first:
            print(f"The learning rate goes on to decay over {kept:g} thousand images, as this run "
                  f"began, not over {asked:g}: only a run that begins anew has another schedule.",
                  file=sys.stderr)


def place(network: nn.Module, device: str) -> nn.Module:
    """The network on its device, in the faster layout of convolutions."""
    return network.to(device=device, memory_format=torch.channels_last)


def freeze(network: nn.Module, device: str) -> nn.Module:
    """The network on its device, in eval mode and without gradients of its own."""
    return place(network, device).eval().requires_grad_(False)


def resident(images: Tensor, device: str) -> Tensor:
    """Training images, on the GPU if they take at most 4 GB there, where batches need no copy."""
    small = torch.device(device).type == "cuda" and images.nbytes <= 4 << 30
    return images.to(device) if small else images


def draw_batch(images: Tensor, batch: int, device: str) -> Tensor:
    """A random batch of uint8 images [N, 3, H, W] as floats in [-1, 1], each flipped or not."""
    index = torch.randint(len(images), (batch,)).to(images.device)
    x = to_float(images[index].to(device))
    x = torch.where(torch.rand(batch, 1, 1, 1, device=x.device) < 0.5, x.flip(3), x)
    return x.contiguous(memory_format=torch.channels_last)


def first_share(images: Tensor, share: float) -> Tensor:
    """The first images of a batch, so large a share of it, but at least one."""
    return images[:max(1, round(len(images) * share))]


def autocast(device: str) -> torch.autocast:
    """bfloat16 for the convolutions, on CPU and GPU alike."""
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One optimiser step down the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def detached(judged: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """Images, or their features, without their history."""
    return judged.detach() if isinstance(judged, Tensor) else [x.detach() for x in judged]
