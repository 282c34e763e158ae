"""Images to invert by commands."""

import pytest
import torch
from idinvert.data import write_image


@pytest.fixture
def images(tmp_path):
    """Five photographs in a folder and one file that is none."""
    torch.manual_seed(1)
    for i in range(5):
        write_image(tmp_path / "photos" / ("sub" if i % 2 else "") / f"{i}.png",
                    torch.rand(3, 9, 9) * 2 - 1)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    return tmp_path / "photos"
