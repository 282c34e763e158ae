"""Steps of an inversion as CUDA graphs: recorded once, then launched as a whole.

A step of Eq. (4) is about two thousand small kernels. With few images a GPU is done with each of
them before the processor has launched the next; a graph is a single launch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

FEWEST = 10  # steps for which it is worth while to record one
WARM_UP = 2  # passes in which libraries and kernels are loaded, which a recording must not do
KNOWN = ("idinvert.nn.", "torch.nn.modules.")  # modules of which no pass waits for the GPU
HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")

recording = Lock()  # of all threads, which share a stream: one would record what another computes


class Step(NamedTuple):
    """What a step of N images computes before the codes are changed."""

    image: Tensor  # [N, 3, H, W]
    gradient: Tensor  # of the codes, [N, L, D]
    losses: dict[str, Tensor]  # each [N]

    def copy(self) -> Step:
        """The same in memory of its own."""
        return Step(self.image.clone(), self.gradient.clone(),
                    {name: value.clone() for name, value in self.losses.items()})


def recordable(device: torch.device, networks: Sequence[nn.Module], iterations: int) -> bool:
    """Whether steps run as a graph: on CUDA, if there are enough, with networks of this library.

    A pass of any other network may wait for the GPU or depend on values, which a graph cannot, and
    so may hooks, which a graph does not call, and the search for anomalies. That is not tried, as a
    recording that fails leaves the random numbers of the GPU unusable.
    """
    parts = [part for network in networks for part in network.modules()]
    return (device.type == "cuda" and iterations >= FEWEST and not torch.is_anomaly_enabled()
            and all(type(part).__module__.startswith(KNOWN) for part in parts)
            and not any(getattr(part, name) for part in parts for name in HOOKS))


def recorded(step: Callable[[], Step], device: torch.device) -> Callable[[], Step]:
    """A function that does what `step` does, by a graph.

    step: reads the same tensors in every call, and returns tensors that are detached: autograd
        nodes that were kept from the passes before would tie the recording to their stream.

    Errors as `step` raises them, those of memory included.
    """
    with recording, torch.cuda.device(device):
        stream, graph = side_stream(device), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        # Other threads, such as a notebook's, may go on using the GPU meanwhile
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            found = step()

    def replay() -> Step:
        graph.replay()
        return found.copy()  # the next replay writes over what this one found
    return replay


@cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which steps are recorded; a new one each time would take memory of its own."""
    return torch.cuda.Stream(device)
