"""Command line: `python -m idinvert.boundaries --model NAME --labels labels.csv --images PATH`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from idinvert import boundaries, devices, models
from idinvert.boundaries import labelled
from idinvert.data import open_source


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="idinvert.boundaries", description="Fit a boundary for each attribute of a CSV file.")
    parser.add_argument("--model", required=True, help="generator of the registry")
    parser.add_argument("--labels", required=True,
                        help="CSV: a column 'image', and one of 0 and 1 for each attribute")
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", help="folder, zip or LMDB: their codes are E(x)")
    images.add_argument("--inverted", type=Path, help="folder that idinvert.inversion has made")
    parser.add_argument("--encoder", help="MODEL-base unless told")
    parser.add_argument("--space", choices=boundaries.SPACES, default="whole",
                        help="one plane for all layers, or one for each")
    parser.add_argument("--layers", type=int, nargs="+", help="that the boundary moves; all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--replace", action="store_true", help="overwrite boundaries of that name")
    parser.add_argument("--device", default="auto", help="cuda if there is one")
    return parser


def codes_of(arguments: argparse.Namespace, labels) -> tuple[torch.Tensor, list[str]]:
    """Codes [N, L, D] of the labelled images, and their names in the labels."""
    if arguments.inverted:
        codes, names = labelled.inverted_codes(arguments.inverted)
        pairs = labelled.match(labels, names)
        kept = [i for i, name in enumerate(names) if name in pairs]
        return codes[kept], [pairs[names[i]] for i in kept]
    source = open_source(arguments.images)
    pairs = labelled.match(labels, source.names)
    encoder = models.load(arguments.encoder or f"{arguments.model}-base",
                           devices.pick(arguments.device))
    codes, names, errors = labelled.encoded_codes(encoder, source, list(pairs))
    for error in errors:
        print(f"idinvert.boundaries: left out: {error}", file=sys.stderr)
    return codes, [pairs[name] for name in names]


def check(arguments: argparse.Namespace, labels) -> dict[str, boundaries.Boundary]:
    """The boundaries that the model has; ValueError if one is to be overwritten, or of layers."""
    depth = models.load(arguments.model).num_layers
    if any(not 0 <= layer < depth for layer in arguments.layers or ()):
        raise ValueError(f"--layers must be from 0 to {depth - 1}.")
    path = models.folder() / f"{arguments.model}-boundaries.safetensors"
    known = models.load_boundaries(arguments.model) if path.exists() else {}
    for name in labels:
        if name in known and not arguments.replace:
            raise ValueError(f"{arguments.model} has a boundary {name!r}: name the column "
                             "differently, or --replace.")
    return known


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        labels = labelled.read_labels(arguments.labels)
        known = check(arguments, labels)
        codes, names = codes_of(arguments, labels)
        fitted = labelled.fit_labels(codes, labels.loc[names], arguments.space, arguments.layers,
                                     arguments.seed)
        path = models.folder() / f"{arguments.model}-boundaries.safetensors"
        boundaries.save((known | {b.name: b for b in fitted}).values(), path)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError, ImportError) as error:
        print(f"idinvert.boundaries: error: {error}", file=sys.stderr)
        return 1
    for boundary in fitted:
        print(f"{boundary.name:24} accuracy {boundary.accuracy:.3f} on held-out codes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
