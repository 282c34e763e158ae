"""Command line: `python -m idinvert.inversion --model NAME --images PATH --out DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from idinvert import processes
from idinvert.data import open_source
from idinvert.inversion import METHODS, Method, files
from idinvert.inversion.model import Model
from idinvert.losses import LAMBDA_DOM, LAMBDA_VGG
from idinvert.settings import names

# iterations of the methods that optimise; Image2StyleGAN takes ten times as many
PROFILES = {"smoke": 5, "embedded": 100, "paper": 100}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="idinvert.inversion",
        description="Invert images into codes; the same command continues.")
    parser.add_argument("--model", required=True, help="generator of the registry")
    parser.add_argument("--images", required=True, help="folder, zip, LMDB or image file")
    parser.add_argument("--out", required=True, type=Path, help="folder of the results")
    parser.add_argument("--encoder", help="MODEL-base unless told")
    parser.add_argument("--method", choices=list(METHODS), default="in-domain")
    parser.add_argument("--lambda-dom", type=float, default=LAMBDA_DOM, help="weight of the code "
                        f"term of Eq. (4), {LAMBDA_DOM:g} unless told")
    parser.add_argument("--lambda-vgg", type=float, default=LAMBDA_VGG, help="weight of the "
                        f"perceptual term, {LAMBDA_VGG:g} unless told; 0 needs no VGG-16")
    parser.add_argument("--iterations", type=int, help="steps, as in the profile unless told")
    parser.add_argument("--learning-rate", type=float, default=0.01, help="of Adam")
    parser.add_argument("--profile", choices=PROFILES, default="embedded")
    parser.add_argument("--batch", type=int, default=16, help="images at a time")
    parser.add_argument("--bf16", action="store_true", help="convolutions in bfloat16")
    parser.add_argument("--squeeze", action="store_true", help="squeeze images that are not square "
                        "instead of cutting out the centre")
    parser.add_argument("--device", default="auto", help="cuda if there is one")
    return parser


def method_of(arguments: argparse.Namespace) -> Method:
    """The chosen method with its settings; ValueError for counts below 0 (1 for the batch)."""
    if (arguments.iterations or 0) < 0 or arguments.batch < 1:
        raise ValueError("--iterations must be at least 0 and --batch at least 1.")
    if arguments.iterations is None:
        factor = 10 if arguments.method == "image2stylegan" else 1
        arguments.iterations = factor * PROFILES[arguments.profile]
    kind = METHODS[arguments.method]
    return kind(**{name: getattr(arguments, name) for name in names(kind)})


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        share = processes.share()
        chosen = {"encoder": arguments.encoder} if arguments.encoder else {}
        model = Model(arguments.model, share.device(arguments.device), **chosen)
        job = files.Job(model, method_of(arguments), open_source(arguments.images), arguments.out,
                        arguments.batch, not arguments.squeeze)
        counts = files.run(job, share)
    except KeyboardInterrupt:
        print("Stopped; the same command continues.", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"idinvert.inversion: error: {error}", file=sys.stderr)
        return 1
    print(", ".join(f"{counts[state]} {state}" for state in files.STATES) + f"; {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
