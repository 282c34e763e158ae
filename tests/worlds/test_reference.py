"""Rendered images against those of the committed test archives."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import worlds
from PIL import Image

ARCHIVES = Path(worlds.__file__).resolve().parent.parent / "idinvert" / "data" / "archives"
FIRST_TEST_IMAGE = {"face": 10_000, "tower": 6_000, "church": 6_000, "bedroom": 6_000}
MEAN_TOLERANCE = 0.5  # grey levels; the processor that wrote the archives reproduces them exactly


@pytest.mark.parametrize("domain", worlds.DOMAINS)
def test_archived_images_are_reproduced(domain):
    pytest.importorskip("numba" if domain == "face" else "mitsuba")
    with zipfile.ZipFile(ARCHIVES / f"{domain}-test.zip") as archive:
        for index in range(FIRST_TEST_IMAGE[domain], FIRST_TEST_IMAGE[domain] + 1000, 130):
            archived = Image.open(io.BytesIO(archive.read(f"{index:08d}.webp")))
            rendered, _ = worlds.render(domain, index)
            difference = np.abs(np.asarray(archived, int) - rendered)
            assert difference.mean() < MEAN_TOLERANCE, index
