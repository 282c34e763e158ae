"""Command line: `python -m idinvert.data render DOMAIN` fills the cache before it is needed,
`python -m idinvert.data archive DOMAIN` writes the archive of a domain's test images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from worlds import dataset

from idinvert.data import archive, sets
from idinvert.files import cache_folder


def build_parser() -> argparse.ArgumentParser:
    """The command line of both commands."""
    parser = argparse.ArgumentParser(prog="idinvert.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="render the training images into the cache")
    render.add_argument("--size", type=int, default=sets.ARCHIVE_SIZE, help="px, 64 unless told")
    pack = commands.add_parser("archive", help="write the archive of the test images")
    pack.add_argument("--source", type=Path, help="rendered folder that holds them")
    pack.add_argument("--out", type=Path, help="zip file, the package's own unless told")
    for sub in (render, pack):
        sub.add_argument("domain", choices=sets.DOMAINS)
    return parser


def write_archive(domain: str, source: Path | None, out: Path | None) -> Path:
    """Pack the test images of a rendered folder, or of one rendered into the cache."""
    start = sets.TRAIN_COUNTS[domain]
    if source is None:
        source = cache_folder("worlds") / f"{domain}-{sets.ARCHIVE_SIZE}-test"
        sets.render(
            source,
            dataset.Settings(domain, sets.ARCHIVE_SIZE, sets.SEED, sets.TEST_COUNT, start=start),
        )
    out = out or archive.archive_path(domain)
    wanted = range(start, start + sets.TEST_COUNT)
    images = dict(zip(dataset.read_settings(source).indices(), dataset.read_encoded(source)))
    with dataset.replacing(out) as temporary, open(source / "attributes.csv", newline="") as table:
        archive.write(temporary, wanted, (images[index] for index in wanted), table)
    return out


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "render":
            split = sets.load(arguments.domain, "train", size=arguments.size)
            print(f"{len(split)} training images of {arguments.domain} are in the cache")
        else:
            print(write_archive(arguments.domain, arguments.source, arguments.out))
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        print("idinvert.data: stopped; run the same command to continue", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
