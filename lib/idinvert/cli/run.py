"""Execute a notebook of the study, and name a picture to open.

    idinvert run 06_tradeoff
    idinvert run 02_reconstruction --profile smoke num_images=4

The executed notebook, its tables and its figures are written to build/PROFILE. Those of the profile
"reference" are copied to results/ after the whole run has succeeded. NAME=VALUE sets a parameter of
the notebook.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from tyro.conf import Positional

from idinvert.files import locked
from idinvert.study import execution, profiles, run

from . import UsageError, read_options


@dataclass(frozen=True)
class Command:
    notebook: Positional[str] = "06_tradeoff"
    """its name in notebooks/, without .ipynb"""
    parameters: Positional[tuple[str, ...]] = ()
    """NAME=VALUE sets a parameter of the notebook's first cell, such as num_images=8"""
    profile: str = "embedded"
    """smoke (a minute), embedded (at most ten on two CPU cores), reference, paper, or a .yml file
    of your own"""


def main(arguments: list[str]) -> None:
    """Execute the notebook and list the files that it wrote."""
    options = read_options(Command, arguments, __name__, __doc__)
    parameters = read_parameters(options.parameters)
    found = profiles.load(options.profile)
    found.settings(options.notebook)  # says now that there is no such notebook
    start = time.monotonic()
    print(f"Executing {options.notebook} in the profile {options.profile}.", flush=True)
    with locked(run.output_folder(found.name) / "running" / options.notebook, wait=False):
        notebook = execution.execute(options.notebook, options.profile, **parameters)
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    folder = notebook.parent.parent if notebook.parent.name == "notebooks" else notebook.parent
    files = [run.shown(folder / file) for file in run.read_note(folder, notebook.stem)["files"]]
    print(f"Done in {minutes} min {seconds} s.", f"  {run.shown(notebook)}",
          *(f"  {file}" for file in sorted(files)), sep="\n")
    pictures = [file for file in files if "/figures/" in file]
    if pictures:  # images, which are saved as JPEG, say more to a newcomer than curves
        print(f"Open {next((file for file in pictures if file.endswith('.jpg')), pictures[0])}")


def read_parameters(words: Sequence[str]) -> dict[str, Any]:
    """The parameters by name; UsageError as `parameter`, or if one is given twice, or is the
    profile, which has an option."""
    found = {}
    for name, value in map(parameter, words):
        if name in found:
            raise UsageError(f"{name} is given twice.")
        if name == "profile":
            raise UsageError("name the profile by --profile.")
        found[name] = value
    return found


def parameter(word: str) -> tuple[str, Any]:
    """A parameter and its value, read as YAML; UsageError without "=", or if it is no YAML."""
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError(f"{word!r} should be NAME=VALUE, such as num_images=8.")
    try:
        return name, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UsageError(f"{word!r} has no value that can be read: write one as in the profiles, "
                         "such as num_images=8.") from None
