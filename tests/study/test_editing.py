"""Interpolation partners, switched attributes, Table 2, diffusion and separation."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from idinvert.boundaries import Boundary
from idinvert.inversion import stitch
from idinvert.study import edits, scores
from idinvert.study.sections import editing, separation


def render(codes):
    """Images of codes by the generator of the fixture `shift`."""
    return codes[:, 0, :3, None, None].expand(-1, -1, 16, 16)


def codes(count=12, seed=0):
    return torch.randn(count, 1, 4, generator=torch.Generator().manual_seed(seed)) / 2


@pytest.mark.parametrize("count, sizes", [(9, [3, 3, 3]), (8, [3, 5]), (4, [4]), (2, [2])])
def test_partners_form_rings_that_share_no_image(count, sizes):
    other, ring = edits.partners(count, seed=3)
    assert sorted(other.tolist()) == list(range(count))
    assert torch.equal(ring[other], ring)
    assert sorted(torch.bincount(ring).tolist()) == sizes
    for start in range(count):
        place, visited = start, []
        while place not in visited:
            visited.append(place)
            place = int(other[place])
        assert len(visited) == (ring == ring[start]).sum()  # one round through the whole ring


def test_halfway_images_are_of_the_mean_codes(shift):
    w = codes(6)
    other, ring = edits.partners(6, seed=1)
    images = edits.halfway(shift, w, seed=1)
    torch.testing.assert_close(images.images[:, :, 0, 0], ((w + w[other]) / 2)[:, 0, :3])
    assert torch.equal(images.units, ring)


def test_strip_runs_from_image_to_image(shift):
    w, images = codes(4), torch.rand(4, 3, 16, 16)
    found = editing.strip(shift, w, images, 1, 3, steps=5)
    assert len(found) == 9
    assert torch.equal(found[0], images[1])
    assert torch.equal(found[-1], images[3])
    torch.testing.assert_close(found[1][:, 0, 0], w[1, 0, :3])
    torch.testing.assert_close(found[4][:, 0, 0], (w[1] + w[3])[0, :3] / 2)


def test_switch_moves_each_code_to_the_other_side(shift):
    w = codes(20)
    labels = (w[:, 0, 0] > 0).long().numpy()
    targets = render(w)
    far = editing.switch(shift, w, "bright", 5.0, labels, targets)
    assert np.nanmean(far.success) == 1
    assert far.others_moved == pytest.approx(np.zeros(20))
    moved = far.images.images[:, 0, 0, 0] - w[:, 0, 0]
    torch.testing.assert_close(moved, torch.from_numpy(5.0 - 10.0 * labels).float())
    assert np.nanmean(editing.switch(shift, w, "bright", 0.0, labels, targets).success) == 0


def test_an_attribute_that_no_step_brings_about_is_named(shift, capsys):
    samples = codes(50)
    samples[:, 0, 1] = -1000
    found = edits.step_sizes(shift, ["bright", "red"], samples)
    assert set(found) == {"bright"}
    assert "red is left out: No step up to 16.0 shows red" in capsys.readouterr().out
    with pytest.raises(edits.CalibrationError, match="^No step brings about any of red: the gen"):
        edits.step_sizes(shift, ["red"], samples)
    with pytest.raises(ValueError, match="codes must be"):  # a mistake is not "left out"
        edits.step_sizes(shift, ["bright"], samples[:, :, :2])


def test_verdicts_prefer_the_method_whose_images_are_real(shift):
    """In-domain results are the real distribution, the other's are shifted away from it."""
    real = scores.image_set(shift, render(codes(200, seed=1)))
    good, bad = codes(40), codes(40) + 1
    tasks = {"interpolation": {name: scores.image_set(shift, render(w))
                               for name, w in (("in-domain", good), ("image2stylegan", bad))}}
    edit = editing.Edit(None, np.ones(40), np.zeros(40))
    worse = editing.Edit(None, np.zeros(40), np.ones(40))
    table = pd.DataFrame(columns=["dataset", "method", "task", "metric", "value"])
    rows = editing.editing_claims("face", tasks, real, {"in-domain": {"bright": edit},
                                                        "image2stylegan": {"bright": worse}}, table)
    verdicts = {row["what"]: row["verdict"] for row in rows}
    assert verdicts["face: interpolation stays nearer to real images, KID x 1e3"] == "reproduced"
    assert verdicts["face: edits are seen more often"] == "reproduced"
    assert verdicts["face: edits move other attributes less"] == "reproduced"
    found = editing.table2("face", tasks, real).set_index("method")
    assert found.loc["in-domain", "kid"] < found.loc["image2stylegan", "kid"]
    assert list(found.loc["in-domain", ["images", "edited", "real"]]) == [40, 40, 200]


def test_edits_of_an_image_move_together(shift):
    """Five equal edits tell no more than one: the verdict's interval stays as wide."""
    real = scores.image_set(shift, render(codes(60, seed=1)))
    success = np.random.default_rng(0).integers(0, 2, 40).astype(float)
    tasks = {}
    widths = []
    for attributes in ("a", "abcde"):
        better = dict.fromkeys(attributes, editing.Edit(None, success, success))
        worse = dict.fromkeys(attributes, editing.Edit(None, np.zeros(40), np.zeros(40)))
        both = {"in-domain": better, "image2stylegan": worse}
        row = editing.editing_claims("face", tasks, real, both, None)[0]
        widths.append(row["high"] - row["low"])
    assert widths[1] == pytest.approx(widths[0])


def test_all_edits_of_a_method_are_one_set_by_target(shift):
    images = scores.image_set(shift, render(codes(6)))
    edit = editing.Edit(images, np.ones(6), np.ones(6))
    both = editing.pooled({"in-domain": {"a": edit, "b": edit}})["in-domain"]
    assert len(both) == 12 and both.units.tolist() == [*range(6), *range(6)]


def box_mask(size, crop):
    return stitch(torch.zeros(1, 3, size, size), torch.zeros(1, 3, size, size),
                  editing.centre(size, crop))[1]


def test_centre_covers_the_crop():
    mask = box_mask(8, 4)
    assert mask.sum() == 16
    assert mask[0, 0, 2:6, 2:6].all()


def test_error_inside_a_mask_does_not_see_the_outside():
    mask = box_mask(8, 4)
    a, b = torch.zeros(2, 3, 8, 8), torch.ones(2, 3, 8, 8) * 0.5
    b[..., 2:6, 2:6] = 0.25
    torch.testing.assert_close(editing.inside(a, b, mask), torch.full((2,), 0.0625))
    torch.testing.assert_close(editing.inside(a, b, 1 - mask), torch.full((2,), 0.25))


def test_trend_of_agreement_follows_the_crop_size(shift):
    """Results that go from the context to the target as the crop grows."""
    target, context = (render(codes(10, seed)) for seed in (0, 1))
    results = [editing.Diffusion(c, box_mask(16, c), context,
                                 torch.lerp(context, target, c / 16)) for c in (2, 8, 14)]
    assert editing.crop_trend(shift, results, target).low == pytest.approx(1)
    assert editing.crop_trend(shift, results, context).high == pytest.approx(-1)
    table = editing.crop_table(shift, results, target, context)
    assert table["target_agreement"].is_monotonic_increasing
    assert table["outside_mse"].is_monotonic_increasing


def test_average_precision_is_that_of_the_signed_distance(shift):
    w = codes(60)
    labels = pd.DataFrame({"bright": (w[:, 0, 0] > 0).long(), "red": (w[:, 0, 0] > 0).long()})
    table = separation.average_precisions("face", {"in-domain": w}, shift.boundaries, labels)
    values = table.set_index("attribute")
    assert values.loc["bright", "ap"] == pytest.approx(1)
    assert values.loc["red", "ap_high"] < 0.9  # the label does not depend on this axis
    assert values.loc["red", "chance"] == pytest.approx(labels["red"].mean())


def test_gain_compares_the_same_images(shift):
    w = codes(60)
    truth = (w[:, 0, 0] > 0).long().numpy()
    both = {"in-domain": w, "image2stylegan": w.flip(0)}
    found = separation.separation_gain(both, shift.boundaries["bright"], truth)
    assert found.low > 0
    both["image2stylegan"] = w
    gain = separation.separation_gain(both, shift.boundaries["bright"], truth)
    assert gain[:3] == (0, 0, 0)


def test_cosines_of_boundaries(shift):
    tilted = Boundary("tilted", torch.tensor([[3.0, 4.0, 0, 0]]), 0.0, (0,))
    table = separation.cosines(shift.boundaries | {"tilted": tilted})
    assert table.loc["bright", "tilted"] == pytest.approx(0.6)
    assert table.loc["tilted", "red"] == pytest.approx(0.8)
    assert table.loc["bright", "red"] == 0


class LayerColours(torch.nn.Module):
    """A generator whose colours are the sums of layers 0, 5 and 9."""

    resolution = 2

    def synthesis(self, codes):
        return codes.sum(2)[:, [0, 5, 9], None, None].expand(-1, -1, 2, 2)


def test_mixing_takes_fine_layers_of_the_styles():
    m = SimpleNamespace(generator=LayerColours())
    w = torch.arange(3.0).reshape(3, 1, 1).expand(3, 10, 1)
    rows = editing.mixing_grid(m, w, contents=[0], styles=[1, 2])
    assert rows[1][2, :, 0, 0].tolist() == [0, 0, 2]
