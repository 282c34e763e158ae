"""Profiles, verdicts and the measures of the trade-off notebook."""

import io

import nbformat
import pandas as pd
import PIL.Image
import PIL.ImageChops
import PIL.ImageStat
import pytest
import torch
from idinvert.boundaries import Boundary
from idinvert.settings import SettingsError
from idinvert.study import begin, edits, execution, figures, networks, run
from idinvert.study.sections import tradeoff


def test_unknown_profile_names_the_nearest():
    with pytest.raises(ValueError, match=r"'embeded'.*'embedded'"):
        begin("06_tradeoff", "embeded")


def test_overrides_replace_settings_unless_none():
    settings = begin("06_tradeoff", "smoke", "cpu", num_images=7, iterations=None).settings
    assert (settings.num_images, settings.iterations) == (7, 3)


@pytest.mark.parametrize("notebook, overrides, message", [
    ("06_tradeof", {}, "Unknown notebook '06_tradeof': did you mean '06_tradeoff'"),
    ("06_tradeoff", {"num_image": 3}, "06_tradeoff: unknown setting 'num_image': did you mean "
                                      "'num_images'"),
    ("06_tradeoff", {"num_images": 3}, "num_images is 3, but should be greater than or equal to 4"),
    ("explore", {"num_images": 0}, "num_images is 0, but should be greater than or equal to 1"),
    ("06_tradeoff", {"lambdas": [2]}, r"lambdas is \[2\], but list should have at least 2 items"),
    ("06_tradeoff", {"lambdas": [0, -1]}, "lambdas.1 is -1, but should be greater than or equal"),
    ("04_editing", {"num_images": 7}, "num_images is 7, but should be greater than or equal to 8"),
    ("08_noise", {"num_images": "many"}, "num_images is 'many', but should be a valid integer"),
])  # fmt: skip
def test_what_a_notebook_cannot_take_is_one_sentence(notebook, overrides, message):
    with pytest.raises(ValueError, match=message) as error:
        begin(notebook, "smoke", "cpu", **overrides)
    assert "\n" not in str(error.value)


def test_no_run_writes_into_results_by_itself(tmp_path, monkeypatch):
    assert begin("06_tradeoff", "reference", "cpu").folder == run.ROOT / "build" / "reference"
    monkeypatch.setenv("IDINVERT_BUILD", str(tmp_path))
    assert begin("06_tradeoff", "smoke", "cpu").folder == tmp_path / "smoke"


def test_run_keeps_tables_figures_and_what_it_was_made_from(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_BUILD", str(tmp_path))
    made = begin("08_noise", "smoke", "cpu", seed=1, num_images=4)
    folder = tmp_path / "smoke"
    frame = pd.DataFrame({"x": [0.5]})
    made.table("t", frame)
    grid = figures.image_grid([torch.zeros(2, 3, 4, 4)], ["row"], ["one", "two"])
    assert made.figure("f", grid).metadata == {"kind": "figure", "name": "f"}
    made.finish()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "tables" / "t.csv"), frame)
    assert (folder / "figures" / "f.jpg").stat().st_size > 500
    note = run.read_note(folder, "08_noise")
    assert (note["settings"], note["seed"]) == ({"num_images": 4}, 1)
    # a package names no build (2.15.0), or does so where its module does (2.15.0+cu132)
    assert note["torch"] in (torch.__version__, torch.__version__.partition("+")[0])
    assert note["judge"] == "EfficientNet-Lite0" and note["files"] == ["tables/t.csv",
                                                                       "figures/f.jpg"]
    assert {"notebook", "idinvert.losses", "idinvert.study.scores"} <= set(note["code"])
    assert not [name for name in note["code"] if name.startswith("idinvert.training")]


def test_tables_of_the_reference_run_appear_with_their_notebook(tmp_path, monkeypatch):
    results = tmp_path / "results"
    monkeypatch.setattr(execution, "RESULTS", results)
    monkeypatch.setenv("IDINVERT_BUILD", str(tmp_path / "build"))

    def run_once(table, failing=False):
        def execute(source, target, parameters, **options):
            made = begin("08_noise", parameters["profile"], "cpu")
            made.table(table, pd.DataFrame({"x": [0.5]}))
            if failing:
                raise OSError
            places = {"input_path": source, "output_path": target}
            cells = [nbformat.v4.new_markdown_cell(table)]
            made_one = nbformat.v4.new_notebook(metadata={"papermill": places}, cells=cells)
            nbformat.write(made_one, target)
            made.finish()
        monkeypatch.setattr(execution.papermill, "execute_notebook", execute)
        return execution.execute("08_noise", "reference")

    def tables():
        return [path.stem for path in (results / "tables").glob("*")]

    def text():
        return nbformat.read(results / "notebooks" / "08_noise.ipynb", 4).cells[0].source

    with pytest.raises(OSError):
        run_once("first", failing=True)
    assert not results.exists()
    executed = run_once("first")
    assert (executed, text()) == (results / "notebooks" / "08_noise.ipynb", "first")
    noted = nbformat.read(executed, 4).metadata.papermill
    assert noted.input_path == "notebooks/08_noise.ipynb"  # not a place of this machine
    assert tables() == ["first"] and run.read_note(results, "08_noise")
    with pytest.raises(OSError):
        run_once("second", failing=True)
    assert tables() == ["first"] and text() == "first"
    run_once("second")
    assert tables() == ["second"] and text() == "second"


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


class Steps(networks.StudyModel):
    """A model whose only attribute is sure where the first number of a code exceeds 3."""

    def __init__(self):
        self.generator, self.attributes = torch.nn.Module(), ["bright"]
        self.generator.synthesis = lambda codes: codes
        bright = Boundary("bright", torch.tensor([[1.0, 0, 0, 0]]), 0.0, (0,))
        self.boundaries = {"bright": bright}

    def probabilities(self, images):
        return (images[:, 0, :1] - 3).sigmoid()


def test_calibration_finds_the_smallest_step_that_suffices():
    codes = torch.zeros(10, 1, 4)
    codes[:, 0, 0] = torch.linspace(0, 2.7, 10)  # steps of 3 to 0.3 are needed
    assert edits.calibrate(Steps(), "bright", codes, rate=0.9) == 2.75
    assert edits.calibrate(Steps(), "bright", codes) == 2.0
    with pytest.raises(edits.CalibrationError, match="No step up to 1"):
        edits.calibrate(Steps(), "bright", codes, largest=1.0)
    with pytest.raises(edits.CalibrationError, match="All 10 samples show bright already"):
        edits.calibrate(Steps(), "bright", codes + 4)
    with pytest.raises(ValueError, match="'dark': expected one of bright"):
        edits.calibrate(Steps(), "dark", codes)


def test_an_attribute_that_the_classifier_does_not_know_stops_no_other(capsys):
    assert list(edits.step_sizes(Steps(), ["dark", "bright"], torch.zeros(4, 1, 4))) == ["bright"]
    assert "dark is left out: Unknown attribute 'dark'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["progress", "notebook"])
def test_parameters_are_those_of_the_notebook_alone(name):
    with pytest.raises(SettingsError, match=f"06_tradeoff has no parameter '{name}'"):
        execution.execute("06_tradeoff", "smoke", **{name: False})
