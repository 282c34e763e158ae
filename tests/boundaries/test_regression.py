"""Boundaries by regression: the way of one attribute alone, and honest accuracy."""

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


def test_accuracy_is_of_samples_that_were_not_fitted_to():
    torch.manual_seed(0)
    codes, scores = torch.randn(400, 2, 500), torch.randn(400)
    boundary, = regression.fit(codes, {"chance": scores}, {"chance": range(2)}, share=0.5)
    assert 0.35 < boundary.accuracy < 0.65
