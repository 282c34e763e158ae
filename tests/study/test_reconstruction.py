"""Kept inversions, Table 1 and its verdicts."""

import math
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from idinvert.metrics.bootstrap import Estimate
from idinvert.settings import settings
from idinvert.study import claims, scores, timing
from idinvert.study.scores import ImageSet
from idinvert.study.sections import reconstruction


def reconstructions(count=24):
    """Four methods that spoil the same targets more and more, and the targets."""
    rng = torch.Generator().manual_seed(0)
    images = torch.nn.functional.interpolate(
        torch.randn(count, 3, 4, 4, generator=rng) / 3, scale_factor=4, mode="bilinear")
    spoilt = {
        name: images + noise * (torch.randn(images.shape, generator=rng) + 1)
        for name, noise in (("image2stylegan", 0.02), ("in-domain", 0.1), ("domain-guided", 0.2),
                            ("conventional", 0.5))
    }
    return ({name: ImageSet(x, x.flatten(1)[:, ::8]) for name, x in spoilt.items()},
            ImageSet(images, images.flatten(1)[:, ::8]))


def test_table_has_a_row_per_method_and_the_floor():
    found, real = reconstructions()
    table = reconstruction.table1("face", found, real, found["conventional"])
    assert list(table["method"]) == [*found, "other_real"]
    overlapping = scores.concatenated([real[:3], found["conventional"][3:]])
    again = reconstruction.table1("face", found, real, overlapping)
    assert again["images"].iloc[-1] == len(real) - 3
    assert list(reconstruction.table1("face", found, real, real)["method"]) == list(found)
    assert table["mse"][:4].is_monotonic_increasing
    assert table["ssim"][:4].is_monotonic_decreasing
    assert table["mse"][4:].isna().all()
    assert (table["kid_low"] <= table["kid"]).all()


def test_verdicts_follow_the_quality_of_the_methods():
    found, real = reconstructions()
    rows = reconstruction.reconstruction_claims("face", found, real, claims.paper_table(1))
    table = claims.frame(rows)
    pixels = table[table["what"].str.contains("MSE|SSIM")]
    assert (pixels["verdict"] == "reproduced").all()
    against = table[(table["claim"] == "C4") & table["what"].str.contains("KID|SWD")]
    assert (against["ours"] < 0).all()  # here Image2StyleGAN is the nearer one
    assert table.iloc[0]["paper"] == "FID 50.11 -> 16.43"


def test_paper_numbers_are_found_by_our_names():
    table = claims.paper_table(1)
    assert claims.paper_value(table, "tower", "in-domain", "mse") == 0.087
    assert claims.paper_value(table, "bedroom", "conventional", "fd") == 61.6
    assert math.isnan(claims.paper_value(table, "face", "in-domain", "kid"))  # not in the paper
    gain = claims.paper_gain(table, "face", "in-domain", "image2stylegan", "swd")
    assert gain == "27.31 -> 14.92"
    assert claims.paper_gain(table, "mine", "in-domain", "image2stylegan", "swd") == ""
    swaps = claims.paper_table(2)
    assert claims.paper_value(swaps, "face", "in-domain", "fd", "manipulation") == 17.36


@pytest.mark.parametrize("advice, row", [
    ({}, ["face", "mean", 7, 4, 1.0, 1.0, 1.0, 0.25]),
    ({"batch": 2}, ["face", "mean", 7, 2, 1.0, 1.0, 1.0, 0.5])])
def test_seconds_count_every_image_of_a_batch_that_the_model_takes(monkeypatch, advice, row):
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))

    @settings
    class Still:
        iterations: int = 2

        def invert(self, networks, images):
            return images

    model = SimpleNamespace(available=lambda: ["mean"], advice=advice)
    table = reconstruction.method_seconds("face", model, torch.zeros(4, 3, 2, 2),
                                          {"mean": Still(iterations=7)})
    assert list(table.iloc[0]) == row


def test_speed_is_resolved_only_if_the_intervals_are_apart():
    columns = ["domain", "method", "seconds_alone", "seconds_alone_low", "seconds_alone_high"]
    table = pd.DataFrame([["face", "in-domain", 4.0, 3.0, 5.0],
                          ["face", "image2stylegan", 8.0, 4.0, 9.0],
                          ["face", "domain-guided", 0.1, 0.05, 0.2]], columns=columns)
    found = claims.frame(reconstruction.speed_claims(table))
    assert list(found["ours"]) == pytest.approx([2, 40])
    assert list(found["low"]) == pytest.approx([0.8, 15])
    assert list(found["verdict"]) == ["not resolved", "reproduced"]


def test_score_of_a_pairwise_metric_is_the_mean_over_images():
    found, real = reconstructions()
    visible = (x.images.clamp(-1, 1) for x in (found["in-domain"], real))
    expected = next(visible).sub(next(visible)).square().mean()
    estimate = scores.score("mse", found["in-domain"], real)
    assert isinstance(estimate, Estimate)
    assert estimate.value == pytest.approx(expected.item(), rel=1e-5)


def test_steps_and_claims_compare_the_same_few_images():
    """Image2StyleGAN is judged after the most of its steps, on its own targets alone."""
    found, real = reconstructions()
    few = {"1 steps": found["conventional"][:6], "9 steps": found["image2stylegan"][:6]}
    table = reconstruction.steps_table("face", few, real.images[:6])
    assert list(table["method"]) == ["1 steps", "9 steps"] and (table["images"] == 6).all()

    def error(images):
        return float((real.images[:6].clamp(-1, 1) - images[:6].clamp(-1, 1)).square().mean())
    assert table["mse"][1] == pytest.approx(error(few["9 steps"].images), rel=1e-5)
    rows = claims.frame(reconstruction.copy_claims("face", few, found, real, claims.paper_table(1)))
    assert list(rows["claim"]) == ["C2"] * 4 and rows["what"].str.contains("after 9 steps").all()
    gain = error(found["in-domain"].images) - error(few["9 steps"].images)
    ours = rows.loc[rows["what"].str.contains("beats in-domain, MSE"), "ours"].item()
    assert ours == pytest.approx(gain, abs=1e-6)
