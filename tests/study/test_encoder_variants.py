"""Tables 3, 4 and 6: which encoders are compared, and what the verdicts are of."""

import json
from types import SimpleNamespace

import pytest
import torch
from idinvert import models
from idinvert.codes import interpolate
from idinvert.metrics.bootstrap import Estimate
from idinvert.nn import stylegan
from idinvert.study import edits, encoding, logs
from idinvert.study.encoding import Encoded
from idinvert.study.scores import ImageSet
from idinvert.study.sections import averages, encoders, noise


@pytest.fixture
def spoilt(smooth_images):
    """Images of the same targets, spoilt by noise."""
    return lambda error=0.0, seed=0: smooth_images(noise=error, noise_seed=seed)


@pytest.fixture
def found(tmp_path, monkeypatch, spoilt):
    """Backbones of falling error, of which the base one was trained for longer."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path))
    made = {}
    for i, name in enumerate(("base", "resnet18", "resnet34", "resnet50", "mobilenet")):
        card = {"kimg": 150 if name == "base" else 40, "parameters": 10 * (i + 1)}
        (tmp_path / f"g-{name}.json").write_text(json.dumps(card))
        error = {"mobilenet": 0.9, "base": 0.01}.get(name, 0.5 / (i + 1))
        made[name] = Encoded(f"g-{name}", spoilt(error, i), spoilt(error, 10 + i))
    return made


def test_only_encoders_of_equally_long_training_are_compared(found, spoilt):
    assert encoders.equally_long(found) == ["resnet18", "resnet34", "resnet50", "mobilenet"]
    rows = encoders.quality_claims("face", found, spoilt())
    texts = [row["what"] for row in rows]
    assert texts == [
        f"face: {pair}, {metric}" for pair in
        ("ResNet-34 beats ResNet-18", "ResNet-50 beats ResNet-34", "ResNet-18 beats MobileNet")
        for metric in ("SSIM", "MSE")]
    assert {row["verdict"] for row in rows} == {"reproduced"}
    assert [row["claim"] for row in rows] == ["C11"] * 4 + ["C13"] * 2
    mse = next(row for row in rows if "ResNet-34 beats ResNet-18, MSE" in row["what"])
    assert mse["paper"] == "0.069 -> 0.066"
    targets = spoilt().images.clamp(-1, 1)
    errors = [(found[name].images.images.clamp(-1, 1) - targets).square().mean()
              for name in ("resnet18", "resnet34")]
    assert mse["ours"] == pytest.approx(float(errors[0] - errors[1]), rel=1e-3)


def test_a_base_encoder_of_equal_training_is_the_shallowest(found, spoilt):
    alike = Encoded("g-base-alike", spoilt(0.7, 8), spoilt())
    (models.folder() / "g-base-alike.json").write_text('{"kimg": 40}')
    assert "base-alike" not in encoders.of_generator("g")
    (models.folder() / "g-base-alike.safetensors").touch()
    assert encoders.of_generator("g") == list(encoders.BACKBONES)
    assert "base-alike" not in encoders.of_generator("other")
    rows = encoders.quality_claims("face", found | {"base-alike": alike}, spoilt())
    first, last = rows[0], rows[-1]
    assert "ResNet-18 beats base, trained alike" in first["what"] and first["paper"] != "nan -> nan"
    assert "base, trained alike beats MobileNet" in last["what"]


def test_table_has_a_row_for_each_encoder_and_what_was_spent(found, spoilt):
    times = {name: Estimate(i + 1, i + 0.5, i + 1.5) for i, name in enumerate(found)}
    table = encoding.encoder_table("face", found, spoilt(), spoilt(0, 7), times)
    table = table.set_index("encoder")
    assert list(table.index) == list(found)
    assert table.loc["base", "thousand_images"] == 150 and table.loc["resnet50", "seconds"] == 4
    assert table["mse"].idxmin() == "base" and table["between_kid"].idxmax() == "mobilenet"
    assert (table["mse_low"] <= table["mse"]).all() and (table["mse"] <= table["mse_high"]).all()


def test_slower_is_a_ratio_above_one():
    times = {"base": Estimate(2, 1.9, 2.1), "resnet18": Estimate(4, 3.8, 4.2),
             "mobilenet": Estimate(1, 0.9, 1.1)}
    deeper, mobile = encoders.time_claims("church", times)
    assert deeper["ours"] == 2 and deeper["low"] == pytest.approx(3.8 / 2.1)
    assert (deeper["claim"], deeper["verdict"]) == ("C12", "reproduced")
    assert (mobile["claim"], mobile["verdict"], mobile["ours"]) == ("C13", "contradicted", 0.5)


def test_what_is_not_trained_is_named(found, capsys):
    for name in ("resnet18", "resnet34"):
        (models.folder() / f"g-{name}.safetensors").touch()
    assert encoding.trained_variants("g", encoders.of_generator("g")) == ["resnet18", "resnet34"]
    assert "left out: g-base, g-resnet50, g-mobilenet" in capsys.readouterr().out
    with pytest.raises(models.ModelsError, match="too few encoders.*g-b1, g-b2"):
        encoding.trained_variants("g", ["b1", "b2"])


def test_halfway_is_the_mean_of_codes_and_of_maps():
    codes, maps = torch.randn(6, 4, 3), torch.randn(6, 1, 4, 4)
    other, _ = edits.partners(6)
    middle, (mean, stored) = encoding.middle(codes, [maps, None], other)
    torch.testing.assert_close(middle, (codes + codes[other]) / 2)
    torch.testing.assert_close(middle, interpolate(codes, codes[other], steps=1)[:, 0])
    torch.testing.assert_close(mean, (maps + maps[other]) / 2)
    assert stored is None and encoding.middle(codes, "fixed", other)[1] == "fixed"


def test_an_encoder_with_the_average_code_is_compared_by_eight_numbers(spoilt):
    found = {name: Encoded(name, spoilt(error, i), spoilt(error, 5 + i))
             for i, (name, error) in enumerate((("e4e", 0.3), ("base-no-average", 0.4),
                                                ("base", 0.05)))}
    rows = averages.average_claims("face", found, spoilt(), spoilt())
    assert [row["claim"] for row in rows] == ["C15"] * 8 + ["C17"] * 8
    verdicts = {row["what"]: row["verdict"] for row in rows}
    reverse = "face: with the average worse than e4e, interpolation, SWD"
    assert verdicts.pop(reverse) == "contradicted" and set(verdicts.values()) == {"reproduced"}
    paper = {row["what"]: row["paper"] for row in rows}
    assert paper["face: with the average better than without average, reconstruction, MSE"] == (
        "0.074 -> 0.036")
    assert paper[reverse] == "34.48 -> 36.71"


def test_codes_begin_around_the_average_or_around_zero(monkeypatch):
    """With Eq. (6) the code of an untrained encoder is that of the average image, more or less."""
    torch.manual_seed(0)
    generator = stylegan.Generator(16, z_dim=6, w_dim=5, channel_base=32, channel_max=8)
    torch.nn.init.normal_(generator.mapping.dense[-1].bias, std=300)
    card = {"settings": {"channel_base": 4, "channel_max": 4}, "architecture": "stylegan.Generator"}
    monkeypatch.setattr(averages.weights, "card", lambda name: card)
    m = SimpleNamespace(generator=generator, judge_features=lambda x: x.flatten(1))
    targets = torch.rand(12, 3, 16, 16)
    with_, without = averages.untrained_encoders(m, "own", targets)
    assert (with_.title, without.title) == ("own, with average", "own, without average")
    offset = with_.codes - without.codes
    torch.testing.assert_close(offset, offset[:1].expand_as(offset))
    sampled = generator.mapping(torch.randn(5_000, 6)).detach()
    torch.testing.assert_close(with_.codes.mean(0), sampled.mean(0), rtol=0.1, atol=0.1)
    table = averages.start_table("face", [with_, without], m, with_.images).set_index("start")
    near, far = table["code_distance"]
    assert near == pytest.approx(1, abs=0.05) and far > 2 * near


def test_what_leaving_out_the_average_costs_is_compared(monkeypatch, spoilt):
    """StyleGAN2 is farther away without it here, StyleGAN is not: both rows agree with C18."""
    monkeypatch.setattr(averages.weights, "card",
                        lambda name: {"architecture": f"{name}.Generator"})
    real = spoilt(0, 20)
    start = {error: averages.Start("", torch.zeros(40, 1, 1), spoilt(error, 1))
             for error in (0.05, 0.5)}
    found = {"stylegan": [start[0.05], start[0.05]], "stylegan2": [start[0.05], start[0.5]]}
    rows = averages.start_claims("face", found, real)
    assert [row["verdict"] for row in rows] == ["reproduced"] * 2
    assert rows[1]["ours"] == pytest.approx(rows[0]["ours"])  # StyleGAN loses nothing
    found["stylegan"] = found["stylegan2"]
    same = averages.start_claims("face", found, real)[1]
    assert same["ours"] == same["low"] == same["high"] == 0  # measured on the same images
    assert same["verdict"] == "not resolved"
    assert averages.start_claims("face", {"stylegan": found["stylegan"]}, real) == []


def test_each_block_of_maps_counts(spoilt):
    """The trends, and the factor in the MSE in closed form."""
    real, levels = ImageSet(spoilt().images / 4, spoilt().features), (0.4, 0.2, 0.1)
    found = {f"b{i}": Encoded(f"b{i}", ImageSet(real.images + error, real.features),
                              spoilt(0.3 - error / 2, i)) for i, error in enumerate(levels)}
    falls, rises, factor, worse = noise.noise_claims("face", found, real, spoilt(0, 9))
    assert falls["ours"] == 1 and falls["verdict"] == "reproduced"
    assert rises["verdict"] == "reproduced"
    assert factor["ours"] == pytest.approx(16, rel=1e-4) and factor["verdict"] == "contradicted"
    assert worse["verdict"] == "reproduced"


def test_curves_are_those_of_the_logs(tmp_path, monkeypatch):
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    (tmp_path / "logs").mkdir()
    lines = [{"kimg": 2.0, "pixel": 0.3}, {"kimg": 4.0, "pixel": 0.2},
             {"kimg": 4.0, "held_out_mse": 0.25}]
    for name in ("a", "b"):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "logs" / f"{name}.jsonl").write_text(text)
    training, held_out = logs.curves_together({"with": "a", "without": "b"}).axes
    assert [line.get_label() for line in training.lines] == ["with", "without"]
    assert training.lines[0].get_xydata().ravel().tolist() == pytest.approx([2, 0.3, 4, 0.2])
    assert held_out.lines[1].get_xydata().tolist() == [[4, 0.25]]
