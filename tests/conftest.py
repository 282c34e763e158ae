"""What several tests share: the real feature networks and a fixed image."""

import os

import numpy as np
import pytest
import torch
from idinvert import models
from idinvert.models import pretrained
from idinvert.nn import encoder, stylegan2

for variable in ("IDINVERT_VGG16", "IDINVERT_INCEPTION"):  # tests judge by the fetched networks
    os.environ.pop(variable, None)


def pytest_addoption(parser):
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failure")


def pytest_collection_modifyitems(config, items):
    """Where there is no GPU, the tests that need one are deselected, not skipped."""
    if not torch.cuda.is_available():
        left_out = [item for item in items if item.get_closest_marker("gpu")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and not exitstatus and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _load(function):
    try:
        return function()
    except pretrained.UnreachableError as error:
        pytest.skip(f"neither cached weights nor a network: {error}")


@pytest.fixture(scope="session")
def vgg16():
    return _load(pretrained.load_vgg16)


@pytest.fixture(scope="session")
def efficientnet():
    return _load(pretrained.load_efficientnet_lite0)


@pytest.fixture(scope="session")
def face_landmarks():
    """dlib and its predictor."""
    pytest.importorskip("dlib")
    return _load(lambda: pretrained.tensors("face_landmarks"))


@pytest.fixture(scope="session")
def ffhq():
    return _load(lambda: models.load("ffhq"))


@pytest.fixture
def own_registry(tmp_path, monkeypatch):
    """A registry of a tiny generator, "own", and its encoder."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "weights"))
    torch.manual_seed(0)
    generator = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    network = {"resolution": 8, "w_dim": 4, "channel_base": 4, "channel_max": 8}
    models.save("own", stylegan2.Generator(**generator))
    models.save("own-base", encoder.Encoder(**network))


@pytest.fixture(scope="session")
def card():
    """A test card [1, 3, 64, 64] in [-1, 1]: waves in red and green, a disc in blue."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, 64, dtype=np.float32)] * 2, indexing="ij")
    disc = np.where(x**2 + y**2 < 0.4, 0.8, -0.6)
    channels = [np.sin(6 * x) * y, np.cos(5 * (x + y)), disc]
    return torch.from_numpy(np.stack(channels).astype(np.float32))[None]
