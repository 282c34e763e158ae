"""Precision and recall, against distances sorted by hand."""

import math

import numpy as np
import torch
from idinvert.metrics.precision_recall import precision_recall


def near(points, others):
    """The share of the points within a ball of the others, point by point."""
    found = []
    for point in points:
        inside = False
        for i, other in enumerate(others):
            radius = np.sort(np.linalg.norm(np.delete(others, i, 0) - other, axis=1))[2]
            inside |= np.linalg.norm(point - other) <= radius
        found.append(inside)
    return np.mean(found)


def test_shares_are_those_of_sorted_distances():
    torch.manual_seed(0)
    generated, real = torch.randn(40, 3) * 0.6 + 0.5, torch.randn(50, 3)
    found = precision_recall(generated, real)
    expected = near(generated.numpy(), real.numpy()), near(real.numpy(), generated.numpy())
    assert found == expected and 0 < found[1] < found[0] < 1
    assert precision_recall(real, generated) == expected[::-1]


def test_one_mode_of_two_is_precise_and_recalls_half():
    torch.manual_seed(0)
    both = torch.cat([torch.randn(100, 4), torch.randn(100, 4) + 50])
    precision, recall = precision_recall(both[:100].repeat(2, 1) + 1e-3 * torch.randn(200, 4), both)
    assert precision > 0.95 and 0.4 < recall <= 0.5


def test_few_points_have_no_shares():
    assert all(map(math.isnan, precision_recall(torch.rand(3, 2), torch.rand(9, 2))))
