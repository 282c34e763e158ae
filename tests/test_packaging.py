"""The lock file and pyproject.toml must agree, and the lock must install anywhere."""

import re
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from worlds.face.identity import PACK_PATH

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = {
    canonicalize_name(name): pinned
    for name, pinned in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
}


def test_lock_holds_pins_and_comments_only():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


def test_lock_names_no_cuda_package():
    assert not [name for name in LOCK if name.startswith(("nvidia", "cuda", "triton"))]


@pytest.mark.parametrize(
    "line", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"], ids=str
)
def test_lock_satisfies_pyproject(line):
    requirement = Requirement(line)
    assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier


def test_installed_version_is_the_declared_one():
    assert version("idinvert") == PROJECT["version"]


def test_the_head_pack_is_as_small_as_its_writer_makes_it():
    with zipfile.ZipFile(PACK_PATH) as pack:
        assert {member.compress_type for member in pack.infolist()} == {zipfile.ZIP_LZMA}
        assert np.load(PACK_PATH)["template"].shape[1] == 3
