"""Training by several processes that share each batch: the same losses, on more GPUs.

Every process draws the same batch, for a generator the same latents and noise too, and keeps each
`world`-th image of it, which leaves the groups of the discriminator's minibatch deviation together.
An encoder's batch norm takes its statistics over all processes, and gradients are averaged before
every optimiser step, so that the weights are those of one process, and the same in all.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def mean(value: Tensor) -> Tensor:
    """Mean of a value over the processes."""
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / dist.get_world_size()


def gather(part: Tensor) -> Tensor:
    """The whole batch, of which every process has each `world`-th item."""
    parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part.contiguous())
    return torch.stack(parts, 1).flatten(0, 1)


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
    """Make every batch norm of a network a `SyncedNorm` of the same tensors."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = SyncedNorm  # they differ in `forward` alone
