"""What tests of the study share: image sets of known distance, and models that show their codes."""

import pytest
import torch
from idinvert.boundaries import Boundary
from idinvert.study import networks
from idinvert.study.scores import ImageSet


def images_of(count=40, seed=0, noise=0.0, noise_seed=None):
    """Smooth random images of 16 px whose features are their pixels, more or less spoilt."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 4, 4, generator=rng) / 3
    images = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    if noise_seed is not None:
        rng = torch.Generator().manual_seed(noise_seed)
    images = images + noise * (torch.randn(images.shape, generator=rng) + 1)
    return ImageSet(images, images.flatten(1)[:, ::8])


@pytest.fixture(scope="session")
def smooth_images():
    return images_of


class CodeColours(torch.nn.Module):
    """A generator whose images have the first three numbers of a code as their colour."""

    resolution, num_layers, w_dim = 16, 1, 4

    def synthesis(self, codes):
        return codes[:, 0, :3, None, None].expand(-1, -1, 16, 16)


class Shift(networks.StudyModel):
    """A model whose images show the code: its first number is "bright", its second is "red"."""

    name, device = "shift", "cpu"

    def __init__(self):
        axes = torch.eye(4).unsqueeze(1)
        self.generator = self.whole = CodeColours()
        self.attributes = ["bright", "red"]
        self.boundaries = {name: Boundary(name, axis, 0.0, (0,))
                           for name, axis in zip(self.attributes, axes)}

    def probabilities(self, images):
        return (8 * images[:, :2, 0, 0]).sigmoid()

    def judge_features(self, images):
        return images.flatten(1)[:, ::16]


@pytest.fixture
def shift():
    return Shift()
