"""A metric is one file: found from a plug-in, it is a column and a title, and no verdict."""

import importlib
import os
import subprocess
import sys

import pytest
from idinvert.metrics import METRICS, metric
from idinvert.settings import SettingsError

PLUGIN = '''
"""Mean absolute error."""
from idinvert.metrics import metric


@metric("mae", title="MAE", kind="pair")
def mean_absolute_error(a, b):
    return (a - b).abs().mean((1, 2, 3))


@metric("gap", title="Gap", kind="set", better="lower")
def gap_of_means(a, b):
    return float((a.mean() - b.mean()).abs())
'''

USE = '''
import torch
from idinvert.study import claims, scores
from idinvert.study.scores import ImageSet
from idinvert.study.sections import reconstruction

images = torch.linspace(-0.5, 0.5, 12)[:, None, None, None].expand(-1, 3, 16, 16)
real = ImageSet(images, images.flatten(1)[:, ::8])
found = {name: ImageSet(images + shift, real.features + shift)
         for name, shift in (("image2stylegan", 0.125), ("in-domain", 0.25))}
table = reconstruction.table1("face", found, real, real).set_index("method")
assert abs(table.loc["in-domain", "mae"] - 0.25) < 1e-6, table
assert table.loc["in-domain", "mae_low"] <= table.loc["in-domain", "mae_high"]
assert abs(table.loc["image2stylegan", "gap"] - 0.125) < 1e-6, table
assert (scores.title("mae"), scores.title("gap")) == ("MAE", "Gap")
rows = reconstruction.reconstruction_claims("face", found, real, claims.paper_table(1))
assert len(rows) == 3 and not any("MAE" in row["what"] or "Gap" in row["what"] for row in rows)
'''


def test_a_metric_of_a_plugin_is_a_column_and_no_verdict(tmp_path):
    (tmp_path / "toy_metric.py").write_text(PLUGIN)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    environment = os.environ | {"IDINVERT_PLUGINS": "toy_metric", "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", USE], env=environment, check=True)


def test_without_the_plugin_there_is_no_such_metric():
    assert importlib.util.find_spec("toy_metric") is None
    assert sorted(METRICS) == ["fd", "kid", "mse", "ssim", "swd"]


@pytest.mark.parametrize("facts", [
    {"kind": "pairs"}, {"better": "less"}, {"of": "feature"}, {"resamples": 0}, {"title": None},
    {"prepare": "centred"}, {"unit": "%"}], ids=str)  # fmt: skip
def test_facts_that_would_be_taken_for_others_are_refused(facts):
    """Whatever was not "lower" counted as "higher", and a table praised the worse value."""
    with pytest.raises(SettingsError, match=f"Metric: .*{min(facts)}"):
        metric("odd", **{"title": "Odd", "kind": "set"} | facts)(max)
    assert "odd" not in METRICS.entries
