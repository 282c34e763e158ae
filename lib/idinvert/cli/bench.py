"""Measure what inversion costs here, beside the published loop.

    idinvert bench
    idinvert bench face-stylegan-layerwise --minutes 1
    idinvert bench published face-stylegan-layerwise --out results/tables/bench.csv

prints seconds a step and image of the published loop and of ours, alone and in batches, how many
times as fast that is, the products a second of each network beside the machine's peak, and the
encoder alone. `published` stands for the published networks of 256 px with random weights. --out
adds the table to a CSV file. Measure on an idle machine; OMP_NUM_THREADS limits the cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert.settings import Positive

from . import check_target, read_options


@dataclass(frozen=True)
class Command:
    names: Positional[tuple[str, ...]] = ("published",)
    """generators of the registry, or published"""
    minutes: Positive = 4
    """at most, for the steps of inversion of each generator; each way is measured once at least"""
    out: Path | None = None
    """CSV file to which the table is added"""
    device: str = "auto"
    """cuda if there is one, else cpu"""


def main(arguments: list[str]) -> None:
    """Measure, and print a table for each generator."""
    options = read_options(Command, arguments, __name__, __doc__)
    from idinvert import devices
    from idinvert.study import bench

    device = devices.pick(options.device)
    if options.out:
        check_target(options.out)
        bench.measured(options.out)  # refuses other tables
    for name in options.names:
        table = bench.measure(name, device, options.minutes)
        shown = table.drop(columns=["network", *bench.machine(device)])
        print(f"{name}: {', '.join(f'{k} {v}' for k, v in bench.machine(device).items())}",
              shown.to_string(index=False, float_format="{:.3g}".format, na_rep=""), sep="\n",
              flush=True)
        if options.out:
            bench.add(table, options.out)
            print(options.out)
