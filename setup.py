"""What pyproject.toml cannot say: the face model of results/weights travels inside the wheel, and
the commit inside the wheel and the source archive, where no git can tell it."""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

WEIGHTS = Path("results/weights")
MODEL = "face-stylegan-layerwise"
SHIPPED = (MODEL, *(f"{MODEL}-{x}" for x in ("base", "conventional", "boundaries")),
           "face-classifier")


COMMIT = Path("COMMIT")  # of a source archive


def commit():
    """The commit of this source; empty if nothing tells it."""
    if COMMIT.exists():
        return COMMIT.read_text()
    if not Path(".git").exists():
        return ""
    found = subprocess.run(["git", "describe", "--always", "--dirty", "--exclude=*"],
                           capture_output=True, text=True)
    return found.stdout


class SourceWithCommit(sdist):
    """Writes the commit into the source archive."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        Path(base_dir, COMMIT).write_text(commit())


class BuildWithModel(build_py):
    """Copies generator, encoders, boundaries and classifier, and their cards, into the package."""

    def run(self):
        if self.editable_mode:  # a checkout finds them where they are
            super().run()
            return
        shutil.rmtree(self.build_lib, ignore_errors=True)  # modules of an earlier build that moved
        super().run()
        target = Path(self.build_lib, "idinvert/models/shipped")
        target.mkdir(parents=True, exist_ok=True)
        for path in (path for name in SHIPPED for path in WEIGHTS.glob(f"{name}.*")):
            shutil.copyfile(path, target / path.name)
        Path(self.build_lib, "idinvert", COMMIT).write_text(commit())


setup(cmdclass={"build_py": BuildWithModel, "sdist": SourceWithCommit})
