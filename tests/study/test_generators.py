"""The registry as tables and curves, and samples of a generator."""

import json

import pandas as pd
import pytest
import torch
from idinvert import models, study
from idinvert.metrics.precision_recall import precision_recall
from idinvert.nn import stylegan
from idinvert.study import figures, logs, scores
from idinvert.study.scores import ImageSet
from idinvert.study.sections import generators
from idinvert.study.subjects import Subject
from idinvert.training import zoo

SETTINGS = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry of one generator, its discriminator and a log."""
    folder = tmp_path / "results" / "weights"
    monkeypatch.setenv("IDINVERT_MODELS", str(folder))
    torch.manual_seed(0)
    facts = {"domain": "face", "kimg": 12.0, "seconds": 90.0, "hardware": "a machine",
             "evaluation": {"kid_x1e3": 12.3}}
    generator = stylegan.Generator(**SETTINGS)
    generator.w_avg.fill_(0.5)
    models.save("one", generator, kind="gan", **facts)
    models.save("one-d", generator, kind="discriminator", **facts)
    lines = [{"step": 1, "kimg": 4.0, "d_loss": 1.0}, {"step": 2, "kimg": 8.0, "kid_x1e3": 9.0},
             {"step": 3, "kimg": 12.0, "d_loss": 0.5}]
    logs = folder.with_name("logs")
    logs.mkdir()
    (logs / "one.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return generator


def test_budgets_list_models_but_not_discriminators(registry):
    table = generators.budgets()
    assert list(table["model"]) == ["one"]
    row = table.iloc[0]
    assert (row["kind"], row["thousand images"], row["minutes"]) == ("generator", 12.0, 1.5)
    assert row["reached"] == "KID x 1e3 12.3"
    assert row["million parameters"] == pytest.approx(
        sum(p.numel() for p in registry.parameters()) / 1e6)


def test_missing_models_come_with_their_command(registry):
    entries = zoo.entries()
    table = generators.missing({"one": entries["face-classifier"],
                                "two": entries["face-stylegan-boundaries"]})
    assert list(table["model"]) == ["two"]
    assert table["command"][0] == "idinvert train two"
    nothing = generators.missing({"one": entries["face-classifier"]})
    assert list(nothing) == ["model", "kind", "command"]


def test_trainings_compare_a_generator_with_the_one_it_goes_on_from(registry):
    facts = {"kimg": 36.0, "seconds": 1800.0, "hardware": "a machine",
             "evaluation": {"kid_x1e3": 8.3}}
    for name, domain in (("two", "face"), ("three", "tower")):
        models.save(name, registry, kind="gan", domain=domain, **facts)
    gan = {"kind": "gan", "architecture": "stylegan.Generator", "settings": SETTINGS, "kimg": 1}
    entries = zoo.parse({
        "one": gan | {"domain": "face"}, "two": gan | {"domain": "face", "parent": "one"},
        "three": gan | {"domain": "tower", "parent": "one"}, "four": gan | {"domain": "face"}})
    table = generators.trainings(entries).set_index("generator")
    assert list(table.index) == ["one", "two", "three"]  # the fourth is not trained
    two = table.loc["two"]
    assert (two["images a second"], two["KID before"], two["KID after"]) == (20, 12.3, 8.3)
    assert two["KID lowered an hour"] == pytest.approx(8)
    assert two["command"] == "idinvert train two --kimg 76"
    assert table.loc[["one", "three"], "KID before"].isna().all()  # KID of faces says nothing


def test_curve_skips_the_lines_without_its_figure(registry):
    took_no_step = ("one-d", "d_loss")
    figure = logs.curves_of_models([took_no_step, ("one", "d_loss")])
    (axis,) = [axis for axis in figure.axes if axis.lines]
    x, y = axis.lines[0].get_data()
    assert (list(x), list(y)) == ([4, 12], [1, 0.5])
    assert axis.get_title() == "one"


def test_truncation_goes_from_the_sample_to_the_average_image(registry):
    loaded = models.load("one")
    whole, half, none = generators.truncated(loaded, (1.0, 0.5, 0.0), count=3)
    torch.testing.assert_close(whole, generators.samples(loaded, 3))
    average = loaded.synthesis(loaded.w_avg.expand(3, -1, -1))
    torch.testing.assert_close(none, average)
    assert (half - none).abs().mean() < (whole - none).abs().mean()


def test_trained_generators_are_those_of_kind_gan(registry):
    run = study.begin("01_generators", "smoke", "cpu")
    assert {n: s.domain for n, s in generators.generators_of(run).items()} == {"one": "face"}


def test_heatmap_writes_every_value():
    table = pd.DataFrame([[1.0, -0.25], [-0.25, 1.0]], ["a", "b"], ["a", "b"])
    (axis,) = figures.heatmap(table).axes
    assert [t.get_text() for t in axis.texts] == ["1.00", "-0.25", "-0.25", "1.00"]


def test_curves_draw_values_intervals_and_floors():
    table = pd.DataFrame({"lambda": [0, 5], "mse": [1.0, 2.0], "mse_low": [0.5, 1.5],
                          "mse_high": [1.5, 2.5]})
    (axis,) = [a for a in figures.curves(table, "x", [("mse", "Title", "MSE")], {"mse": 0.1}).axes
               if a.axison]
    assert list(axis.lines[0].get_ydata()) == [1.0, 2.0]
    assert list(axis.lines[1].get_ydata()) == [0.1, 0.1]
    band = axis.collections[-1].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == (0.5, 2.5)
    assert [t.get_text() for t in axis.get_xticklabels()] == ["0", "5"]


class Photos(Subject):
    """A subject of 40 test images that counts how often they are read."""

    read = []

    def photos(self, size, start=None, stop=None):
        self.read.append((self.domain, stop))
        rng = torch.Generator().manual_seed(len(self.domain))
        return torch.rand(40, 3, size, size, generator=rng)[start:stop] * 2 - 1


def test_quality_reads_twice_as_many_test_images_as_samples_once_a_domain(registry, monkeypatch):
    torch.manual_seed(1)
    models.save("another", stylegan.Generator(**SETTINGS | {"resolution": 16}), kind="gan")
    models.save("more", stylegan.Generator(**SETTINGS | {"resolution": 16}), kind="gan")
    monkeypatch.setattr(generators.pretrained, "load_judge", lambda _: torch.nn.Flatten())
    monkeypatch.setattr(generators.scores, "set_metrics", lambda: ["fd", "kid"])
    monkeypatch.setattr(Photos, "read", [])
    face, tower = (Photos("one", "no classifier", domain=name) for name in ("face", "tower"))
    table = generators.quality({"more": tower, "one": face, "another": tower}, count=12)
    assert table[["domain", "generator", "images"]].to_numpy().tolist() == [
        ["face", "one", 12], ["face", "real images", 12],
        ["tower", "more", 12], ["tower", "real images", 12], ["tower", "another", 12]]
    assert Photos.read == [("face", 24), ("tower", 24)]
    made = generators.samples(models.load("more"), 12, seed=1)
    real = tower.photos(16)
    expected = scores.score("kid", ImageSet(made, made.clamp(-1, 1).flatten(1)),
                            ImageSet(real[:12], real[:12].flatten(1)), paired=False)
    assert tuple(table.loc[2, ["kid", "kid_low", "kid_high"]]) == expected[:3]
    floor = scores.floor("fd", ImageSet(real[:24], real[:24].flatten(1)), 12)
    assert table.loc[3, "fd"] == floor > 0
    halves = (part.flatten(1) for part in (real[12:24], real[:12]))
    assert tuple(table.loc[3, ["precision", "recall"]]) == precision_recall(*halves)


def test_generators_beyond_the_bound_are_named_not_convincing():
    table = pd.DataFrame({"generator": ["good", "bad", "real images"], "kid": [120.0, 450.0, 0.0]})
    assert list(generators.judged(table)["samples"]) == ["convincing", "not convincing yet", ""]
