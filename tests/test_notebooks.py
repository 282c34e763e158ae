"""The notebooks: both forms in step, and each runs with papermill in the smoke profile."""

from pathlib import Path

import jupytext
import papermill
import pytest
from idinvert import models
from idinvert.study.profiles import PROFILES, ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_both_forms_hold_the_same_cells(script):
    pair = [jupytext.read(path) for path in (script, script.with_suffix(".ipynb"))]
    cells = [[(c.cell_type, c.source, c.metadata.get("tags", [])) for c in n.cells] for n in pair]
    assert cells[0] == cells[1], f"jupytext --sync {script.name} brings them in step"


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_one_cell_of_parameters(script):
    tagged = [c for c in jupytext.read(script).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert 'profile = "embedded"' in tagged[0].source


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_in_the_smoke_profile(script, tmp_path, monkeypatch, vgg16, efficientnet,
                                             ffhq):
    monkeypatch.setenv("IDINVERT_BUILD", str(tmp_path / "build"))  # what earlier runs left is not
    papermill.execute_notebook(
        script.with_suffix(".ipynb"), tmp_path / "out.ipynb",
        {"profile": "smoke"}, kernel_name="python3", progress_bar=False, cwd=tmp_path)
    folder = tmp_path / "build" / "smoke"
    assert (folder / "settings" / f"{script.stem}.json").exists()
    executed = jupytext.read(tmp_path / "out.ipynb")
    assert not [o for c in executed.cells for o in c.get("outputs", []) if o.output_type == "error"]


def test_every_profile_knows_every_notebook():
    import yaml

    for profile in ("smoke", "embedded", "reference", "paper"):
        known = yaml.safe_load((PROFILES / f"{profile}.yml").read_text())
        assert {path.stem for path in NOTEBOOKS} <= set(known)


def test_shipped_models_are_complete():
    """What the trade-off needs is in the checkout, and every card fits its file."""
    for name in ("face-stylegan-layerwise", "face-stylegan-layerwise-base", "face-stylegan",
                 "face-stylegan-base", "face-classifier"):
        models.load(name)
    for generator in ("face-stylegan-layerwise", "face-stylegan"):
        names = set(models.load_boundaries(generator))
        assert names == {"gender", "age", "eyeglasses", "pose", "smile"}
    size = sum(path.stat().st_size for path in Path(models.folder()).iterdir())
    assert size < 30e6
