"""One run of a notebook: settings and subjects from a profile, where tables and figures go."""

from __future__ import annotations

import difflib
import json
import platform
import time
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path

import pandas as pd
import torch
import yaml
from IPython.display import Image
from matplotlib.figure import Figure

from idinvert import devices
from idinvert import models as weights
from idinvert.files import replacing
from idinvert.models import pretrained

from . import figures, subjects
from .subjects import Subject

ROOT = Path(__file__).resolve().parents[3]
PROFILES = ROOT / "notebooks" / "profiles"
VERSIONS = ("torch", "numpy", "pandas", "scikit-learn", "matplotlib")


@dataclass(frozen=True)
class Run:
    """Resolved settings of a notebook, and its output folder.

    The profile "reference" writes into results/, which is committed; every other one into
    build/PROFILE, so that a quick run never overwrites a long one.
    """

    notebook: str
    profile: str
    device: str
    seed: int
    settings: dict
    folder: Path
    listed: dict[str, Subject] = field(default_factory=dict)  # the profile's subjects, by domain
    start: float = field(default_factory=time.monotonic)

    def __getattr__(self, name: str):
        settings = self.__dict__.get("settings", {})
        if name in settings:
            return settings[name]
        raise AttributeError(f"{self.notebook} has no setting {name!r} in profile {self.profile}")

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        """The subjects whose files are there: see `subjects.ready`."""
        return subjects.ready(self.listed)

    def subject(self, domain: str) -> Subject:
        """The subject of a domain; SubjectError names those that the profile has."""
        if domain not in self.listed:
            known = ", ".join(self.listed)
            raise subjects.SubjectError(f"The profile {self.profile!r} has no subject {domain!r}: "
                                        f"expected one of {known}.")
        return self.listed[domain]

    def table(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Write tables/NAME.csv; returns the frame."""
        with replacing(self.folder / "tables" / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")
        return frame

    def figure(self, name: str, figure: Figure) -> Image:
        """Write figures/NAME at 150 dots an inch, .jpg if it shows photographs, else .png; returns
        what the notebook shows of it."""
        file = self.folder / "figures" / f"{name}.{figures.file_format(figure)}"
        with replacing(file) as temporary:
            figures.save(figure, temporary, dpi=150)
        return figures.shown(figure)

    def finish(self) -> str:
        """Write the resolved settings, models, versions and time; returns a line about them."""
        seconds = round(time.monotonic() - self.start, 1)
        described = {"notebook": self.notebook, "profile": self.profile, "device": self.device,
                     "seed": self.seed, "settings": self.settings, "seconds": seconds,
                     "models": dict(sorted(weights.loaded.items())),
                     "judge": "Inception" if pretrained.gives_fid() else "EfficientNet-Lite0",
                     "machine": platform.machine(), "python": platform.python_version(),
                     **{name: metadata.version(name) for name in VERSIONS}}
        with replacing(self.folder / "settings" / f"{self.notebook}.json") as temporary:
            temporary.write_text(json.dumps(described, indent=1) + "\n")
        where = self.folder.relative_to(ROOT) if self.folder.is_relative_to(ROOT) else self.folder
        return f"{self.notebook}, profile {self.profile}: {seconds:.0f} s; results in {where}/"


def begin(notebook: str, profile: str = "embedded", device: str = "auto", seed: int = 0,
          **overrides) -> Run:
    """Settings of a notebook in a profile; an override that is not None replaces its setting.

    profile: a name of `notebooks/profiles`, or the path of a .yml file of one's own: what that
    leaves out is as in "embedded".
    ValueError: unknown profile (the nearest are named), or a notebook that it does not have.
    """
    path = profile_path(profile)
    described = read_profile(path)
    defaults = read_profile(PROFILES / "embedded.yml") if path.parent != PROFILES else {}
    if notebook not in {**defaults, **described}:
        raise ValueError(f"The profile {profile!r} has no settings for the notebook {notebook!r}.")
    settings = defaults.get(notebook, {}) | described.get(notebook, {})
    settings |= {k: v for k, v in overrides.items() if v is not None}
    device = devices.pick(device)
    torch.manual_seed(seed)
    folder = ROOT / "results" if profile == "reference" else ROOT / "build" / path.stem
    return Run(notebook, path.stem, device, seed, settings, folder,
               subjects.of_profile(described.get("subjects"), path.parent))


def profile_path(profile: str) -> Path:
    """The file of a profile; ValueError names the nearest ones."""
    if profile.endswith(".yml") and Path(profile).is_file():
        return Path(profile).resolve()
    known = sorted(p.stem for p in PROFILES.glob("*.yml"))
    if profile not in known:
        near = difflib.get_close_matches(profile, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}."
        raise ValueError(f"Unknown profile {profile!r}: {hint}")
    return PROFILES / f"{profile}.yml"


def read_profile(path: Path) -> dict:
    """Settings by notebook; ValueError if the file is no such list."""
    try:
        described = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable YAML file.") from error
    if not isinstance(described, dict):
        raise ValueError(f"{path} is no profile: it lists no settings.")
    return described
