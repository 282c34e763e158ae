"""Equations (1) to (4), whole, against the formulas written out number by number."""

import math

import pytest
import torch
from idinvert import losses
from torch import nn


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def mean_square(a, b):
    """Mean of squared differences by a loop over all numbers."""
    pairs = list(zip(a.detach().flatten().tolist(), b.detach().flatten().tolist(), strict=True))
    return sum((x - y) ** 2 for x, y in pairs) / len(pairs)


def softplus(x):
    return math.log1p(math.exp(x))


def mean(values):
    values = list(values)
    return sum(values) / len(values)


class Toy:
    """A generator, an encoder and a feature network of one matrix each."""

    def __init__(self):
        self.g, self.e = nn.Linear(12, 48), nn.Linear(48, 12)
        self.f = nn.Conv2d(3, 5, 3)

    def generator(self, codes):
        return self.g(codes.flatten(1)).tanh().unflatten(1, (3, 4, 4))

    def encoder(self, image):
        return self.e(image.flatten(1)).unflatten(1, (4, 3))

    def features(self, image):
        return 100 * self.f(image).relu()


def test_squared_error_is_a_mean_per_image():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), -2.0)])
    assert torch.equal(losses.squared_error(a, b), torch.tensor([0.25, 4.0]))
    assert torch.equal(losses.squared_error(a, b), losses.squared_error(b, a))


# --- Eq. (1) -------------------------------------------------------------------------------------


def test_equation1_is_a_mean_over_all():
    codes, encoded = torch.randn(2, 5, 4, 3)
    assert losses.equation1(codes, encoded).item() == pytest.approx(mean_square(codes, encoded))
    other = codes.clone()
    other[0, 0, 0] += 6
    assert losses.equation1(codes, other).item() == pytest.approx(36 / 60)


# --- Eq. (2) -------------------------------------------------------------------------------------


def test_equation2_written_out():
    toy, x, logits = Toy(), torch.rand(2, 3, 4, 4) * 2 - 1, torch.tensor([0.5, 3.0])
    y = toy.generator(toy.encoder(x))
    total, terms = losses.equation2(y, x, image_features=toy.features(y),
                                    target_features=toy.features(x), fake_logits=logits,
                                    lambda_vgg=0.3, lambda_adv=0.7)
    pixel, feature = mean_square(x, y), mean_square(toy.features(x), toy.features(y))
    adversarial = mean(softplus(-v) for v in logits.tolist())
    assert total.item() == pytest.approx(pixel + 0.3 * feature + 0.7 * adversarial, rel=1e-5)
    assert {name: value.item() for name, value in terms.items()} == pytest.approx(
        {"pixel": pixel, "feature": feature, "adversarial": adversarial}, rel=1e-5)


def test_equation2_has_the_weights_of_the_paper():
    """pixel 4, feature 2e4, adversarial log 2: 4 + 5e-5 x 2e4 + 0.1 log 2."""
    x, found = torch.zeros(2, 3, 4, 4), torch.zeros(1, 5)
    total, _ = losses.equation2(x + 2, x, image_features=found + 2e4**0.5, target_features=found,
                                fake_logits=torch.zeros(2, 7))
    assert total.item() == pytest.approx(4 + 1 + 0.1 * math.log(2))


def test_equation2_without_terms():
    x = torch.zeros(2, 3, 4, 4)
    total, terms = losses.equation2(x + 2, x)
    assert list(terms) == ["pixel"] and total.item() == 4


def test_gradient_of_equation2_goes_through_all_its_terms():
    toy, x = Toy(), torch.rand(2, 3, 4, 4)
    judge = nn.Linear(48, 1)

    def gradient(*names):
        toy.e.zero_grad()
        y = toy.generator(toy.encoder(x))
        logits = judge(y.flatten(1))
        total, terms = losses.equation2(y, x, image_features=toy.features(y),
                                        target_features=toy.features(x), fake_logits=logits)
        (total if not names else sum(terms[n] for n in names)).backward()
        return toy.e.weight.grad.clone()

    parts = {name: gradient(name) for name in ("pixel", "feature", "adversarial")}
    assert all(part.abs().max() > 0 for part in parts.values())
    expected = parts["pixel"] + 5e-5 * parts["feature"] + 0.1 * parts["adversarial"]
    torch.testing.assert_close(gradient(), expected)


def test_adversarial_gradient_does_not_saturate():
    """Where the discriminator is sure that an image is fake, the generator learns most."""
    logits = torch.tensor([-10.0, 0.0, 10.0], requires_grad=True)
    losses.adversarial_loss(logits).backward()
    torch.testing.assert_close(logits.grad, -torch.sigmoid(-logits.detach()) / 3)


# --- Eq. (3) -------------------------------------------------------------------------------------


def test_equation3_written_out():
    real, fake = torch.tensor([1.0, -2.0]), torch.tensor([[0.5], [3.0], [-1.0]])
    expected = mean(softplus(v) for v in (0.5, 3, -1)) + mean(softplus(-v) for v in (1, -2))
    assert losses.equation3(real, fake).item() == pytest.approx(expected)
    undecided = torch.zeros(4)
    assert losses.equation3(undecided, undecided).item() == pytest.approx(2 * math.log(2))


def test_equation3_moves_real_logits_up_and_fake_ones_down():
    real, fake = torch.randn(2, 6, requires_grad=True)
    for_real, for_fake = torch.autograd.grad(losses.equation3(real, fake), (real, fake))
    assert (for_real < 0).all() and (for_fake > 0).all()


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
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


def test_lazy_r1_is_half_gamma_times_the_steps_left_out():
    penalty = torch.tensor(3.0)
    assert losses.lazy_r1(penalty).item() == pytest.approx(10 / 2 * 3)
    assert losses.lazy_r1(penalty, gamma=1.0, every=16).item() == pytest.approx(1 / 2 * 16 * 3)


# --- Eq. (4) -------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [False, True])
def test_equation4_written_out(masked):
    toy, codes, x = Toy(), torch.randn(2, 4, 3), torch.rand(2, 3, 4, 4) * 2 - 1
    mask = (torch.rand(2, 1, 4, 4) < 0.5).float() if masked else None
    y = toy.generator(codes)
    total, terms = losses.equation4(codes, y, x, features=toy.features, encoder=toy.encoder,
                                    lambda_vgg=0.3, lambda_dom=0.7, mask=mask)
    seen_x, seen_y = (x, y) if mask is None else (x * mask, y * mask)
    for i in range(2):
        alone = slice(i, i + 1)
        expected = {
            "pixel": mean_square(seen_x[i], seen_y[i]),
            "feature": mean_square(toy.features(seen_x[alone]), toy.features(seen_y[alone])),
            "code": mean_square(codes[i], toy.encoder(y[alone])[0]),
        }
        assert {k: v[i].item() for k, v in terms.items()} == pytest.approx(expected, rel=1e-5)
        whole = expected["pixel"] + 0.3 * expected["feature"] + 0.7 * expected["code"]
        assert total[i].item() == pytest.approx(whole, rel=1e-5)


def test_equation4_has_the_weights_of_the_paper():
    """pixel 1, feature 2e4, code 9: 1 + 5e-5 x 2e4 + 2 x 9 of each image."""
    x, codes = torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 3)
    total, _ = losses.equation4(codes, x + 1, x, features=lambda image: image * 2e4**0.5,
                                encoder=lambda image: codes + 3)
    torch.testing.assert_close(total, torch.full((2,), 1.0 + 1 + 18))


def test_features_of_the_target_need_not_be_taken_again():
    toy, codes, x = Toy(), torch.randn(2, 4, 3), torch.rand(2, 3, 4, 4)
    y, calls = toy.generator(codes), []

    def features(image):
        calls.append(image)
        return toy.features(image)

    given, _ = losses.equation4(codes, y, x, features=features, target_features=toy.features(x),
                                lambda_dom=0)
    assert len(calls) == 1 and calls[0] is y
    assert torch.equal(given, losses.equation4(codes, y, x, features=features, lambda_dom=0)[0])


def test_equation4_without_the_code_term_needs_no_encoder():
    toy, codes, x = Toy(), torch.randn(2, 4, 3), torch.rand(2, 3, 4, 4)
    total, terms = losses.equation4(codes, toy.generator(codes), x, lambda_dom=0)
    assert list(terms) == ["pixel"] and torch.equal(total, terms["pixel"])


def test_gradient_of_equation4_goes_through_the_encoder_and_through_the_code():
    """d/dz of mean (z - E(G(z)))^2 is 2 (I - J)^T (z - E(G(z))) / 12, J the derivative of E(G)."""
    toy, x = Toy(), torch.rand(1, 3, 4, 4)
    codes = torch.randn(1, 4, 3, requires_grad=True)

    def gradient(lambda_dom):
        total, _ = losses.equation4(codes, toy.generator(codes), x, encoder=toy.encoder,
                                    lambda_dom=lambda_dom)
        return torch.autograd.grad(total.sum(), codes)[0]

    def again(z):
        return toy.encoder(toy.generator(z.reshape(1, 4, 3))).flatten()

    flat = codes.detach().flatten()
    slope = torch.autograd.functional.jacobian(again, flat)
    expected = 2 * (torch.eye(12) - slope).T @ (flat - again(flat)) / 12
    found = (gradient(2.0) - gradient(0.0)) / 2
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-4, atol=1e-6)
    through_code_alone = 2 * (flat - again(flat)) / 12
    assert not torch.allclose(found.flatten(), through_code_alone, rtol=0.01)


def test_images_of_a_batch_do_not_affect_one_another():
    toy, codes, x = Toy(), torch.randn(3, 4, 3), torch.rand(3, 3, 4, 4)
    together, _ = losses.equation4(codes, toy.generator(codes), x, features=toy.features,
                                   encoder=toy.encoder)
    for i in range(3):
        alone, _ = losses.equation4(codes[i : i + 1], toy.generator(codes[i : i + 1]),
                                    x[i : i + 1], features=toy.features, encoder=toy.encoder)
        torch.testing.assert_close(alone, together[i : i + 1])
