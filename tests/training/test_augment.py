"""Changes of images before a discriminator judges them."""

import pytest
import torch
from idinvert.training import augment

NEUTRAL = 0.5  # of every number: no other light or colour, not moved, the square in the middle


def images(count=2, size=16):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0)) + 1


def test_neutral_numbers_change_nothing_but_the_square():
    x = images()
    y = augment.changed(x, torch.full((2, augment.NUMBERS), NEUTRAL))
    hidden = torch.zeros(16, 16, dtype=torch.bool)
    hidden[4:12, 4:12] = True
    assert (y[:, :, hidden] == 0).all()
    assert torch.allclose(y[:, :, ~hidden], x[:, :, ~hidden], atol=1e-6)


@pytest.mark.parametrize("number, pixels", [(0.0, -2), (0.5, 0), (0.999, 2)])
def test_images_are_moved_by_at_most_an_eighth(number, pixels):
    """What comes in from beyond an edge is 0."""
    x, share = images(), torch.full((2,), number)
    expected = torch.zeros_like(x)
    kept = slice(max(0, -pixels), 16 - max(0, pixels))  # columns of the moved image
    source = slice(max(0, pixels), 16 - max(0, -pixels))
    expected[..., kept] = x[..., source]
    middle = torch.full((2,), NEUTRAL)
    assert torch.equal(augment.moved(x, share, middle), expected)
    across = augment.moved(x.transpose(2, 3), middle, share)
    assert torch.equal(across, expected.transpose(2, 3))


def test_every_pixel_is_covered_now_and_then_and_at_most_a_quarter_of_an_image():
    numbers = torch.rand(2000, augment.NUMBERS, generator=torch.Generator().manual_seed(1))
    covered = augment.covered(torch.ones(2000, 1, 16, 16), *numbers.T[-2:]) == 0
    shares = covered.float().mean((1, 2, 3))
    assert shares.max() == 0.25 and shares.min() >= (4 / 16) ** 2
    assert covered.float().mean(0).min() > 0.05


def test_light_and_colour_are_those_of_the_numbers():
    """Without saturation an image is grey; without contrast it would be its mean."""
    x, numbers = images(1), torch.full((1, augment.NUMBERS), NEUTRAL)
    numbers[0, :3] = torch.tensor([1.0, 0.0, 0.0])
    y = augment.changed(x, numbers)[0]
    grey = x.mean(1, keepdim=True) + 0.5
    expected = (grey + grey.mean()) / 2
    assert torch.allclose(y[:, 0], expected[0].expand(3, 16, 16)[:, 0], atol=1e-5)


def test_gradients_pass():
    x = images().requires_grad_(True)
    augment.changed(x, torch.rand(2, augment.NUMBERS)).sum().backward()
    assert (x.grad != 0).any() and x.grad.isfinite().all()
