"""The lock fits pyproject.toml and installs anywhere; the wheel is enough to invert and edit."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import idinvert
import numpy as np
import pytest
import yaml
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


EXTRAS = PROJECT["optional-dependencies"]


@pytest.mark.parametrize("line", sorted({*PROJECT["dependencies"], *sum(EXTRAS.values(), [])}))
def test_lock_satisfies_pyproject(line):
    requirement = Requirement(line)
    if requirement.name == "idinvert":
        assert requirement.extras <= set(EXTRAS)
    else:
        assert LOCK[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from what the source archive holds."""
    folder = tmp_path_factory.mktemp("wheel")
    build(ROOT, folder, "build_sdist")
    with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4
        archive.extractall(folder, **safely)
    build(folder / f"idinvert-{idinvert.__version__}", folder, "build_wheel")
    return next(folder.glob("*.whl"))


def build(source, folder, what):
    """Call setuptools as pip does."""
    code = f"from setuptools import build_meta; build_meta.{what}({str(folder)!r})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_wheel_holds_the_library_the_face_model_and_nothing_of_the_study(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    shipped = {name.rpartition("/")[2] for name in names if "/shipped/" in name}
    model = "face-stylegan-layerwise"
    assert {f"{model}{end}" for end in (".json", ".safetensors", "-base.json", "-base.safetensors",
            "-boundaries.safetensors")} | {"face-classifier.json", "face-classifier.safetensors"
            } <= shipped
    modules = {p.relative_to(ROOT / "lib").as_posix() for p in (ROOT / "lib").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert not [name for name in names if name.split("/")[0] not in ("idinvert", "worlds")
                and ".dist-info/" not in name]
    assert wheel.stat().st_size < 30e6


def test_the_wheel_made_of_the_source_archive_knows_its_commit(wheel):
    with zipfile.ZipFile(wheel) as archive:
        told = archive.read("idinvert/COMMIT").decode()
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    git = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert told == git.stdout  # nothing where there is no git


def test_metadata_of_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        folder = f"idinvert-{idinvert.__version__}.dist-info"
        about = message_from_bytes(archive.read(f"{folder}/METADATA"))
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
    assert about["Version"] == idinvert.__version__
    assert set(about.get_all("Provides-Extra")) == set(EXTRAS)
    core = {Requirement(x).name for x in about.get_all("Requires-Dist") if "extra ==" not in x}
    assert core == {"torch", "numpy", "pillow", "safetensors", "pydantic", "tyro", "tqdm", "pyyaml"}
    assert "idinvert = idinvert.cli:main" in scripts


def test_inverting_needs_the_core_packages_alone():
    """What the extras bring is not there; everything that invert, edit and import load is."""
    extras = ["pandas", "scipy", "sklearn", "matplotlib", "seaborn", "pytorch_msssim", "IPython",
              "numba", "mitsuba", "lmdb"]
    code = ("import sys; sys.modules.update(dict.fromkeys({extras!r}));"
            "from idinvert.cli import main; sys.exit(main(['{command}', '--help']))")
    for command in ("invert", "edit", "import", "models"):
        script = code.format(extras=extras, command=command)
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def fresh_environment(folder):
    """The programs of a new virtual environment that has PyTorch."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([ROOT / "tools" / "install_torch.sh", folder / "bin"], cwd=ROOT, check=True)
    return folder / "bin"


def run_there(*words, cwd):
    """Run a program without what this process has set for Python."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH",)}
    subprocess.run(words, cwd=cwd, env=environment, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_a_package_is_enough_in_a_fresh_environment(wheel, tmp_path, kind):
    """Minutes, and the packages' download: invert and edit outside the checkout."""
    binaries = fresh_environment(tmp_path / "venv")
    run_there(binaries / "pip", "install", "-q", next(wheel.parent.glob(kind)), cwd=tmp_path)
    model = idinvert.load("face-stylegan-layerwise")
    idinvert.write_image(tmp_path / "x.png", model.render(model.sample(1))[0])
    for command in (["invert", "x.png"], ["edit", "x.png", "age=3"]):
        run_there(binaries / "idinvert", *command, "--model", "face-stylegan-layerwise",
                  "--iterations", "2", cwd=tmp_path)
    assert (tmp_path / "inverted" / "images" / "x.png").exists()
    assert (tmp_path / "edited.png").exists()


@pytest.mark.slow
def test_the_smoke_profile_runs_in_the_environment_of_conda(tmp_path):
    """What environment.yml installs by pip, in a copy of the checkout; conda brings Python alone.
    """
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    assert conda == ["python=3.11", "pip"]
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", ".venv"))
    binaries = fresh_environment(tmp_path / "venv")
    lines = next(line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    words = [word for line in lines for word in line.split()]
    run_there(binaries / "pip", "install", "-q", *words, cwd=copy)
    run_there(binaries / "idinvert", "run", "06_tradeoff", "--profile", "smoke", cwd=copy)
    assert (copy / "build" / "smoke" / "06_tradeoff.ipynb").exists()


def test_the_head_pack_is_as_small_as_its_writer_makes_it():
    with zipfile.ZipFile(PACK_PATH) as pack:
        assert {member.compress_type for member in pack.infolist()} == {zipfile.ZIP_LZMA}
        assert np.load(PACK_PATH)["template"].shape[1] == 3
