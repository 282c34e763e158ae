"""The files that the page "Where things are" shows do what it says, each alone as a plug-in."""

import os
import re
import subprocess
import sys

import pytest
from idinvert.study.run import ROOT

PAGE = (ROOT / "book" / "where.md").read_text()
FILES = dict(zip(("method", "metric", "backbone", "importer"),
                 re.findall(r"```python\n(.*?)```", PAGE, re.S), strict=True))

USES = {
    "method": """
import torch
from idinvert.codes import render, sample_codes
from idinvert.inversion.model import Model
from idinvert.publish import explorer
from idinvert.study import begin, networks, scores
from idinvert.study.sections import reconstruction

run = begin("02_reconstruction", "smoke", "cpu", methods={"nearest-sample": {"samples": 5}})
model = networks.load(run.subject("face"), run.device, needs=())
faces = render(model.generator, sample_codes(model.generator, 8, seed=0))[3:7].clamp(-1, 1)

panel = explorer.Panel(model, faces)  # the explorer's list
assert ("Nearest sample", "nearest-sample") in panel.method.options
panel.method.value = "nearest-sample"
panel.run_inversion()
assert torch.allclose(panel.session.inverted().clamp(-1, 1), faces[:1], atol=1e-4)

assert "nearest-sample" in networks.methods(model, run.settings.methods)  # of the notebook
codes = networks.invert(model, faces, run.settings.methods, ("domain-guided", "nearest-sample"))
found, real = reconstruction.reconstruct(model, codes), scores.image_set(model, faces)
table = reconstruction.table1("face", found, real, real).set_index("method")
assert {"domain-guided", "nearest-sample"} <= set(table.index), table
assert table.loc["nearest-sample", "mse"] < 4, table

exact = Model("face-stylegan-layerwise", "cpu").invert(faces, "nearest-sample", samples=8)
assert torch.allclose(exact.images.clamp(-1, 1), faces, atol=1e-4)
""",
    "metric": """
import torch
from idinvert.study.scores import ImageSet, title
from idinvert.study.sections import reconstruction

images = torch.linspace(-0.5, 0.5, 12)[:, None, None, None].expand(-1, 3, 16, 16)
real = ImageSet(images, images.flatten(1)[:, ::8])
shifted = ImageSet(images + 0.25, real.features + 0.25)
row = reconstruction.table1("face", {"in-domain": shifted}, real, real).iloc[0]  # a notebook's
assert abs(row["mae"] - 0.25) < 1e-6 and row["mae_low"] <= row["mae_high"] and title("mae") == "MAE"
""",
    "backbone": """
import torch
from idinvert import models
from idinvert.nn.architecture import NETWORKS, build

encoder = NETWORKS["thumbnail.Thumbnail"](16, 8, channels=4).eval()
codes = encoder(torch.rand(2, 3, 16, 16) * 2 - 1)
assert codes.shape == (2, 6, 8) and (codes[0] != codes[1]).any()
again = build(encoder.architecture, encoder.settings)
again.load_state_dict(encoder.state_dict())
assert again.conv.conv.out_channels == 4
""",
    "importer": """
import sys
from pathlib import Path
import numpy as np
from idinvert import cli, models

path = Path(sys.argv[1]) / "x.tiny"
path.write_bytes(b"TINY" + np.arange(16, dtype="<f4").tobytes())
assert cli.main(["import", str(path), "mine"]) == 0
assert models.load("mine").w_avg.flatten().tolist() == list(range(16))
path.write_bytes(b"TINY" + bytes(8))
assert cli.main(["import", str(path), "other"]) == 1
""",
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_the_page_is_all_that_is_added(kind, tmp_path, vgg16, efficientnet):
    (tmp_path / "added.py").write_text(FILES[kind])
    environment = os.environ | {
        "IDINVERT_PLUGINS": "added",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    if kind == "importer":
        environment["IDINVERT_MODELS"] = str(tmp_path / "models")
    done = subprocess.run([sys.executable, "-c", USES[kind], str(tmp_path)], env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if kind == "importer":
        assert "holds 2 numbers, not 16" in done.stderr


def test_every_place_that_the_page_names_exists():
    paths = re.findall(r"`((?:lib|notebooks|results|book)/[\w./]+)`", PAGE)
    named = [path for path in paths if not re.search("NN_name|ROOM", path)]
    assert len(named) > 5 and not [path for path in named if not (ROOT / path).exists()]
