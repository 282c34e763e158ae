"""List the models, or show the card of one.

    idinvert models
    idinvert models face-stylegan-layerwise

prints one line for each model that is installed or can be fetched (name, architecture, millions of
parameters, data), or the card of one: what it was trained on, for how long, what it reached, and
where it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from tyro.conf import Positional

from idinvert import models
from idinvert.models.sources import SOURCES

from . import of_file, read_options, shown


@dataclass(frozen=True)
class Command:
    name: Positional[str | None] = None
    """model to show; all are listed if none is given"""


def main(arguments: list[str]) -> None:
    """List the models or show a card."""
    options = read_options(Command, arguments, __name__, __doc__)
    if options.name is None:
        print("\n".join(map(line, sorted({*models.names(), *SOURCES}))))
    else:
        named = {"name": options.name}  # the card may say another, of files that were renamed
        card = named | models.card(options.name) | named
        print(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), end="")


def line(name: str) -> str:
    """The line of a model in the list; of a card that is damaged, what is wrong with it. Files and
    their names say anything."""
    named = f"{shown(name):40}"
    try:
        card = models.card(name)
    except models.ModelsError as error:
        return f"{named} {shown(str(error))}"
    except OSError as error:
        return f"{named} {error.strerror}{shown(of_file(error))}"
    kind, size = shown(card.get("architecture", "?")), card.get("parameters", 0) / 1e6
    origin = shown(str(card.get("format", card.get("data", ""))))
    return f"{named} {kind:24} {size:7.2f} M  {origin}"
