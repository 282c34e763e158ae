"""Build the HTML book of results.

    idinvert book build/book

assembles the pages, tables and executed notebooks of the checkout and builds the book in
build/book/_build/html; open index.html there. It does not execute notebooks: `make book` executes
those that are out of date, and fetches the scripts that the book serves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from idinvert.files import locked
from idinvert.publish import book

from . import read_options


@dataclass(frozen=True)
class Command:
    target: Positional[Path] = Path("build/book")
    """folder of the book's sources, and of _build/html"""
    vendor: Path = Path("build/vendor")
    """folder of JavaScript, which tools/vendor.py fetches"""
    live: Path = Path("build/live")
    """folder of the page on which networks run, which `python -m idinvert.publish.live` makes"""


def main(arguments: list[str]) -> int:
    """Build the book; the status is that of Jupyter Book."""
    options = read_options(Command, arguments, __name__, __doc__)
    with locked(options.target, wait=False):
        book.assemble(options.target, options.vendor, options.live)
        return book.build(options.target)
