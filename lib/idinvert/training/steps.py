"""Pieces of a training step that every task uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from idinvert.data import to_float
from idinvert.nn import projected


class NetworkTask:
    """What tasks share: networks that are trained, their optimisers, and the state of both.

    Args:
        images: uint8 [N, 3, r, r] training images.
        recipe: settings, of which `batch` is used here.
        networks: what a checkpoint keeps, by the name of the attribute that holds each.

    A subclass appends to `optimizers`.
    """

    def __init__(self, images: Tensor, recipe, device: str, **networks: nn.Module):
        self.images, self.recipe, self.device, self.batch = images, recipe, device, recipe.batch
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: list[torch.optim.Optimizer] = []
        self.keep(**networks)

    def keep(self, **networks: nn.Module) -> None:
        """Move networks to the device and hold them under their names, in the checkpoint too."""
        for name, network in networks.items():
            self.networks[name] = place(network, self.device)
            setattr(self, name, network)

    def state_dict(self) -> dict:
        return {name: network.state_dict() for name, network in self.networks.items()} | {
            "optimizers": [o.state_dict() for o in self.optimizers]
        }

    def load_state_dict(self, state: dict) -> None:
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate  # a changed recipe takes effect on resuming


def place(network: nn.Module, device: str) -> nn.Module:
    """The network on its device, in the faster layout of convolutions."""
    return network.to(device=device, memory_format=torch.channels_last)


def penalised(discriminator: nn.Module) -> bool:
    """Whether the gradient penalty of Eq. (3) applies: spectral norms bound a projected
    discriminator already, and the penalty would go through VGG-16 twice."""
    return not isinstance(discriminator, projected.Discriminator)


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


def looked_at(images: Tensor, share: float) -> Tensor:
    """The part of a batch that VGG-16 looks at, at least one image."""
    return images[:max(1, round(len(images) * share))]


def autocast(device: str) -> torch.autocast:
    """bfloat16 for the convolutions, on CPU and GPU alike."""
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One optimiser step down the loss."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def detached(seen: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """The same without its history."""
    return seen.detach() if isinstance(seen, Tensor) else [x.detach() for x in seen]
