"""Boundaries by regression: the way of one attribute alone, and honest accuracy."""

import pytest
import torch
from idinvert.boundaries import regression


def test_an_attribute_is_told_from_one_that_goes_with_it():
    """Codes are w = x a + y b + noise, in which x and y go together: the ways found are a and b."""
    torch.manual_seed(0)
    a, b = torch.linalg.qr(torch.randn(24, 2)).Q.T.unflatten(1, (3, 8))
    x = torch.randn(3000)
    y = 0.8 * x + 0.6 * torch.randn(3000)
    codes = x[:, None, None] * a + y[:, None, None] * b + 0.3 * torch.randn(3000, 3, 8)
    scores = {"x": x, "y": y.exp()}  # only the order of scores counts
    found = regression.fit(codes, scores, {"x": range(3), "y": (1,)})
    for boundary, way in zip(found, (a, b)):
        for layer in boundary.layers:
            cosine = torch.cosine_similarity(boundary.normal[layer], way[layer], 0)
            assert cosine > 0.97
        assert boundary.normal.norm(dim=1).gt(0).nonzero().flatten().tolist() == list(
            boundary.layers)
    assert found[0].accuracy > 0.95


def test_gradients_change_no_boundary():
    torch.manual_seed(0)
    codes, scores, layers = torch.randn(400, 2, 5), {"x": torch.randn(400)}, {"x": (1,)}
    plain, = regression.fit(codes, scores, layers)
    found, = regression.fit(codes.requires_grad_(), {"x": scores["x"].requires_grad_()}, layers)
    assert torch.equal(found.normal, plain.normal) and not found.normal.requires_grad


def test_accuracy_is_of_samples_that_were_not_fitted_to():
    torch.manual_seed(0)
    codes, scores = torch.randn(400, 2, 500), torch.randn(400)
    boundary, = regression.fit(codes, {"chance": scores}, {"chance": range(2)}, share=0.5)
    assert 0.35 < boundary.accuracy < 0.65


def test_boundaries_apart_change_their_own_score_alone():
    """Images show what codes have along three directions; the score of one of these is poor, so
    that the fit alone does not keep it out of another one that goes with it."""
    torch.manual_seed(0)
    codes, read_off = torch.randn(400, 1, 24), torch.randn(24, 3, dtype=torch.float64)
    read_off[:, 1] += 0.7 * read_off[:, 0]
    columns = codes[:, 0].double() @ read_off
    columns[:, 1] += 2 * columns[:, 1].std() * torch.randn(400)
    scores = dict(zip("xyz", columns.T))
    found = regression.fit(codes, scores, dict.fromkeys("xyz", (0,)))

    def seen(boundaries):
        return torch.stack([b.normal[0].double() @ read_off for b in boundaries])
    better = regression.apart(found, seen(found), codes, scores)
    off = seen(found).fill_diagonal_(0).abs().max()
    assert seen(better).fill_diagonal_(0).abs().max() < 1e-5 < 0.1 < off
    assert (seen(better).diagonal() > 0).all()
    assert [b.name for b in better] == ["x", "y", "z"] and better[0].accuracy > 0.8


def test_scores_go_with_the_layers_of_the_same_name():
    torch.manual_seed(0)
    codes = torch.randn(60, 2, 4)
    scores = {"x": codes[:, 0, 0], "y": codes[:, 1, 1]}
    here, there = (regression.fit(codes, scores, layers)
                   for layers in ({"x": (0,), "y": (1,)}, {"y": (1,), "x": (0,)}))
    for one, other in zip(here, there, strict=True):
        assert one.name == other.name and one.layers == other.layers
        assert torch.equal(one.normal, other.normal)


@pytest.mark.parametrize("scores, layers", [
    ({"x": torch.ones(60)}, {"x": (0,)}), ({"x": torch.arange(60.)}, {"y": (0,)}), ({}, {}),
    ({"x": torch.arange(2.)}, {"x": (0,)})])
def test_what_no_direction_follows_from(scores, layers):
    with pytest.raises(ValueError, match="equal|layers of|too few"):
        regression.fit(torch.randn(len(scores.get("x", [])), 2, 4), scores, layers)
