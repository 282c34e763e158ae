"""What pyproject.toml cannot say: the face model of results/weights travels inside the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WEIGHTS = Path("results/weights")
MODEL = "face-stylegan-layerwise"
SHIPPED = (MODEL, *(f"{MODEL}-{x}" for x in ("base", "conventional", "boundaries")),
           "face-classifier")


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


setup(cmdclass={"build_py": BuildWithModel})
