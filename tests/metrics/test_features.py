import numpy as np
import pytest
import torch
from idinvert.metrics import features, frechet, kid
from skimage import data
from torch.nn import functional as F


def test_batches_and_iterables_change_nothing(efficientnet, card):
    images = torch.cat([card, card.flip(-1), 0.5 * card])
    whole = features.extract(images, efficientnet)
    assert whole.shape == (3, 1280) and whole.dtype == torch.float32
    for other in (
        features.extract(images, efficientnet, batch_size=2),
        features.extract((image[None] for image in images), efficientnet),
    ):
        assert torch.allclose(whole, other, atol=1e-4)


def test_images_are_clipped(efficientnet, card):
    bright = features.extract(3 * card, efficientnet)
    assert torch.equal(bright, features.extract((3 * card).clamp(-1, 1), efficientnet))


def test_no_images(efficientnet):
    with pytest.raises(ValueError, match="no images"):
        features.extract([], efficientnet)


@pytest.fixture(scope="module")
def crops():
    """Forty 64 px crops of photographs."""
    found = []
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photo = torch.from_numpy(np.array(getattr(data, name)())).permute(2, 0, 1)[None].float()
        photo = F.interpolate(photo / 127.5 - 1, (192, 192), mode="bilinear", antialias=True)
        tiles = photo.unfold(2, 64, 42).unfold(3, 64, 42)[0].permute(1, 2, 0, 3, 4).flatten(0, 1)
        found.append(tiles[torch.linspace(0, len(tiles) - 1, 10).long()])
    return torch.cat(found)


def test_distances_rise_with_blur_and_noise(efficientnet, crops):
    noise = torch.randn(crops.shape, generator=torch.Generator().manual_seed(0))
    real = features.extract(crops, efficientnet)
    noisy = [crops + s * noise for s in (0, 0.1, 0.3)]
    blurred = [F.avg_pool2d(crops, k, 1, k // 2) for k in (1, 3, 7)]
    for steps in (noisy, blurred):
        found = [features.extract(step, efficientnet) for step in steps]
        for distance in (frechet.fd, kid.mmd2):
            none, some, much = (distance(step, real) for step in found)
            assert none < some < much
