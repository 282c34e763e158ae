"""Images of one's own to train on."""

import pytest
import torch
from idinvert.data import write_image


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Forty images, one of which is none, and a registry of one's own."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "results" / "weights"))
    monkeypatch.setenv("IDINVERT_RUNS", str(tmp_path / "runs"))
    torch.manual_seed(0)
    for i in range(40):
        write_image(tmp_path / "photos" / f"{i}.png", torch.rand(3, 9, 12) * 2 - 1)
    (tmp_path / "photos" / "7.png").write_bytes(b"no image")
    return tmp_path
