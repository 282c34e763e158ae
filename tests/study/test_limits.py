"""Limits: what is drawn on images, which faces are unusual, and what the claims compare."""

import numpy as np
import pandas as pd
import pytest
import torch
from idinvert import data
from idinvert.study import claims
from idinvert.study.sections import limits


@pytest.fixture(scope="module")
def faces():
    return data.load("face", "test", 12)


def test_drawings_cover_little_and_leave_the_rest(faces):
    images = data.to_float(faces.images)
    changed = limits.altered(images)
    assert torch.equal(changed.pop("as it is"), images)
    assert torch.equal(changed.pop("cut off")[..., :43], images[..., 21:])
    for what, drawn in changed.items():
        moved = (drawn - images).abs().amax(1) > 0.02
        assert 0.005 < moved.double().mean() < 0.06, what
        assert drawn.abs().max() <= 1


def test_cats_depend_on_the_seed_alone_and_differ():
    cats = limits.cats(3, 32, seed=1)
    assert cats.shape == (3, 3, 32, 32) and cats.abs().max() <= 1
    assert torch.equal(cats, limits.cats(5, 32, seed=1)[:3])
    assert (cats[0] - cats[1]).abs().mean() > 0.05


def test_unusual_faces_are_those_of_the_exact_attributes(faces):
    groups = limits.unusual(data.load("face", "test").labels)
    assert all(0.02 < chosen.mean() < 0.4 for chosen in groups.values())
    turned = groups["head turned by 20 degrees or more"]
    assert turned[0] and faces.labels["yaw"].iloc[0] == pytest.approx(28.24)
    assert not (groups["sunglasses"] & groups["eyeglasses"]).any()
    assert limits.rare(pd.Series(["a"] * 40 + ["b"] * 2)).sum() == 2
    assert limits.unusual(pd.DataFrame({"clouds": [0, 1]})) == {}


def test_claims_are_differences_of_means():
    errors = torch.tensor([1.0, 1.0, 1.0, 3.0, 3.0, 3.1])
    groups = {"odd": np.array([False] * 3 + [True] * 3), "single": np.array([True] + [False] * 5)}
    found = claims.frame(limits.unusual_claims(groups, errors, "in-domain"))
    assert found["ours"].tolist() == pytest.approx([3.1 / 3 + 2 - 1], rel=1e-5)
    assert found["verdict"].tolist() == ["reproduced"]
    table = limits.unusual_table(groups, {"in-domain": errors})
    assert table[["mse", "others_mse"]].iloc[0].tolist() == pytest.approx([9.1 / 3, 1])
    added = claims.frame(limits.altered_claims({"as it is": errors, "hat": errors + 1}, "m"))
    assert added["ours"].tolist() == pytest.approx([1.0])


def test_copies_from_outside_are_closer_and_less_like_the_domain(smooth_images):
    """The copy is the target; the domain's inversion is a real image of the domain."""
    real, foreign = smooth_images(40), smooth_images(12, seed=5, noise=1.5)
    inside = smooth_images(40)[:12]
    kind = limits.Foreign("tower", foreign.images, {"image2stylegan": foreign, "in-domain": inside})
    found = claims.frame(limits.foreign_claims([kind], real))
    assert list(found["claim"]) == ["C26"] * 4
    assert (found["verdict"] == "reproduced").all()
    table = limits.foreign_table([kind], real)
    assert table["mse"].tolist()[0] == 0 and table["kid"][0] > table["kid"][1]
