"""Command line: `python -m idinvert.inversion --model NAME --images PATH --out DIR`."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from idinvert import models, processes
from idinvert.data import open_source
from idinvert.inversion import Networks, Settings, files
from idinvert.losses import LAMBDA_DOM, LAMBDA_VGG
from idinvert.models import pretrained

METHODS = ("in-domain", "encoder", "image2stylegan")
# iterations of the in-domain method; Image2StyleGAN takes ten times as many
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
    parser.add_argument("--method", choices=METHODS, default=METHODS[0])
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


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Settings of the chosen method; ValueError for counts below 0 (1 for the batch)."""
    if (arguments.iterations or 0) < 0 or arguments.batch < 1:
        raise ValueError("--iterations must be at least 0 and --batch at least 1.")
    iterations = arguments.iterations
    if arguments.method == "encoder":
        iterations = 0
    elif iterations is None:
        factor = 10 if arguments.method == "image2stylegan" else 1
        iterations = factor * PROFILES[arguments.profile]
    lambda_dom = arguments.lambda_dom if arguments.method == "in-domain" else 0.0
    return Settings(lambda_dom, arguments.lambda_vgg, iterations, arguments.learning_rate,
                    arguments.bf16)


def encoder_of(arguments: argparse.Namespace) -> str:
    """Name of the encoder."""
    return arguments.encoder or models.companion(arguments.model, "encoder")


def load_networks(arguments: argparse.Namespace, settings: Settings, device: str) -> Networks:
    """The networks that the method needs."""
    generator = models.load(arguments.model, device)
    encoder = features = None
    if arguments.method != "image2stylegan":
        encoder = models.load(encoder_of(arguments), device)
    if settings.lambda_vgg and settings.iterations:
        features = pretrained.load_vgg16(device)
    return Networks(generator, features, encoder)


def notes_of(arguments: argparse.Namespace, settings: Settings) -> dict:
    """What the results depend on."""
    notes = {"model": arguments.model, "sha256": models.card(arguments.model)["sha256"],
             "method": arguments.method, **asdict(settings), "crop": not arguments.squeeze}
    if arguments.method != "image2stylegan":
        name = encoder_of(arguments)
        notes |= {"encoder": name, "encoder_sha256": models.card(name)["sha256"]}
    return notes


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        share = processes.share()
        settings = settings_of(arguments)
        networks = load_networks(arguments, settings, share.device(arguments.device))
        job = files.Job(open_source(arguments.images), networks, settings, arguments.out,
                        arguments.batch, not arguments.squeeze)
        counts = files.run(job, notes_of(arguments, settings), share)
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
