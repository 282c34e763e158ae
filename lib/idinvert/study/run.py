"""One run of a notebook: its settings, its output folder, and a note of what it was made from."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from IPython.display import Image, display
from matplotlib.figure import Figure

from idinvert import devices, models, provenance
from idinvert.files import replacing
from idinvert.models import pretrained
from idinvert.settings import resolved

from . import figures, profiles, subjects
from .profiles import ROOT
from .subjects import Subject

VERSIONS = ("torch", "numpy", "pandas", "scikit-learn", "matplotlib")
# Code on which no number of a notebook depends: the results of training and importing are in the
# weights, which are compared themselves, as settings are; `figures` only draws.
WITHOUT = ("idinvert.training", "idinvert.models.importers", "idinvert.models.importing",
           "idinvert.study.profiles", "idinvert.study.figures")


@dataclass
class Run:
    """Settings of a notebook, the subjects of its profile, and its output folder.

    Output goes to build/PROFILE of the checkout, or to PROFILE in the folder that
    `$IDINVERT_BUILD` names; `execution.keep` copies that of the profile "reference" to results/.
    """

    notebook: str
    profile: str
    device: str
    seed: int
    settings: Any  # the notebook's class of `profiles.NOTEBOOKS`
    folder: Path
    listed: dict[str, Subject] = field(default_factory=dict)  # the profile's subjects, by domain
    code: dict[str, str] = field(default_factory=dict)  # see `code_of`
    start: float = field(default_factory=time.monotonic)
    files: list[str] = field(default_factory=list)  # written by the run, relative to the folder

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        """The subjects whose files exist: see `subjects.ready`."""
        return subjects.ready(self.listed, lambda domain: self.listed[domain].prepare())

    def subject(self, domain: str) -> Subject:
        """The subject of a domain; SubjectError lists those of the profile."""
        if domain not in self.listed:
            known = ", ".join(self.listed)
            raise subjects.SubjectError(f"The profile {self.profile!r} has no subject {domain!r}: "
                                        f"expected one of {known}.")
        return self.listed[domain]

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Write tables/NAME.csv; returns the frame.

        The notebook first shows an empty output with the metadata {"kind": "table", "name": NAME},
        which tells the book which table follows.
        """
        with replacing(self.place(f"tables/{name}.csv")) as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
        display({"text/html": ""}, metadata={"kind": "table", "name": name}, raw=True)
        return frame

    def figure(self, name: str, figure: Figure) -> Image:
        """Write figures/NAME at 150 dots per inch, .jpg if it shows images, else .png; returns what
        the notebook shows of it, with the metadata {"kind": "figure", "name": NAME}."""
        file = self.place(f"figures/{name}.{figures.file_format(figure)}")
        with replacing(file) as temporary:
            figures.save(figure, temporary, dpi=150)
        shown = figures.shown(figure)
        shown.metadata = {"kind": "figure", "name": name}
        return shown

    def place(self, file: str) -> Path:
        """The path of a file that the run writes; adds the file to `files`."""
        if file not in self.files:
            self.files.append(file)
        return self.folder / file

    def finish(self) -> str:
        """Write settings/NOTEBOOK.json: what the run was made from, its files and its time; returns
        a line to print."""
        seconds = round(time.monotonic() - self.start, 1)
        note = {"notebook": self.notebook, "profile": self.profile, "device": self.device,
                "seed": self.seed, "settings": resolved(self.settings), "seconds": seconds,
                "models": dict(sorted(models.loaded.items())), "judge": judge(),
                "machine": platform.machine(), "python": platform.python_version(),
                **{name: metadata.version(name) for name in VERSIONS},
                "files": self.files, "code": self.code}
        with replacing(note_path(self.folder, self.notebook)) as temporary:
            temporary.write_text(json.dumps(note, indent=1) + "\n")
        return (f"{self.notebook}, profile {self.profile}: {seconds:.0f} s; results in "
                f"{shown(self.folder)}/")


def begin(notebook: str, profile: str = "embedded", device: str = "auto", seed: int = 0,
          **overrides: Any) -> Run:
    """Start a run of a notebook in a profile: see `profiles.load` and `Profile.settings`.

    SettingsError or RegistryError, one sentence: something is unknown or out of range.
    """
    found = profiles.load(profile)
    settings = found.settings(notebook, **overrides)
    torch.manual_seed(seed)
    # On a GPU convolutions would round float32 to TF32, by which SSIM is off by 0.01.
    torch.backends.cudnn.allow_tf32 = False
    return Run(notebook, found.name, devices.pick(device), seed, settings,
               output_folder(found.name), found.subjects, code_of(notebook))


def output_folder(profile: str) -> Path:
    """Where notebooks write in a profile."""
    return Path(os.environ.get("IDINVERT_BUILD") or ROOT / "build").expanduser() / profile


def shown(path: Path) -> str:
    """A path as messages show it: relative to the checkout if it is in it."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def read_note(folder: Path, notebook: str) -> dict[str, Any]:
    """What `Run.finish` wrote about a run; empty if the notebook has not been run."""
    path = note_path(folder, notebook)
    return json.loads(path.read_text()) if path.exists() else {}


def note_path(folder: Path, notebook: str) -> Path:
    """The file to which a run writes what it was made from."""
    return folder / "settings" / f"{notebook}.json"


def judge() -> str:
    """The network in whose features FD and KID are taken."""
    return "Inception" if pretrained.gives_fid() else "EfficientNet-Lite0"


def code_of(notebook: str) -> dict[str, str]:
    """Hashes of a notebook's own code, as "notebook", and of each module of this project that it
    imports, directly or indirectly, except WITHOUT."""
    # without nbformat, which takes more than a second to import
    cells = json.loads((ROOT / "notebooks" / f"{notebook}.ipynb").read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return {"notebook": provenance.syntax_hash(code)[:16],
            **provenance.code_hashes(provenance.imports_of(code), WITHOUT)}
