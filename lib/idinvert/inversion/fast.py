"""Fast inversion: networks whose gradients cost less, in the place of a model's own."""

from __future__ import annotations

from torch import nn

from idinvert.nn.fast import accelerated

from .methods import Method
from .optimiser import Networks


class FastNetworks:
    """Stands where a method takes `Networks` or a `Model`, whose networks are accelerated when they
    are first used: see `nn.fast`. Codes to start from and final images stay in float32."""

    def __init__(self, networks: Networks):
        self.networks = networks

    def __getattr__(self, role: str) -> nn.Module | None:
        if role.startswith("__"):  # asked for by copies, before there are networks
            raise AttributeError(role)
        network = getattr(self.networks, role)
        found = accelerated(network) if isinstance(network, nn.Module) else network
        setattr(self, role, found)
        return found


def check_fast(method: Method) -> None:
    """ValueError: the method tunes the generator, whose weights fast networks hold to be fixed."""
    if getattr(method, "tunes", False):
        raise ValueError(f"{method.title} tunes the generator, which cannot be done fast: leave "
                         "that option out.")
