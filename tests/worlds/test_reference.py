"""Rendered images against those of the committed test archives."""

from __future__ import annotations

import numpy as np
import pytest
import worlds
from idinvert.data import archive

FIRST_TEST_IMAGE = {"face": 10_000, "tower": 6_000, "church": 6_000, "bedroom": 6_000}
MEAN_TOLERANCE = 0.5  # grey levels; the processor that wrote the archives reproduces them exactly


@pytest.mark.parametrize("domain", worlds.DOMAINS)
def test_archived_images_are_reproduced(domain):
    pytest.importorskip("numba" if domain == "face" else "mitsuba")
    images, labels = archive.read(archive.archive_path(domain))
    assert labels.index[0] == FIRST_TEST_IMAGE[domain]
    for index in range(0, 1000, 130):
        rendered, _ = worlds.render(domain, FIRST_TEST_IMAGE[domain] + index)
        difference = np.abs(images[index].permute(1, 2, 0).numpy().astype(int) - rendered)
        assert difference.mean() < MEAN_TOLERANCE, index
