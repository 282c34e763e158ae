"""Codes: sampled, encoded, rendered, edited."""

import pytest
import torch
from idinvert.boundaries import Boundary
from idinvert.codes import (
    check_pair,
    code_statistics,
    encode,
    frozen,
    interpolate,
    manipulate,
    mix,
    render,
    sample_codes,
)
from idinvert.inversion import stitch
from idinvert.nn.encoder import Encoder
from idinvert.nn.stylegan import Generator


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return Generator(16, z_dim=6, w_dim=5, channel_base=64, channel_max=8, layerwise=True)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(16, w_dim=5, channel_base=4, channel_max=8)


def test_the_seed_alone_chooses_codes(generator):
    codes = sample_codes(generator, 10, seed=3)
    assert codes.shape == (10, 6, 5) and not codes.requires_grad
    torch.testing.assert_close(sample_codes(generator, 10, seed=3, batch=4), codes)
    assert not torch.allclose(sample_codes(generator, 10, seed=4), codes)


def test_statistics_are_those_of_sampled_codes(generator):
    codes = sample_codes(generator, 500, seed=2)
    found = code_statistics(generator, 500, seed=2)
    torch.testing.assert_close(found.mean, codes.sum(0) / 500)
    torch.testing.assert_close(found.std, ((codes - found.mean).square().sum(0) / 499).sqrt())
    mean, std = code_statistics(generator)
    torch.testing.assert_close(mean, sample_codes(generator, 10_000).mean(0))
    assert ((found.mean - mean).abs() < 5 * std / 500**0.5).all()


def test_batches_change_nothing(generator, encoder):
    codes = sample_codes(generator, 5)
    images = render(generator, codes)
    torch.testing.assert_close(render(generator, codes, batch_size=2), images)
    torch.testing.assert_close(encode(encoder, images, batch_size=2), encode(encoder, images))


def test_encoding_is_in_eval_mode_and_leaves_no_trace(encoder):
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    images = torch.rand(3, 3, 16, 16)
    found = encode(encoder.train(), images)
    assert encoder.training and encoder.stem.conv.weight.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    torch.testing.assert_close(found, encode(encoder.eval(), images))


def test_what_is_frozen_is_as_before_afterwards(encoder):
    encoder.train().stem.eval()
    encoder.fc.requires_grad_(False)
    with pytest.raises(KeyError), frozen([encoder]):
        assert not any(module.training for module in encoder.modules())
        assert not any(p.requires_grad for p in encoder.parameters())
        raise KeyError
    assert encoder.training and not encoder.stem.training
    assert encoder.stem.conv.weight.requires_grad and not encoder.fc.weight.requires_grad


def test_images_that_do_not_fit_are_named(encoder):
    with pytest.raises(ValueError, match=r"shape \[N, 3, 16, 16\], not \[2, 3, 8, 8\]"):
        encode(encoder, torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match="floats in .-1, 1., not torch.uint8"):
        encode(encoder, torch.zeros(2, 3, 16, 16, dtype=torch.uint8))


def boundary(space="whole", layers=(0, 1, 2)):
    normal = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    normal /= normal.norm() if space == "whole" else normal.norm(dim=1, keepdim=True)
    return Boundary("age", normal, 0.3, layers, space=space)


def test_alpha_is_the_distance_moved():
    codes, b = torch.randn(5, 3, 4), boundary()
    for alpha in (-3, 0.0, 1.5):
        moved = b.distance(manipulate(codes, b.direction, alpha)) - b.distance(codes)
        torch.testing.assert_close(moved, torch.full((5,), float(alpha)), atol=1e-5, rtol=0)


def test_each_code_can_have_its_own_alpha():
    codes, b, alpha = torch.randn(3, 3, 4), boundary(), torch.tensor([1.0, -2.0, 0.5])
    pairs = zip(codes, alpha, strict=True)
    each = torch.cat([manipulate(c[None], b.direction, float(a)) for c, a in pairs])
    torch.testing.assert_close(manipulate(codes, b.direction, alpha), each)
    to_the_boundary = manipulate(codes, b.direction, -b.distance(codes))
    torch.testing.assert_close(b.distance(to_the_boundary), torch.zeros(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("space", ["whole", "layer"])
def test_only_the_layers_of_the_boundary_move(space):
    codes, b = torch.randn(5, 3, 4), boundary(space, layers=(1,))
    moved = manipulate(codes, b.direction, 2.0) - codes
    assert (moved[:, [0, 2]] == 0).all()
    torch.testing.assert_close(moved[:, 1], 2 * b.normal[1].expand(5, -1))


def test_there_and_back_again():
    codes, b = torch.randn(5, 3, 4), boundary()
    there = manipulate(codes, b.direction, 2.0)
    torch.testing.assert_close(manipulate(there, b.direction, -2.0), codes)


def test_manipulation_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"\[N, 3, 4\] as the direction is, not \[5, 14, 512\]"):
        manipulate(torch.zeros(5, 14, 512), boundary().direction, 1.0)
    with pytest.raises(ValueError, match=r"a number or \[5\], not \[4\]"):
        manipulate(torch.zeros(5, 3, 4), boundary().direction, torch.ones(4))
    with pytest.raises(ValueError, match="must be floats, not torch.int64"):  # 0.5 would be 0
        manipulate(torch.zeros(5, 3, 4, dtype=torch.int64), boundary().direction, 0.5)
    for alpha in (float("nan"), float("inf"), torch.tensor(1j)):
        with pytest.raises(ValueError, match="^alpha is .*, but should be a finite number"):
            manipulate(torch.zeros(5, 3, 4), boundary().direction, alpha)


def test_inner_steps_are_evenly_spaced():
    a, b = torch.zeros(2, 3, 4), torch.ones(2, 3, 4)
    between = interpolate(a, b)
    assert between.shape == (2, 5, 3, 4)
    torch.testing.assert_close(between[0, :, 0, 0], torch.arange(1, 6) / 6)
    torch.testing.assert_close(interpolate(a, b, 1)[:, 0], (a + b) / 2)


def test_ends_are_exact():
    a, b = torch.randn(2, 2, 3, 4)
    path = interpolate(a, b, 7, ends=True)
    assert path.shape == (2, 7, 3, 4)
    assert torch.equal(path[:, 0], a) and torch.equal(path[:, -1], b)
    torch.testing.assert_close(path[:, 1:-1], interpolate(a, b, 5))
    torch.testing.assert_close(path.flip(1), interpolate(b, a, 7, ends=True))


def test_mixing_takes_layers_of_the_style():
    content, style = torch.randn(2, 2, 3, 4)
    mixed = mix(content, style, range(1, 3))
    assert torch.equal(mixed[:, 0], content[:, 0]) and torch.equal(mixed[:, 1:], style[:, 1:])
    assert torch.equal(mix(content, style, []), content)
    with pytest.raises(IndexError, match=r"\[3\] are not all within 0..2"):
        mix(content, style, [3])
    with pytest.raises(IndexError, match="not all within"):
        mix(content, style, ["fine"])


def test_pairs_must_be_alike():
    a = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match=r"not \[2, 3, 4\] and \[1, 3, 4\]"):
        interpolate(a, a[:1])
    with pytest.raises(ValueError, match=r"not \[3, 4\] and \[3, 4\]"):
        mix(a[0], a[0], [0])
    with pytest.raises(ValueError, match="at least 2 steps, not 1"):
        interpolate(a, a, 1, ends=True)
    with pytest.raises(ValueError, match="alike, on one device, not torch.float32 on cpu"):
        mix(a, a.double(), [0])
    with pytest.raises(ValueError, match="alike, on one device, not torch.float32 on cpu"):
        check_pair(a, a.to("meta"))
    with pytest.raises(ValueError, match="style must be a dense tensor with data"):
        mix(a, a.to("meta"), [0])
    with pytest.raises(ValueError, match="an instance of Tensor"):
        mix(a, a.numpy(), [0])


def test_stitch_takes_the_box_from_the_target():
    target, context = torch.ones(1, 3, 4, 6), -torch.ones(1, 3, 4, 6)
    stitched, mask = stitch(target, context, (1, 0, 3, 2))
    assert mask.sum() == 4
    assert (stitched[0, 0] == 1).nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    for box in ((2, 0, 2, 2), (0, 0, 7, 2), (-1, 0, 2, 2)):
        with pytest.raises(ValueError, match="not within an image of 6 x 4 px"):
            stitch(target, context, box)
    assert len(stitch(target, context.expand(3, 3, 4, 6), (1, 0, 3, 2))[0]) == 3
    with pytest.raises(ValueError, match="as many targets as contexts, or one"):
        stitch(target.expand(2, 3, 4, 6), context.expand(3, 3, 4, 6), (1, 0, 3, 2))
