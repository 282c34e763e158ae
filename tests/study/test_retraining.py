"""Section 6.2: what is compared with what, and comparisons of several trainings by their logs."""

import json

import pandas as pd
import pytest
from idinvert.metrics import bootstrap
from idinvert.study import logs
from idinvert.study.encoding import Encoded
from idinvert.study.sections import averages, encoders, noise, retraining


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Writes the log of a repetition: the loss of ten stretches and the figures at the end."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    (tmp_path / "logs").mkdir()

    def write(name, seed, losses, **figures):
        lines = [{"kimg": k + 1.0, "pixel": x, "feature": 2 * x} for k, x in enumerate(losses)]
        lines.append({"kimg": len(losses), **figures})
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "logs" / f"{name}-seed{seed}.jsonl").write_text(text)

    return write


def test_paper_numbers_go_by_our_names():
    found = retraining.comparisons("C20", "face", retraining.RETRAINED, retraining.GENERATORS, 5)
    assert len(found) == 12
    texts = {row[5]: row[6] for row in found}
    assert texts["face: StyleGAN2, layer-wise better than StyleGAN2, one code at reconstruction, "
                 "MSE"] == "0.049 -> 0.036"
    assert texts["face: StyleGAN, one code better than StyleGAN, layer-wise at interpolation, "
                 "SWD"] == "25.66 -> 25.38"
    only = retraining.comparisons("C22", "tower", retraining.SECOND,
                                  ["stylegan-layerwise", "stylegan2-layerwise"], 7)
    assert [row[6] for row in only][0] == "0.5 -> 0.504"  # SSIM
    assert not retraining.comparisons("C22", "tower", retraining.SECOND, ["stylegan2"], 7)


def test_reconstruction_is_of_targets_and_interpolation_of_others(smooth_images):
    """A layer-wise generator that reconstructs better and interpolates worse agrees in all rows."""
    real, others = smooth_images(), smooth_images(seed=5)

    def encoded(at_targets, at_others):
        return Encoded("any", smooth_images(noise=at_targets, noise_seed=1),
                       smooth_images(seed=5, noise=at_others, noise_seed=2))

    both = {"stylegan": encoded(0.3, 0.02), "stylegan-layerwise": encoded(0.02, 0.3)}
    found = retraining.comparisons("C20", "face", retraining.RETRAINED, both, 5)
    rows = retraining.image_claims(found, both, real, others)
    assert len(rows) == 6 and {row["verdict"] for row in rows} == {"reproduced"}
    turned = {"stylegan": both["stylegan-layerwise"], "stylegan-layerwise": both["stylegan"]}
    rows = retraining.image_claims(found, turned, real, others)
    assert {row["verdict"] for row in rows} == {"contradicted"}


def test_trainings_are_compared_pair_by_pair(keep):
    """Seeds differ by far more than the encoders of one seed do."""
    figures = {column: 0.0 for column in logs.LOGGED.values()}
    for seed, level in enumerate((1.0, 5.0, 9.0)):
        keep("one", seed, [level], **figures | {"held_out_mse": level, "held_out_ssim": level})
        keep("more", seed, [level], **figures | {"held_out_mse": level - 0.2 - seed / 100,
                                                 "held_out_ssim": level + 0.1 + seed / 100})
    repeated = logs.repeated({"stylegan": "one", "stylegan-layerwise": "more"})
    found = retraining.comparisons("C20", "face", retraining.RETRAINED, repeated, 5)
    rows = {row["what"]: row for row in retraining.seed_claims(found, repeated)}
    mse, ssim = (next(row for what, row in rows.items() if f", {metric}," in what)
                 for metric in ("MSE", "SSIM"))
    assert mse["ours"] == pytest.approx(0.21) and mse["verdict"] == "reproduced"
    assert ssim["ours"] == pytest.approx(0.11) and ssim["verdict"] == "reproduced"
    table = logs.spread_over_seeds(repeated, ["held_out_mse"]).set_index("encoder")
    assert table.loc["stylegan", "held_out_mse"] == 5 and table.loc["stylegan", "seeds"] == 3
    assert not logs.repeated({"a": "two"})


@pytest.fixture
def falling(keep):
    """Three trainings of each of the encoders, every one better than the one before: {name: name}.
    """
    def train(*names):
        for seed in range(3):
            for i, name in enumerate(names):
                worse = 10.0 - i + seed / 100 * (i + 1)
                figures = dict.fromkeys(logs.LOGGED.values(), worse) | {"held_out_ssim": -worse}
                keep(name, seed, [worse], **figures)
        return {name: name for name in names}

    return train


def test_backbones_are_compared_over_trainings_by_those_of_equal_start(falling):
    rows = encoders.seed_claims("face", falling("mobilenet", "base-alike", "resnet18"))
    assert [(row["claim"], row["what"]) for row in rows[1::2]] == [
        ("C11", "face: ResNet-18 beats base, trained alike, MSE, over trainings"),
        ("C13", "face: base, trained alike beats MobileNet, MSE, over trainings")]
    assert [row["verdict"] for row in rows] == ["reproduced"] * 4
    assert rows[1]["ours"] == pytest.approx(0.99) and rows[1]["paper"] == "0.071 -> 0.069"


def test_the_average_is_compared_over_trainings_by_what_logs_hold(falling):
    rows = averages.seed_claims("face", falling("e4e", "base-no-average", "base"))
    assert [row["claim"] for row in rows] == ["C15"] * 6 + ["C17"] * 6  # no FD
    exception = [row for row in rows if "worse than e4e, interpolation, SWD" in row["what"]]
    assert [row["verdict"] for row in exception] == ["contradicted"]
    assert {row["verdict"] for row in rows if row not in exception} == {"reproduced"}


def test_lower_throughout_asks_every_stretch(keep):
    for seed in range(3):
        keep("without", seed, [1.0 + seed / 50, 0.8, 0.6])
        keep("with", seed, [0.5, 0.4 + seed / 50, 0.61])  # lower, but not at the end
    repeated = {"base": "with", "base-no-average": "without"}
    rows = averages.loss_claims("face", repeated)
    verdicts = {row["what"].rpartition(" ")[2]: row["verdict"] for row in rows}
    assert len(rows) == 4 and {row["claim"] for row in rows} == {"C16"}
    assert verdicts == {"whole": "reproduced", "throughout": "contradicted"}
    gap = logs.mean_gap("pixel", "without", "with")
    assert gap.value == pytest.approx((0.52 + 0.38 - 0.01) / 3)
    assert gap == bootstrap.mean(logs.gaps("pixel", "without", "with").mean(1))
    assert not averages.loss_claims("face", {"base": "with"})


def test_loss_falls_with_each_block_of_maps(keep):
    for k in range(1, 4):
        for seed in range(3):
            keep(f"b{k}", seed, [2.0 / k + seed / 20, 1.0 / k + seed / 20])
    rows = noise.loss_claims("face", {f"b{k}": f"b{k}" for k in range(1, 4)})
    assert [row["what"].rpartition(" loss ")[2] for row in rows] == [
        "lower in B-2 than in B-1 on the whole", "lower in B-3 than in B-2 on the whole",
        "lower in B-3 than in B-1 throughout"]
    assert [row["ours"] for row in rows] == pytest.approx([0.75, 0.25, 2 / 3])
    assert {row["verdict"] for row in rows} == {"reproduced"}
    assert not noise.loss_claims("face", {"b1": "b1"})


def test_single_trainings_are_compared_by_the_stretches_of_their_logs(keep, tmp_path):
    for k in (1, 2):
        keep(f"b{k}", 0, [3.0 / k, 2.0 / k, 2.5 / k], held_out_mse=1.0)
        (tmp_path / "logs" / f"b{k}-seed0.jsonl").rename(tmp_path / "logs" / f"b{k}.jsonl")
    (row,) = noise.training_claims("face", {"b1": "b1", "b2": "b2"})
    assert (row["claim"], row["ours"], row["verdict"]) == ("C25", 1.25, "reproduced")
    assert row["low"] == pytest.approx(bootstrap.mean([1.5, 1.0, 1.25]).low)


def test_tradeoff_joins_the_generators_of_a_family():
    row = {f"{c}{end}": 1.0 for c in ("mse", "between_kid") for end in ("", "_low", "_high")}
    table = pd.DataFrame([{"kind": kind, **row} for kind in retraining.GENERATORS])
    (axis,) = retraining.tradeoff_figure(table).axes
    assert [text.get_text() for text in axis.texts] == list(retraining.GENERATORS.values())
    assert len(axis.containers) == 2  # one line of two points for each family
