"""Profiles, verdicts and the measures of the trade-off notebook."""

import io
import json
from types import SimpleNamespace

import pandas as pd
import PIL.Image
import PIL.ImageChops
import PIL.ImageStat
import pytest
import torch
from idinvert.boundaries import Boundary
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import begin, claims, figures, methods, networks, run
from idinvert.study.sections import tradeoff


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match=r"'embeded'.*'embedded'"):
        begin("06_tradeoff", "embeded")


def test_overrides_replace_settings_unless_none():
    settings = begin("06_tradeoff", "smoke", "cpu", num_images=7, iterations=None)
    assert settings.num_images == 7
    assert settings.iterations == 3
    with pytest.raises(AttributeError, match="no setting 'colour'"):
        _ = settings.colour


def test_only_the_reference_profile_writes_into_results():
    assert begin("06_tradeoff", "reference", "cpu").folder == run.ROOT / "results"
    assert begin("06_tradeoff", "smoke", "cpu").folder == run.ROOT / "build" / "smoke"


def test_run_keeps_tables_figures_and_resolved_settings(tmp_path):
    settings = run.Run("n", "smoke", "cpu", 1, {"a": 2}, tmp_path)
    frame = pd.DataFrame({"x": [0.5]})
    settings.table("t", frame)
    settings.figure("f", figures.image_grid([torch.zeros(2, 3, 4, 4)], ["row"], ["one", "two"]))
    settings.finish()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables" / "t.csv"), frame)
    assert (tmp_path / "figures" / "f.jpg").stat().st_size > 500
    kept = json.loads((tmp_path / "settings" / "n.json").read_text())
    assert (kept["settings"], kept["seed"], kept["torch"]) == ({"a": 2}, 1, torch.__version__)
    assert kept["judge"] == "EfficientNet-Lite0"


def test_photographs_are_shown_as_jpeg_and_curves_with_a_palette():
    grid = figures.image_grid([torch.linspace(-1, 1, 96).reshape(1, 3, 4, 8)])
    picture = PIL.Image.open(io.BytesIO(figures.shown(grid).data))
    assert picture.format == "JPEG" and min(picture.size) > 20
    curve, axes = figures.axes_grid(1)
    axes[0].plot([0, 1, 0], color=figures.ORANGE)
    for figure in (curve, figures.heatmap(pd.DataFrame([[1.0, 0.2], [0.2, 1.0]]))):
        whole = io.BytesIO()
        figure.savefig(whole, format="png", dpi=figure.dpi, bbox_inches="tight")
        expected = PIL.Image.open(whole).convert("RGB")
        drawn = PIL.Image.open(io.BytesIO(figures.shown(figure).data))
        assert (drawn.format, drawn.mode) == ("PNG", "P")
        difference = PIL.ImageChops.difference(drawn.convert("RGB"), expected)
        assert max(PIL.ImageStat.Stat(difference).mean) < 0.5  # of 255


@pytest.mark.parametrize("estimate, expected", [
    (Estimate(1, 0.2, 2), "reproduced"),
    (Estimate(1, -0.2, 2), "not resolved"),
    (Estimate(-1, -2, -0.1), "contradicted"),
])  # fmt: skip
def test_verdict(estimate, expected):
    assert claims.verdict(estimate) == expected
    assert claims.row("C1", "a", "b", estimate)["verdict"] == expected


def outcomes(errors):
    """Outcomes whose MSE against zero targets is the square of `errors`, one per lambda."""
    blank = torch.zeros(6, 3, 4, 4)
    return [tradeoff.Outcome(float(i), torch.zeros(6, 2, 3), blank + e, blank)
            for i, e in enumerate(errors)]


def test_mse_trend_is_the_rank_correlation_with_lambda():
    targets = torch.zeros(6, 3, 4, 4)
    assert tradeoff.mse_trend(targets, outcomes([0.1, 0.2, 0.3])).value == pytest.approx(1)
    assert tradeoff.mse_trend(targets, outcomes([0.3, 0.2, 0.1])).high == pytest.approx(-1)
    assert tradeoff.mse_trend(targets, outcomes([0.1, 0.3, 0.2])).value == pytest.approx(0.5)


def test_codes_depend_on_the_users_vgg_but_not_on_the_judge(monkeypatch):
    untrained = iter(torch.nn.Linear(2, 1) for _ in range(100))
    for name in ("load_vgg16", "load_judge"):
        monkeypatch.setattr(networks.pretrained, name, lambda device: next(untrained))
    monkeypatch.setattr(networks.models, "load", lambda name, device: next(untrained))
    monkeypatch.setattr(networks.models, "load_boundaries", lambda name: {})
    card = {"attributes": [], "sha256": "0"}
    monkeypatch.setattr(networks.models, "card", lambda name: card)
    monkeypatch.setattr(networks.zoo, "trained", lambda name: True)
    subject = SimpleNamespace(prepare=lambda: None, generator="g", classifier="c")

    def fingerprint():
        return methods.fingerprint(networks.load(subject, "cpu"), "in_domain", 1)

    plain = fingerprint()
    monkeypatch.setenv("IDINVERT_INCEPTION", "file")
    assert fingerprint() == plain
    monkeypatch.setenv("IDINVERT_VGG16", "file")
    assert len({plain, fingerprint(), fingerprint()}) == 3  # two other files


@pytest.mark.parametrize("method, parts", [
    ("conventional", {"conventional"}), ("domain_guided", {"encoder"}),
    ("image2stylegan", {"generator", "vgg"}), ("in_domain", {"generator", "encoder", "vgg"}),
])  # fmt: skip
def test_codes_depend_on_the_networks_that_make_them_alone(method, parts):
    names = ("generator", "encoder", "conventional", "classifier", "vgg")

    def fingerprint(**changed):
        hashes = dict.fromkeys(names, "0") | changed
        return methods.fingerprint(SimpleNamespace(hashes=hashes), method, 1)

    assert {name for name in names if fingerprint(**{name: "1"}) != fingerprint()} == parts


class Shift(networks.Models):
    """Models whose images are the codes and whose attribute is a positive mean."""

    def __init__(self):
        bright = Boundary("bright", torch.tensor([[1.0, 0, 0, 0]]), 0.0, (0,))
        super().__init__(None, None, {"bright": bright}, None, None, ["bright"], None)

    def probabilities(self, images):
        return (images[:, 0, :1] - 3).sigmoid()


def test_calibration_finds_the_smallest_step_that_suffices(monkeypatch):
    monkeypatch.setattr(tradeoff, "render", lambda generator, codes: codes)
    codes = torch.zeros(10, 1, 4)
    codes[:, 0, 0] = torch.linspace(0, 2.7, 10)  # steps of 3 to 0.3 are needed
    assert tradeoff.calibrate(Shift(), "bright", codes, rate=0.9) == 2.75
    assert tradeoff.calibrate(Shift(), "bright", codes) == 2.0
    with pytest.raises(ValueError, match="No step up to 1"):
        tradeoff.calibrate(Shift(), "bright", codes, largest=1.0)
    with pytest.raises(ValueError, match="All 10 samples show bright already"):
        tradeoff.calibrate(Shift(), "bright", codes + 4)
    with pytest.raises(ValueError, match="'dark': expected one of bright"):
        tradeoff.calibrate(Shift(), "dark", codes)
