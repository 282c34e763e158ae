"""Losses in closed form."""

import math

import pytest
import torch
from idinvert import losses


def test_squared_error_is_a_mean_per_image():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), -2.0)])
    assert torch.equal(losses.squared_error(a, b), torch.tensor([0.25, 4.0]))
    assert torch.equal(losses.squared_error(a, b), losses.squared_error(b, a))


def test_code_loss_is_a_mean_over_all():
    codes = torch.zeros(2, 4, 3)
    encoded = codes.clone()
    encoded[0, 0, 0] = 6
    assert losses.code_loss(codes, encoded).item() == pytest.approx(36 / 24)


def softplus(x):
    return math.log1p(math.exp(x))


def test_adversarial_terms():
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    expected = (softplus(-0.5) + softplus(-3)) / 2
    assert losses.adversarial_loss(fake).item() == pytest.approx(expected)
    expected = (softplus(0.5) + softplus(3)) / 2 + (softplus(-1) + softplus(2)) / 2
    assert losses.discriminator_loss(real, fake).item() == pytest.approx(expected)
    undecided = torch.zeros(4)
    assert losses.discriminator_loss(undecided, undecided).item() == pytest.approx(2 * math.log(2))


def test_adversarial_gradient_does_not_saturate():
    """Where the discriminator is sure that an image is fake, the generator learns most."""
    logits = torch.tensor([-10.0, 0.0, 10.0], requires_grad=True)
    losses.adversarial_loss(logits).backward()
    expected = -torch.sigmoid(-logits.detach()) / 3
    assert torch.allclose(logits.grad, expected)


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    torch.manual_seed(0)
    direction = torch.randn(3, 4, 4)
    penalty = losses.r1_penalty(lambda x: (x * direction).sum((1, 2, 3)), torch.randn(5, 3, 4, 4))
    assert penalty.item() == pytest.approx(direction.square().sum().item(), rel=1e-5)


def test_r1_of_a_quadratic_discriminator_and_its_gradient():
    """D = a |x|^2 / 2 has the gradient a x: a penalty of a^2 |x|^2 with derivative 2 a |x|^2."""
    scale = torch.tensor(3.0, requires_grad=True)
    real = torch.randn(5, 3, 4, 4)
    norm = real.square().sum().item() / 5
    penalty = losses.r1_penalty(lambda x: scale * x.square().sum((1, 2, 3)) / 2, real)
    penalty.backward()
    assert penalty.item() == pytest.approx(9 * norm, rel=1e-5)
    assert scale.grad.item() == pytest.approx(6 * norm, rel=1e-5)
    assert not real.requires_grad
