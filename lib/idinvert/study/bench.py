"""What inversion costs on this machine: the published loop and ours, side by side.

The published loop is written anew from its description: float32, one image at a time, gradients of
all weights computed and thrown away, features of the target again in every step, losses read in
every step. It runs on our networks, whose convolutions after upsampling need 2.25 times fewer
products than the published ones below 128 px, in a process of its own: there, memory that is freed
goes back to the system as it usually does, while ours keep it (`devices.keep_freed_memory`).

Ways take turns, so that whatever else the machine does slows all of them.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from idinvert import devices
from idinvert.codes import encode, frozen, render, sample_codes
from idinvert.files import locked, replacing
from idinvert.inversion import InDomain, Networks, OnStep
from idinvert.inversion.fast import FastNetworks
from idinvert.inversion.model import Model
from idinvert.losses import LAMBDA_DOM, LAMBDA_VGG
from idinvert.nn import encoder, stylegan, stylegan2, vgg
from idinvert.training import gan
from idinvert.training.discriminators import new_discriminator
from idinvert.training.encoder import DomainGuidedTask
from idinvert.training.encoder import Recipe as EncoderRecipe
from idinvert.training.steps import NetworkTask

from .timing import elapsed, now

PUBLISHED = "published"  # the published networks of 256 px, with random weights
BATCHES = 1, 4, 16
SELDOM = 3  # large batches take part in one round of so many
LEAST = 0.5  # seconds over which steps are counted, unless one takes longer
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROUNDS = 8  # at most
REPEATS = 3  # of a network there and back
TRAINED = 16, 64  # images of a training step at so many px; at more px it has fewer
KEYS = ["network", "machine", "threads"]  # what a row of a table is measured of
MATRIX = 2048  # rows of the matrices whose product tells the machine's peak

Invert = Callable[[Networks, Tensor, OnStep], object]


@dataclass(frozen=True)
class Way:
    """A way to invert so many images together."""

    name: str
    batch: int
    invert: Invert


class Cost(NamedTuple):
    """What a step took: seconds of the clock, and of all processor cores together."""

    seconds: float
    processor: float


class Enough(Exception):
    """Ends an inversion of which enough steps have been timed."""


# --- what is measured -----------------------------------------------------------------------------


def networks_of(name: str, device: str) -> Networks:
    """The networks of a model of the registry, or the published ones, frozen; ValueError: the model
    is unknown or has no encoder."""
    if name != PUBLISHED:
        model = Model(name, device)
        if not model.has("encoder"):
            raise ValueError(f"{name} cannot be measured: it has no encoder, which "
                             "`idinvert train encoder` makes.")
        return Networks(model.generator, model.features, model.encoder)
    torch.manual_seed(0)
    made = (stylegan.Generator(256, 512, 512, 64 * 256, 512, layerwise=True, tanh=True),
            vgg.VGG16Features(), encoder.Encoder(256, 512, 64, 1024))
    return Networks(*(network.to(device).eval().requires_grad_(False) for network in made))


def published_loop(networks: Networks, images: Tensor, on_step: OnStep, iterations: int = 100
                   ) -> Tensor:
    """Codes [1, L, D] of one image [1, 3, H, W] as the published code finds them; see above."""
    used = networks.generator, networks.features, networks.encoder
    codes = encode(networks.encoder, images).requires_grad_(True)
    optimizer = torch.optim.Adam([codes], lr=0.01)
    with frozen(used):
        for parameter in itertools.chain(*(network.parameters() for network in used)):
            parameter.requires_grad_(True)
        for iteration in range(iterations):
            image = networks.generator.synthesis(codes)
            on_step(iteration, codes.detach(), image.detach())
            pixel = (images - image).square().mean()
            wanted = networks.features(images).detach()
            feature = (wanted - networks.features(image)).square().mean()
            code = (codes - networks.encoder(image)).square().mean()
            loss = pixel + LAMBDA_VGG * feature + LAMBDA_DOM * code
            [term.item() for term in (pixel, feature, code, loss)]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        for parameter in itertools.chain(*(network.parameters() for network in used)):
            parameter.grad = None
    return codes.detach()


def ours(bf16: bool = False, fast: bool = False) -> Invert:
    """In-domain inversion, with convolutions in bfloat16 or by accelerated networks."""
    def invert(networks: Networks, images: Tensor, on_step: OnStep) -> object:
        return InDomain(bf16=bf16).invert(made_fast(networks) if fast else networks, images,
                                          on_step=on_step)
    return invert


@lru_cache(1)
def made_fast(networks: Networks) -> FastNetworks:
    """The accelerated networks, made once."""
    return FastNetworks(networks)


def ways() -> list[Way]:
    """All that is compared, the published loop first."""
    kinds = {"float32": ours(), "bfloat16": ours(bf16=True), "fast": ours(fast=True)}
    return [Way("published loop", 1, published_loop),
            *(Way(name, batch, kind) for batch in BATCHES for name, kind in kinds.items())]


def step_cost(way: Way, networks: Networks, images: Tensor) -> Cost:
    """What a step takes, without what comes before the first one and after the last.

    The clock is read after 1, 2, 4, 8, .. steps: the processor waits for a GPU each time.
    """
    clock: dict[int, Cost] = {}  # by the number of steps

    def on_step(steps: int, *_: object) -> None:
        if steps & (steps - 1):  # no power of two, nor 0
            return
        clock[steps] = Cost(now(), time.process_time())
        if steps and clock[steps].seconds - clock[0].seconds >= LEAST:
            raise Enough
    with contextlib.suppress(Enough):
        way.invert(networks, images, on_step)
    steps = max(clock)
    return Cost(*((last - first) / steps for first, last in zip(clock[0], clock[steps])))


def images_of(networks: Networks, codes: Tensor) -> Tensor:
    """Images [N, 3, r, r] in [-1, 1] of codes [N, L, D], rendered one by one."""
    parts = [render(networks.generator, code[None]) for code in codes]
    return torch.cat(parts).clamp(-1, 1)


kept_networks = lru_cache(1)(networks_of)


def published_cost(name: str, device: str) -> Cost:
    """What a step of the published loop takes, with networks that this process keeps."""
    networks = kept_networks(name, device)
    images = images_of(networks, sample_codes(networks.generator, 1))
    return step_cost(Way("published loop", 1, published_loop), networks, images)


def apart() -> Executor:
    """Calls functions in another process, always the same one."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def taking_turns(published: Callable[[], Cost], networks: Networks, images: Tensor, minutes: float
                 ) -> dict[Way, list[Cost]]:
    """Costs of a step of each way, measured in turn, each once and then until the time is over, or
    all are measured often enough.

    published: measures a step of the published loop.
    """
    end = time.monotonic() + 60 * minutes
    found: dict[Way, list[Cost]] = {way: [] for way in ways()}
    for number in range(ROUNDS):
        for way, costs in found.items():
            if number and time.monotonic() > end:
                return found
            if number % SELDOM == 0 or way.batch < max(BATCHES):
                costs.append(published() if way.invert is published_loop else
                             step_cost(way, networks, images[:way.batch]))
    return found


def peak(dtype: torch.dtype, device: str) -> float:
    """The most GFLOP/s that products of large matrices reach here; in float32 on a GPU with TF32
    where convolutions have it, as they do by default."""
    size = MATRIX if device == "cpu" else 4 * MATRIX  # else a GPU would take longer to be told
    a = torch.randn(size, size, device=device).to(dtype)
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before, products.allow_tf32 = products.allow_tf32, convolutions.allow_tf32
    try:
        return 2e-9 * size**3 / min(elapsed(torch.mm, a, a) for _ in range(12))
    finally:
        products.allow_tf32 = before


def there_and_back(network: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """A pass through a network, and one back to its input."""
    x = x.detach().requires_grad_(True)
    y = network(x * 1)  # the counter of products wants no leaf of the graph
    torch.autograd.grad(y, x, torch.ones_like(y))


def products(network: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """GFLOP of `there_and_back`, sums of products alone."""
    with FlopCounterMode(display=False) as counter:
        there_and_back(network, x)
    return counter.get_total_flops() / 1e9


def kept(network: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """MB that a pass through a network keeps for the way back, of one image more.

    x: inputs of two images.
    """
    def kept_of(x: Tensor) -> int:
        found: dict[int, int] = {}

        def pack(saved: Tensor) -> Tensor:
            storage = saved.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
            return saved
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            y = network(x.detach().requires_grad_(True))
        del y  # until here nothing is freed, so that each address is one tensor
        return sum(found.values())
    return (kept_of(x[:2]) - kept_of(x[:1])) / 1e6


def tasks(networks: Networks, device: str) -> dict[str, NetworkTask]:
    """A training of each kind, with random images: of StyleGAN's generators, and of an encoder."""
    size = networks.generator.resolution
    usual, small = TRAINED
    batch = max(1, int(usual * min(1, small / size)**2))
    images = torch.randint(256, (4 * batch, 3, size, size), dtype=torch.uint8)

    def judge() -> nn.Module:
        return new_discriminator("projected.Discriminator", {"resolution": size}, device)

    pupil, generator = (copy.deepcopy(network).requires_grad_(True)
                        for network in (networks.encoder, networks.generator))
    found: dict[str, NetworkTask] = {"training of the encoder": DomainGuidedTask(
        pupil, networks.generator, judge(), networks.features, images,
        EncoderRecipe(batch=batch, schedule_kimg=1), device, batch)}
    if isinstance(generator, stylegan.Generator | stylegan2.Generator):
        found["training of the generator"] = gan.GanTask(
            generator, judge(), images, gan.Recipe(batch=batch, augment=True), device)
    return found


# --- the table ------------------------------------------------------------------------------------


def measure(name: str, device: str, minutes: float) -> pd.DataFrame:
    """The table of a model, or of the published networks; at most so many minutes for the steps,
    unless one measurement of each way takes longer.

    A row is a part (a step of inversion, a network there and back, the encoder alone, a training
    step), a way to compute it and a batch. Seconds are of one image, the median with the least and
    the most; `factor` is how many times as fast as the published loop; `gflops` is GFLOP a second,
    and `share` its part of the peak that products of matrices reach in the same type; `megabytes`
    is what a pass keeps for the way back, an image.

    Errors as `networks_of`.
    """
    networks = networks_of(name, device)
    devices.keep_freed_memory()
    codes = sample_codes(networks.generator, max(BATCHES))
    images = images_of(networks, codes)
    with apart() as other:
        def published() -> Cost:
            return other.submit(published_cost, name, device).result()
        steps = taking_turns(published, networks, images, minutes)
    rows = [*steps_of(steps), *rates(networks, codes, images, device)]
    return pd.DataFrame(rows).assign(network=name, **machine(device))


def steps_of(found: dict[Way, list[Cost]]) -> Iterator[dict]:
    """Rows of steps of inversion; the first way is what the others are compared with."""
    usual = statistics.median(cost.seconds for cost in next(iter(found.values())))
    busy = statistics.median(cost.processor for cost in next(iter(found.values())))
    for way, costs in found.items():
        row = seconds_of([cost.seconds for cost in costs], way.batch)
        processor = statistics.median(cost.processor for cost in costs) / way.batch
        yield {"part": "step of inversion", "way": way.name, "batch": way.batch, **row,
               "factor": usual / row["seconds"], "processor": processor,
               "processor_factor": busy / processor}


def rates(networks: Networks, codes: Tensor, images: Tensor, device: str) -> Iterator[dict]:
    """Rows of each network there and back, of the encoder alone, and of training steps."""
    inputs = {"generator": codes, "features": images, "encoder": images}
    peaks = {way: peak(dtype, device) for way, dtype in TYPES.items()}
    for part, x in inputs.items():
        way_through = "synthesis" if part == "generator" else "forward"
        plain, fast = (getattr(getattr(kind, part), way_through)
                       for kind in (networks, made_fast(networks)))
        work = products(plain, x[:1])
        for (way, network), batch in itertools.product(
                {"float32": plain, "bfloat16": plain, "fast": fast}.items(), BATCHES[:2]):
            with torch.autocast(torch.device(device).type, torch.bfloat16,
                                enabled=way == "bfloat16"):
                row = seconds_of(repeated(there_and_back, network, x[:batch]), batch)
                memory = kept(network, x)
            rate, most = work / row["seconds"], peaks.get(way, peaks["bfloat16"])
            yield {"part": part, "way": way, "batch": batch, **row, "gflop": work, "gflops": rate,
                   "peak": most, "share": rate / most, "megabytes": memory}
    for batch in BATCHES:
        row = seconds_of(repeated(encode, networks.encoder, images[:batch]), batch)
        yield {"part": "encoder alone", "way": "float32", "batch": batch, **row}
    for part, task in tasks(networks, device).items():
        row = seconds_of(repeated(task.step, 1), task.batch)
        yield {"part": part, "way": "bfloat16", "batch": task.batch, **row}


def repeated(work: Callable, *arguments: object) -> list[float]:
    """Seconds of some runs after a first one, which is not counted."""
    elapsed(work, *arguments)
    return [elapsed(work, *arguments) for _ in range(REPEATS)]


def seconds_of(found: list[float], batch: int) -> dict[str, float]:
    """Seconds of an image: the median, the least and the most."""
    median, low, high = statistics.median(found), min(found), max(found)
    return {"seconds": median / batch, "seconds_low": low / batch, "seconds_high": high / batch,
            "runs": len(found)}


def machine(device: str) -> dict[str, object]:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else processor()
    return {"machine": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None}


def processor() -> str:
    """The name of the processor and its number of cores."""
    listed = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines()
             if line.startswith("model name")] if listed.exists() else []
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} cores"


def add(table: pd.DataFrame, path: Path) -> None:
    """Write a table into a CSV file, in place of what that has of the same network and machine."""
    with locked(path.parent):
        if len(kept := measured(path)):
            same = pd.MultiIndex.from_frame(kept[KEYS]).isin(pd.MultiIndex.from_frame(table[KEYS]))
            table = pd.concat([kept[~same], table])
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.4g")


def measured(path: Path) -> pd.DataFrame:
    """The table in a CSV file, empty if there is none; ValueError: the file is another one."""
    if not path.exists():
        return pd.DataFrame()
    try:
        table = pd.read_csv(path, compression=None)  # as it is written, whatever its name says
    except ValueError as error:  # pandas has several types
        raise ValueError(f"{path} is no readable CSV file.") from error
    if not set(KEYS) <= set(table):
        raise ValueError(f"{path} is a table of something else: name another file.")
    return table
