"""Training by several processes that share each batch: the same losses, on more GPUs.

Every process draws the same batch, for a generator the same latents and noise too, and keeps each
`world`-th image of it, which leaves the groups of the discriminator's minibatch deviation together.
An encoder's batch norm takes its statistics over all processes, and gradients are averaged before
every optimiser step, so that the weights are those of one process, and the same in all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from idinvert.processes import Share

from .encoder import DomainGuidedTask
from .gan import GanTask
from .loop import Task


class Shared:
    """What makes a task that of one process among several; `batch` is that of all together.

    ValueError: a group of the discriminator's minibatch deviation would be torn apart.
    """

    def __init__(self, share: Share, *arguments, **options):
        super().__init__(*arguments, **options)
        group = self.discriminator.minibatch_group
        if self.batch % (share.world * group):
            raise ValueError(
                f"{share.world} processes cannot share a batch of {self.batch}: the discriminator "
                f"compares groups of {group}, so it must be a multiple of {share.world * group}.")
        self.share = share
        for optimizer in self.optimizers:
            optimizer.register_step_pre_hook(average_gradients)

    def step(self, step: int) -> dict[str, Tensor | float]:
        """One step on this process's part of the batch; the figures are means over all."""
        return {name: mean(value) if isinstance(value, Tensor) else value
                for name, value in super().step(step).items()}

    def part(self, batch: Tensor) -> Tensor:
        """Every `world`-th item of what was drawn for the whole batch."""
        return batch[self.share.rank :: self.share.world]


class SharedEncoder(Shared, DomainGuidedTask):
    """Domain-guided training of one process among several."""

    def __init__(self, share: Share, *arguments, **options):
        super().__init__(share, *arguments, **options)
        synchronise(self.encoder)

    def real(self) -> Tensor:
        return self.part(super().real())


class SharedGan(Shared, GanTask):
    """GAN training of one process among several."""

    def real(self, lod: float) -> Tensor:
        return self.part(super().real(lod))

    def latents(self) -> tuple[Tensor, ...]:
        return tuple(self.part(x) for x in super().latents())

    def follow(self, code: Tensor) -> None:
        super().follow(mean(code))

    def noise(self, lod: float) -> list[Tensor]:
        """Maps of the layers that render this level of detail, in the order in which one process
        draws them."""
        layers = self.generator.layers[: self.generator.num_layers - 2 * int(lod)]
        return [self.part(torch.randn(self.batch, *layer.noise.shape[1:], device=self.device))
                for layer in layers]


SHARED = {GanTask: SharedGan, DomainGuidedTask: SharedEncoder}


def shared(share: Share, kind: type[Task]) -> Callable[..., Task]:
    """What makes a task of this class: the class for one process, its shared form for several.

    ValueError: several processes are to train what only one can.
    """
    if share.world == 1:
        return kind
    if kind not in SHARED:
        raise ValueError(f"Several processes train generators and domain-guided encoders, but only "
                         f"one can run a {kind.__name__}.")
    return partial(SHARED[kind], share)


def mean(value: Tensor) -> Tensor:
    """Mean of a value over the processes."""
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def average_gradients(optimizer: torch.optim.Optimizer, *_) -> None:
    """Replace every gradient by its mean over the processes."""
    gradients = [parameter.grad for group in optimizer.param_groups
                 for parameter in group["params"] if parameter.grad is not None]
    averages = mean(torch.cat([gradient.flatten() for gradient in gradients]))  # one message
    for gradient, average in zip(gradients, averages.split([g.numel() for g in gradients])):
        gradient.copy_(average.view_as(gradient))


class Mean(torch.autograd.Function):
    """Mean of a tensor over the processes; a gradient is the mean of all their gradients."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        return mean(value)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return mean(gradient)


class SyncedNorm(_BatchNorm):
    """Batch norm over all processes; nn.SyncBatchNorm knows GPUs only."""

    def _check_input_dim(self, value: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ..] -> the same shape."""
        if not self.training:
            return super().forward(x)
        values, dims = x.float(), [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        average = Mean.apply(values.mean(dims))
        centred = values - average.reshape(shape)
        variance = Mean.apply(centred.square().mean(dims))
        count = x.numel() / x.shape[1] * dist.get_world_size()
        with torch.no_grad():
            self.running_mean.lerp_(average, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.reshape(shape) + self.bias.reshape(shape)).to(x.dtype)


def synchronise(network: nn.Module) -> None:
    """Replace every batch norm of a network by a `SyncedNorm` of the same tensors."""
    for name, child in network.named_children():
        if not isinstance(child, _BatchNorm):
            synchronise(child)
            continue
        synced = SyncedNorm(child.num_features, child.eps, child.momentum)
        synced.weight, synced.bias = child.weight, child.bias
        for buffer in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(synced, buffer, getattr(child, buffer))
        setattr(network, name, synced.train(child.training))
