"""The encoder of photographs: its linear head is ridge regression, and it needs its network."""

import pytest
import torch
from idinvert.nn.efficientnet import EfficientNetLite0
from idinvert.nn.mobilestylegan import Generator
from idinvert.nn.pooled import NUM_FEATURES, Encoder
from idinvert.nn.reduced import ReducedGenerator
from sklearn.linear_model import Ridge

LAYERS, SIZE = 3, 4


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(64, LAYERS, SIZE, rank=LAYERS * SIZE, hidden=8).eval()


def test_a_head_of_full_rank_is_ridge_regression(encoder):
    features = torch.randn(30, NUM_FEATURES)
    codes = features[:, :12].unflatten(1, (LAYERS, SIZE)) + 0.1 * torch.randn(30, LAYERS, SIZE)
    encoder.w_avg.copy_(codes.mean(0))
    encoder.w_std.copy_(codes.std(0))
    encoder.fit(features, codes, penalty=0.5)
    scaled = ((features - encoder.mean) * encoder.scale).double()
    penalty = 0.5 * scaled.square().sum(1).mean().item()
    targets = ((codes - encoder.w_avg) / encoder.w_std).flatten(1).double()
    ridge = Ridge(penalty).fit(scaled.numpy(), targets.numpy())
    expected = torch.from_numpy(ridge.predict(scaled.numpy())).unflatten(1, (LAYERS, SIZE))
    expected = expected * encoder.w_std + encoder.w_avg
    torch.testing.assert_close(encoder.code(features).double(), expected, rtol=1e-3, atol=1e-3)


def test_without_its_network_it_says_so(encoder):
    with pytest.raises(RuntimeError, match=r"call attach\(network\)"):
        encoder(torch.zeros(1, 3, 64, 64))


def test_its_network_is_no_part_of_its_state_and_gradients_reach_the_image(encoder):
    keys = set(encoder.state_dict())
    encoder.attach(EfficientNetLite0())
    assert set(encoder.state_dict()) == keys
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    encoder(image).sum().backward()
    assert image.grad.abs().sum() > 0


def test_a_reduced_generator_renders_means_of_squares():
    torch.manual_seed(0)
    whole = Generator(32, 8, 8, 128, 8).eval().requires_grad_(False)
    codes = whole.mapping(torch.randn(3, 8))
    reduced = ReducedGenerator(whole, 8)
    expected = torch.nn.functional.avg_pool2d(whole.synthesis(codes), 4)
    torch.testing.assert_close(reduced.synthesis(codes), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(reduced.synthesis(codes), expected, rtol=1e-4, atol=1e-4)
