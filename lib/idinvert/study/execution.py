"""Executes a notebook with papermill, and keeps the results of the reference profile.

The executed notebook, its tables and its figures appear in build/PROFILE. Those of the profile
"reference" are copied to results/ together, after the whole run has succeeded, so that results/
never has the tables of one run beside the notebook of another.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError

from idinvert.files import replacing
from idinvert.registry import nearest
from idinvert.settings import SettingsError

from . import profiles, run
from .profiles import NOTEBOOKS, ROOT

RESULTS = ROOT / "results"


class CellError(ValueError):
    """A cell of a notebook failed; the message says which, how, and where the notebook is."""


def execute(notebook: str, profile: str = "embedded", progress: bool = True, /,
            **parameters: Any) -> Path:
    """Execute a notebook; returns the path of the executed notebook.

    parameters: of the notebook, besides `profile`. SettingsError or RegistryError, one sentence:
    the notebook, the profile, a parameter or a setting is unknown or out of range. CellError: a
    cell failed; results/ stays as it was.
    """
    kind, found = NOTEBOOKS[notebook], profiles.load(profile)
    source = ROOT / "notebooks" / f"{notebook}.ipynb"
    logging.getLogger("papermill").setLevel(logging.ERROR)
    known = papermill.inspect_notebook(str(source))
    for name in parameters:
        if name not in known:
            raise SettingsError(f"{notebook} has no parameter {name!r}: {nearest(name, known)}")
    of_profile = kind.__dataclass_fields__.keys() & parameters.keys()
    found.settings(notebook, **{name: parameters[name] for name in of_profile})
    target = run.output_folder(found.name) / f"{notebook}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    path = profiles.profile_path(profile)
    named = found.name if path.parent == profiles.PROFILES else str(path)
    # A kernel would print warnings about its debugger on the terminal.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    try:
        papermill.execute_notebook(
            str(source), str(target), {**parameters, "profile": named}, kernel_name="python3",
            progress_bar=progress, extra_arguments=["--log-level=ERROR"])
    except PapermillExecutionError as error:
        raise CellError(f"Cell {error.exec_count} of {notebook} failed with {error.ename}: "
                        f"{error.evalue} See the notebook as far as it got: {target}.") from None
    return keep(notebook) if found.name == "reference" and not parameters else target


def keep(notebook: str) -> Path:
    """Copy the output of the reference profile to results/; returns the executed notebook's path.

    Files that the notebook's last run wrote there and this run did not write are removed.
    """
    folder = run.output_folder("reference")
    note, old = (run.read_note(place, notebook) for place in (folder, RESULTS))
    for file in set(old.get("files", [])) - set(note["files"]):
        (RESULTS / file).unlink(missing_ok=True)
    executed = RESULTS / "notebooks" / f"{notebook}.ipynb"
    name_places(folder / f"{notebook}.ipynb")
    for source, target in [*((folder / file, RESULTS / file) for file in note["files"]),
                           (folder / f"{notebook}.ipynb", executed),
                           (run.note_path(folder, notebook), run.note_path(RESULTS, notebook))]:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    return executed


def name_places(path: Path) -> None:
    """Write the places that papermill notes in an executed notebook relative to the checkout."""
    notebook = nbformat.read(path, 4)
    noted = notebook.metadata.papermill
    for key in ("input_path", "output_path"):
        noted[key] = run.shown(Path(noted[key]))
    nbformat.write(notebook, path)
