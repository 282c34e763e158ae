"""Measure how `ffhq` inverts and edits: the tables results/tables/ffhq_*.csv.

    python tools/measure_ffhq.py optimisation --images 3
    python tools/measure_ffhq.py identity --images 16 --steps 40
    python tools/measure_ffhq.py boundaries --people 8

Images are stand-ins of the test split; `--photograph FILE` adds an aligned photograph. Seconds are
those of the processor on one thread, which do not depend on what else the machine does. The error
is that of the 1024-pixel result reduced to 256 px, rendered in float32. It needs what
`idinvert.training.faces` needs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import idinvert
import pandas as pd
import torch
from idinvert.codes import encode, manipulate, render
from idinvert.data import grid, read_image, standins, to_float, write_image
from idinvert.losses import squared_error
from idinvert.training import faces
from torch import Tensor

TABLES = Path(__file__).parents[1] / "results" / "tables"
WAYS = {  # of optimising: method and settings
    "in-domain, 0.01": ("in-domain", {"learning_rate": 0.01}),
    "in-domain, 0.03": ("in-domain", {"learning_rate": 0.03}),
    "in-domain, 0.03, lambda_dom 0.2": ("in-domain", {"learning_rate": 0.03, "lambda_dom": 0.2}),
    "Image2StyleGAN, 0.03": ("image2stylegan", {"learning_rate": 0.03}),
}
STEPS = (0, 10, 20, 40, 60)


def images_of(model: idinvert.Model, count: int, photograph: str | None) -> Tensor:
    """Stand-ins of the test split, then the photograph: [N, 3, 256, 256] in [-1, 1]."""
    found = standins.load("ffhq", model.whole, "test", count)
    images = [to_float(found.distorted(i)) for i in range(count)]
    return torch.stack(images + ([read_image(photograph, standins.SIZE)] if photograph else []))


def judged(model: idinvert.Model, images: Tensor, codes: Tensor) -> dict[str, float]:
    """Error and identity distance of the images of codes, means over the images."""
    rendered = render(model.generator, codes)
    distances = (faces.descriptors(images) - faces.descriptors(rendered)).norm(dim=1)
    return {"MSE": squared_error(images, rendered).mean().item(),
            "identity distance": distances.mean().item(),
            "largest distance": distances.max().item()}


def traced(model: idinvert.Model, image: Tensor, way: str, last: int
           ) -> dict[int, tuple[float, Tensor]]:
    """Seconds and code after each of STEPS of one image [1, 3, 256, 256]."""
    name, settings = WAYS[way]
    found, begun = {}, time.process_time()

    def keep(step: int, codes: Tensor, _: Tensor) -> None:
        if step in STEPS:
            found[step] = time.process_time() - begun, codes.clone()
    result = model.invert(image, name, iterations=last, on_step=keep, **settings)
    return found | {last: (time.process_time() - begun, result.codes)}


def optimisation(model: idinvert.Model, options: argparse.Namespace) -> pd.DataFrame:
    """Seconds, error and identity after so many steps, for each way of optimising."""
    images, rows = images_of(model, options.images, options.photograph), []
    last = options.steps or STEPS[-1]
    for way in options.ways or WAYS:
        traces = [traced(model, image[None], way, last) for image in images]
        for step in traces[0]:
            codes = torch.cat([trace[step][1] for trace in traces])
            seconds = sum(trace[step][0] for trace in traces) / len(traces)
            rows.append({"way": way, "steps": step, "seconds": seconds, "images": len(images),
                         **judged(model, images, codes)})
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def identity(model: idinvert.Model, options: argparse.Namespace) -> pd.DataFrame:
    """Error and identity of both encoders, and of in-domain inversion."""
    images, rows = images_of(model, options.images, options.photograph), []
    for name, encoder in (("conventional", model.conventional), ("domain-guided", model.encoder)):
        begun = time.process_time()
        codes = encode(encoder, images)
        seconds = (time.process_time() - begun) / len(images)
        rows.append({"method": name, "seconds": seconds, **judged(model, images, codes)})
    if options.steps:
        begun = time.process_time()
        codes = model.invert(images, "in-domain", iterations=options.steps, progress=True).codes
        rows.append({"method": f"in-domain, {options.steps} steps", **judged(model, images, codes),
                     "seconds": (time.process_time() - begun) / len(images)})
    return pd.DataFrame(rows).assign(images=len(images))


def boundaries(model: idinvert.Model, options: argparse.Namespace) -> pd.DataFrame:
    """Change of every score, in its standard deviations over samples, and identity distance after
    an edit; a sheet of each boundary from -3 to 3 beside the table."""
    found = standins.load("ffhq", model.whole, "test", 2 * options.people)
    people = found.codes[::2]  # plain samples
    spread = faces.scores(to_float(found.images)).std(0)
    start = rendered(model, people)
    before, who = faces.scores(start), faces.descriptors(start)
    rows = []
    for name, boundary in model.boundaries.items():
        shown = []
        for strength in (-3.0, -1.5, 0.0, 1.5, 3.0):
            edited = rendered(model, manipulate(people, boundary.direction, strength))
            shown.append(edited)
            change = ((faces.scores(edited) - before) / spread).mean(0)
            rows.append({"boundary": name, "strength": strength,
                         **dict(zip(faces.ATTRIBUTES, change.tolist())), "identity distance":
                         (faces.descriptors(edited) - who).norm(dim=1).mean().item()})
        if options.sheets:
            small = torch.nn.functional.avg_pool2d(torch.cat(shown), 2)
            write_image(Path(options.sheets) / f"{name}.png", grid(small, len(people)))
    return pd.DataFrame(rows)


def rendered(model: idinvert.Model, codes: Tensor) -> Tensor:
    """Images at 256 px, in bfloat16."""
    with torch.autocast(model.device, torch.bfloat16):
        return render(model.generator, codes).float()


MEASURES: dict[str, Callable[[idinvert.Model, argparse.Namespace], pd.DataFrame]] = {
    "optimisation": optimisation, "identity": identity, "boundaries": boundaries}


def main(arguments: list[str] | None = None) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--photograph")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--ways", nargs="*", choices=WAYS)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--sheets", help="folder for sheets of the boundaries")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model = idinvert.load("ffhq", "cpu")
    table = MEASURES[options.measure](model, options)
    path = TABLES / f"ffhq_{options.measure}.csv"
    table.round(4).to_csv(path, index=False)
    print(table.to_string(), f"\n{path}")


if __name__ == "__main__":
    main()
