"""The front: edits at equal damage, the way there and back, and what follows from the table."""

import numpy as np
import pandas as pd
import pytest
import torch
from idinvert.study import claims
from idinvert.study.sections import front

STEPS = {"bright": 0.6, "red": 0.6}


@pytest.fixture
def images(shift):
    codes = torch.rand(12, 1, 4, generator=torch.Generator().manual_seed(0)) - 0.5
    return shift.render(codes)


@pytest.fixture
def labels(images):
    return pd.DataFrame({name: (images[:, i, 0, 0] > 0).long().numpy()
                         for i, name in enumerate(STEPS)})


def way(shift, spoil=0.0, setting="exact", steps=0, family="A"):
    """Reads the code from the image's colour, up to an error."""
    def invert(images):
        codes = torch.cat([images[:, :, 0, 0], torch.zeros(len(images), 1)], 1)[:, None]
        return front.Inverted(codes + spoil, shift.render)
    return front.Way(family, setting, spoil, steps, invert)


def outcome(shift, images, labels, **options):
    return front.try_out(shift, way(shift, **options), images, labels, STEPS, 4)


def test_exact_inversions_switch_each_attribute_and_keep_the_other(shift, images, labels):
    one = outcome(shift, images, labels)
    assert one.success.shape == one.kept.shape == (12, len(front.FACTORS))
    assert (one.success[:, 0] == 0).all() and (one.success[:, -1] == 1).all()
    assert (one.kept == 1).all()
    assert len(one.edited) == 24 and one.edited.units.tolist() == [*range(12)] * 2
    brighter = labels["bright"].to_numpy() == 0
    change = one.edited.images[:12, 0, 0, 0] - images[:, 0, 0, 0]
    assert torch.equal(change > 0, torch.from_numpy(brighter))
    np.testing.assert_allclose(one.returned, 0, atol=1e-10)


def test_inversion_that_errs_twice_does_not_return(shift, images, labels):
    """The second inversion adds its error of 0.1 in each channel again."""
    one = outcome(shift, images * 0.5, labels, spoil=0.1)
    np.testing.assert_allclose(one.returned, 0.01, rtol=0.1)


def test_misread_inversions_have_no_success_at_equal_damage(shift, images, labels):
    """Codes of the opposite sign are read wrongly without any edit: that is no success."""
    def invert(images):
        codes = torch.cat([-images[:, :, 0, 0], torch.zeros(len(images), 1)], 1)[:, None]
        return front.Inverted(codes, shift.render)
    one = front.try_out(shift, front.Way("B", "", 0, 0, invert), images, labels, STEPS, 4)
    assert one.success[:, 0].all() and front.success_at(0.75, one.success, one.kept) == 0


def test_table_advice_and_claims_follow_the_better_way(shift, images, labels):
    exact = outcome(shift, images, labels, family=front.COPY, setting="9 steps", steps=9)
    spoilt = outcome(shift, images, labels, spoil=0.2, setting="lambda 2",
                     family=f"{front.DOMAIN}, {front.WEIGHT}")
    real = front.ImageSet(images, shift.judge_features(images))
    table = front.table([exact, spoilt], images, real, 0.75)
    assert table["mse"].tolist() == pytest.approx([0, 0.04], abs=0.01)
    assert table["front_success"].tolist() == [True, False]
    assert f"for the closest copy, {front.COPY} (9 steps" in front.advice(table)
    assert "in a single pass" in front.advice(table)  # the spoilt way has no steps
    rows = front.claims_of_front([exact, spoilt], images, real, 0.75, usual=0.2)
    found = claims.frame(rows)
    mse = found[found["what"].str.endswith(": MSE")]
    assert (mse["claim"].item(), mse["verdict"].item()) == ("C2", "reproduced")


def test_equal_error_is_that_of_the_nearest_setting(shift, images, labels):
    family = [outcome(shift, images, labels, spoil=s, setting=str(s)) for s in (0.0, 0.1, 0.3)]
    like = outcome(shift, images, labels, spoil=0.12, family="other")
    assert front.at_equal_error(family, "A", like, images) is family[1]
