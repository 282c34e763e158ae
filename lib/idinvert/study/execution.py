"""Executing a notebook with papermill, and keeping what the reference profile makes.

One way for all profiles: the executed notebook, its tables and its figures appear in build/PROFILE.
Those of the profile "reference" are taken to results/ together, once the whole run has succeeded,
so that results/ never holds the tables of one run beside the notebook of another.
"""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import papermill

from idinvert.files import replacing

from . import profiles, run
from .profiles import NOTEBOOKS, ROOT

RESULTS = ROOT / "results"
# What a kernel and its debugger say of themselves, to whom it means nothing.
QUIET = {"PYDEVD_DISABLE_FILE_VALIDATION": "1", "TQDM_MININTERVAL": "5", "PYTHONWARNINGS": "ignore"}


def execute(notebook: str, profile: str = "embedded", progress: bool = True,
            **parameters: Any) -> Path:
    """Execute a notebook; returns the path of the executed one.

    parameters: of the notebook, beside `profile`. SettingsError or RegistryError, one sentence: the
    notebook, the profile or one of its settings is unknown or out of range; papermill's
    PapermillExecutionError: a cell failed.
    """
    kind, found = NOTEBOOKS[notebook], profiles.load(profile)
    known = {name: value for name, value in parameters.items() if name in kind.__annotations__}
    found.settings(notebook, **known)
    target = run.output_folder(found.name) / f"{notebook}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    path = profiles.profile_path(profile)
    named = found.name if path.parent == profiles.PROFILES else str(path)
    os.environ.update(QUIET)
    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            ROOT / "notebooks" / f"{notebook}.ipynb", target, {"profile": named, **parameters},
            kernel_name="python3", progress_bar=progress)
    return keep(notebook) if found.name == "reference" and not parameters else target


def keep(notebook: str) -> Path:
    """Take the output of the reference profile to results/; returns the executed notebook's path.

    What the notebook wrote there in its last run and does not write any more is removed.
    """
    folder = run.output_folder("reference")
    note, old = (run.read_note(place, notebook) for place in (folder, RESULTS))
    for file in set(old.get("files", [])) - set(note["files"]):
        (RESULTS / file).unlink(missing_ok=True)
    executed = RESULTS / "notebooks" / f"{notebook}.ipynb"
    for source, target in [*((folder / file, RESULTS / file) for file in note["files"]),
                           (folder / f"{notebook}.ipynb", executed),
                           (run.note_path(folder, notebook), run.note_path(RESULTS, notebook))]:
        with replacing(target) as temporary:
            shutil.copyfile(source, temporary)
    return executed
