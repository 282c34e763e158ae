"""A profile as the paper's, with small random networks in the published files' format."""

import jupytext
import numpy as np
import papermill
import pytest
import torch
import yaml
from idinvert import data
from idinvert.study.profiles import PROFILES, ROOT
from test_genforce import state

NAMES = ("pose", "age")


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Files as the profile "paper" wants them, of 128 px networks; the path of the profile."""
    monkeypatch.setenv("IDINVERT_PAPER", str(tmp_path))
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    torch.manual_seed(0)
    for part, prefix in (("generator_layerwise", "G."), ("encoder", "E.")):
        torch.save(state(part, prefix), tmp_path / f"{part}.pth")
    for name in NAMES:
        normal = torch.nn.functional.normalize(torch.randn(1, 12, 32), dim=2).numpy()
        np.save(tmp_path / f"{name}.npy", {"boundary": normal,
                                           "meta_data": {"manipulate_layers": [0, 1]}})
    for i in range(16):
        data.write_image(tmp_path / "photos" / f"{i}.png", torch.rand(3, 100, 140) * 2 - 1)
    rows = [f"{i},{i % 2},{i // 2 % 2}" for i in range(16)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,age,pose", *rows]))
    described = yaml.safe_load((PROFILES / "paper.yml").read_text())
    files = ["generator_layerwise.pth", "encoder.pth", *(f"{name}.npy" for name in NAMES)]
    described["subjects"] = {"face": described["subjects"]["face"] | {
        "files": [f"$IDINVERT_PAPER/{file}" for file in files], "split": "all",
        "images": "$IDINVERT_PAPER/photos", "labels": "$IDINVERT_PAPER/labels.csv"}}
    once = {"image2stylegan": {"iterations": 1}, "in-domain": {"iterations": 1}}
    described = {key: value | {"num_images": 8, "methods": once} if "methods" in value else value
                 for key, value in described.items()}
    described["02_reconstruction"] |= {"long_iterations": [1, 2], "num_long": 2}
    path = tmp_path / f"rehearsal-{tmp_path.name}.yml"
    path.write_text(yaml.safe_dump(described))
    return path


@pytest.mark.parametrize("name, table", [("02_reconstruction", "table1"),
                                         ("03_attributes", "fig03")])
def test_notebooks_run_on_published_files_and_own_images(profile, name, table, vgg16, efficientnet):
    papermill.execute_notebook(
        ROOT / "notebooks" / f"{name}.ipynb", profile.parent / "out.ipynb",
        {"profile": str(profile), "domains": None}, kernel_name="python3", progress_bar=False)
    executed = jupytext.read(profile.parent / "out.ipynb")
    assert not [o for c in executed.cells for o in c.get("outputs", []) if o.output_type == "error"]
    results = ROOT / "build" / profile.stem
    rows = (results / "tables" / f"{table}.csv").read_text().splitlines()
    assert len(rows) > 3 and not any("conventional" in row for row in rows)
    assert all(row.startswith("face,") for row in rows[1:])
