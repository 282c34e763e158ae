"""Command line: `python -m idinvert.models import FILE NAME` makes a model of a published file,
`python -m idinvert.models list` shows the registry."""

from __future__ import annotations

import argparse
import sys

from idinvert import models as weights
from idinvert.models import importing


def build_parser() -> argparse.ArgumentParser:
    """The command line of both commands."""
    parser = argparse.ArgumentParser(prog="idinvert.models", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show every model of the registry")
    load = commands.add_parser("import", help="make models of a file of another project")
    load.add_argument("file", help=".pkl of NVIDIA's StyleGAN2-ADA, .pt of rosinality's StyleGAN2, "
                      ".pth of genforce/idinvert_pytorch, .npy of a boundary")
    load.add_argument("name", help="of the generator; its encoder becomes NAME-base")
    load.add_argument("--attribute", help="what a boundary is of, the file's name unless told")
    load.add_argument("--replace", action="store_true", help="overwrite what is there")
    return parser


def line(name: str) -> str:
    """One line on a model."""
    card = weights.card(name)
    origin = card.get("format", card.get("data", ""))
    return f"{name:40} {card['architecture']:24} {card['parameters'] / 1e6:7.2f} M  {origin}"


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        if arguments.command == "list":
            print("\n".join(map(line, weights.names())))
            return 0
        names = importing.import_file(arguments.file, arguments.name, arguments.attribute,
                                      arguments.replace)
        print(f"{', '.join(names)} saved in {weights.folder()}")
    except (ValueError, OSError) as error:
        print(f"idinvert.models: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
