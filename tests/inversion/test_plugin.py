"""An inversion method in a module of one's own is found wherever methods are."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from idinvert.data import write_image
from idinvert.inversion import METHODS
from idinvert.registry import RegistryError, import_plugins

TOY = '''
from idinvert.inversion import METHODS, Inversion
from idinvert.settings import Positive, settings

import torch

@METHODS.register("toy")
@settings
class Toy:
    """Every image gets the average code, times a factor."""

    title = "Toy"
    needs = ("encoder",)

    factor: Positive = 1.0

    def invert(self, networks, images, *, on_step=None, progress=False):
        generator = networks.generator
        codes = self.factor * generator.w_avg.expand(len(images), -1, -1)
        return Inversion(codes, generator.synthesis(codes).detach(), {},
                         torch.zeros(len(images), dtype=torch.bool))
'''
USE = '''
import json, sys
from pathlib import Path
import idinvert, torch
from idinvert.data import open_source
from idinvert.inversion import METHODS, files
from idinvert.inversion.cache import cached_codes

model = idinvert.load("own", "cpu")
images = torch.zeros(3, 3, 8, 8)
found = model.invert(images, method="toy", factor=2)
job = files.Job(model, METHODS["toy"](factor=3), open_source(sys.argv[1]), Path(sys.argv[2]))
print(json.dumps({
    "methods": list(METHODS), "available": model.available(),
    "right": bool((found.codes == 2 * model.generator.w_avg).all()), "count": len(found.codes),
    "cached": bool((cached_codes(model, METHODS["toy"](), images, False)
                    == model.generator.w_avg).all()),
    "files": dict(files.run(job, progress=False)),
    "average": model.generator.w_avg.tolist()}))
'''


@pytest.fixture
def run(own_registry, tmp_path, monkeypatch):
    """Use the toy in a fresh process, whose registries are read for the first time."""
    write_image(tmp_path / "photos" / "a.png", torch.zeros(3, 9, 9))
    monkeypatch.setenv("IDINVERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")

    def in_process(plugins, code=USE):
        monkeypatch.setenv("IDINVERT_PLUGINS", plugins)
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "photos"), str(tmp_path / "out")],
            capture_output=True, text=True)
    return in_process


def test_method_of_a_plugin_is_found_everywhere(run, tmp_path):
    """Though another one fails, which is named."""
    (tmp_path / "toys.py").write_text(TOY)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    done = run("broken,toys")
    assert done.returncode == 0, done.stderr
    assert "plug-in broken is left out: ModuleNotFoundError" in done.stderr
    told = json.loads(done.stdout)
    assert told["methods"] == ["conventional", "domain-guided", "image2stylegan", "in-domain",
                               "pivotal-tuning", "toy"]
    assert told["available"] == ["domain-guided", "image2stylegan", "in-domain", "pivotal-tuning",
                                 "toy"]
    assert told["right"] and told["count"] == 3 and told["cached"]
    assert told["files"] == {"ok": 1}
    with np.load(tmp_path / "out" / "codes" / "a.npz") as row:
        np.testing.assert_allclose(row["code"], 3 * np.array(told["average"]), rtol=1e-6)
    noted = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (noted["method"], noted["factor"]) == ("toy", 3.0)


@pytest.mark.parametrize("change", [
    ("@settings\nclass Toy:", "@vars\nclass Toy:"), ("@settings\n", ""), ("invert(", "inverted("),
    ('title = "Toy"', ""), ("needs = (", "needs = None, ("), ('"encoder"', '"coder"'),
    ('register("toy")', "register(5)"),
], ids=lambda change: change[1])  # fmt: skip
def test_what_is_no_method_is_refused(change):
    with pytest.raises(RegistryError, match="is no inversion method: it needs to be a class of se"):
        exec(TOY.replace(*change), {"__name__": "toys"})
    assert not {"toy", 5} & {*METHODS.entries}


def test_a_plugin_of_what_is_no_method_is_left_out_in_a_sentence(run, tmp_path):
    (tmp_path / "toys.py").write_text(TOY.replace("invert(", "inverted("))
    done = run("toys", "import idinvert; print(idinvert.load('own', 'cpu').available())")
    assert done.returncode == 0 and "'in-domain'" in done.stdout and "'toy'" not in done.stdout
    assert "The plug-in toys is left out: RegistryError: 'toy' is no inv" in done.stderr


def test_second_method_of_one_name_is_refused(run, tmp_path):
    (tmp_path / "toys.py").write_text(TOY)
    (tmp_path / "others.py").write_text(TOY)
    done = run("toys,others")
    assert "Two entries are named inversion method 'toy', in toys.Toy and in others.Toy" in \
        done.stderr


def test_methods_stand_in_the_order_of_their_modules():
    """Whichever was imported first: tables and figures follow it."""
    code = "import idinvert.inversion.methods.pivotal_tuning; print(*idinvert.inversion.METHODS)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["conventional", "domain-guided", "image2stylegan", "in-domain",
                                    "pivotal-tuning"]


@pytest.mark.parametrize("points, said", [
    (b"toy = my-toy", "The plug-in my-toy is left out: ModuleNotFoundError"),
    (b"toy = toys.py [extra", "The plug-in toys.py is left out: ModuleNotFoundError"),
    (b"toy = ", "The plug-in  is left out: ValueError"),
    (b"toy", "one package has damaged entry points: TypeError"),
    (b"toy = \xe9", "one package has damaged entry points: UnicodeDecodeError"),
])
def test_entry_points_that_name_no_module_are_left_out(points, said, tmp_path, monkeypatch):
    about = tmp_path / "toys-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1\n")
    (about / "entry_points.txt").write_bytes(b"[idinvert]\n" + points + b"\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match=said):
        import_plugins()
