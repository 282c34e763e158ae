"""What inversion promises beyond its loss: networks left as they were, one image never another's
trouble, and every wrong input named in one sentence."""

import copy
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from idinvert.codes import encode, render
from idinvert.inversion import (
    METHODS,
    Image2StyleGAN,
    InDomain,
    Networks,
    PivotalTuning,
    Settings,
    diffuse,
    diffusion,
    in_batches,
    optimise,
    optimiser,
    stitch,
)
from idinvert.inversion.model import Model
from idinvert.nn import encoder as encoders
from idinvert.nn import stylegan, stylegan2
from torch import nn

SIZE, LAYERS, DIM = 8, 4, 6


class Features(nn.Module):
    """Stands for VGG: one fixed random convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    network = stylegan.Generator(SIZE, DIM, DIM, channel_base=64, channel_max=8, layerwise=True)
    network.w_avg.copy_(torch.randn(LAYERS, DIM))
    return network.eval().requires_grad_(False)


@pytest.fixture
def encoder():
    torch.manual_seed(1)
    return encoders.Encoder(SIZE, DIM, 4, 8).eval().requires_grad_(False)


@pytest.fixture
def features():
    torch.manual_seed(2)
    return Features().requires_grad_(False)


@pytest.fixture
def images():
    torch.manual_seed(3)
    return torch.rand(5, 3, SIZE, SIZE) * 2 - 1


@pytest.fixture
def networks(generator, encoder, features):
    return Networks(generator, features, encoder)


@pytest.fixture
def plain(generator, encoder):
    """Without VGG: no perceptual term."""
    return Networks(generator, encoder=encoder)


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_encoding_is_in_eval_mode_and_leaves_the_statistics_alone(encoder, images):
    expected = encoder(images)
    encoder.train()
    before = state(encoder)
    close(encode(encoder, images, batch_size=2), expected)
    assert encoder.training and all(m.training for m in encoder.modules())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert not torch.allclose(encoder(images), expected, atol=1e-3)  # the mode does matter here


def test_networks_are_left_as_they_were(generator, encoder, features, networks, images):
    """Also a network of mixed modes and flags, and after an error."""
    all_three = generator, encoder, features
    encoder.train()
    encoder.norm.eval()
    generator.const.requires_grad_(True)
    before = [state(network) for network in all_three]
    modes = [module.training for n in all_three for module in n.modules()]
    flags = [parameter.requires_grad for n in all_three for parameter in n.parameters()]
    seen = []

    def look(*_):
        seen.append([p.requires_grad for n in all_three for p in n.parameters()]
                    + [module.training for n in all_three for module in n.modules()])

    def interrupt(*_):
        raise KeyboardInterrupt

    InDomain(iterations=2).invert(networks, images, on_step=look)
    with pytest.raises(KeyboardInterrupt):
        InDomain(iterations=2).invert(networks, images, on_step=interrupt)
    assert not any(map(any, seen))
    assert [module.training for n in all_three for module in n.modules()] == modes
    assert [parameter.requires_grad for n in all_three for parameter in n.parameters()] == flags
    assert all(parameter.grad is None for n in all_three for parameter in n.parameters())
    for network, old in zip(all_three, before):
        assert all(torch.equal(value, old[name]) for name, value in network.state_dict().items())


def test_loss_goes_down(generator, networks, images):
    options = {"iterations": 40, "learning_rate": 0.05}
    for result in (
        InDomain(**options).invert(networks, images),
        Image2StyleGAN(**options).invert(networks, images),
        diffuse(networks, images, torch.ones(1, 1, SIZE, SIZE), Settings(**options)),
    ):
        total = result.losses["total"]
        assert total.shape == (5, 40)
        assert (total[:, -1] < 0.9 * total[:, 0]).all()
        assert torch.equal(result.images, render(generator, result.codes))
        assert not result.diverged.any()


def test_losses_are_the_terms_of_equation_4(generator, encoder, features, networks, images):
    start = torch.randn(5, LAYERS, DIM)
    result = optimise(networks, images, start, Settings(iterations=1, lambda_vgg=0.5),
                      lambda_dom=3.0)
    rendered = generator.synthesis(start)
    expected = {
        "pixel": (rendered - images).square().mean((1, 2, 3)),
        "feature": (features(rendered) - features(images)).square().mean((1, 2, 3)),
        "code": (start - encoder(rendered)).square().mean((1, 2)),
    }
    expected["total"] = expected["pixel"] + 0.5 * expected["feature"] + 3 * expected["code"]
    assert set(result.losses) == set(expected)
    for name, value in expected.items():
        close(result.losses[name][:, 0], value)


def test_first_step_of_adam_is_the_learning_rate_against_the_gradient(generator, plain, images):
    start = torch.randn(5, LAYERS, DIM)
    settings = Settings(iterations=1, learning_rate=0.02)
    moved = optimise(plain, images, start, settings).codes - start
    free = start.clone().requires_grad_(True)
    (generator.synthesis(free) - images).square().mean((1, 2, 3)).sum().backward()
    steep = free.grad.abs() > 1e-4
    assert steep.float().mean() > 0.5
    close(moved[steep], -0.02 * free.grad.sign()[steep])


def test_image_that_diverges_keeps_its_start(encoder, plain, images):
    """And its batch mates end where they do without it."""
    settings = Settings(iterations=5, learning_rate=0.05)
    sick = images.clone()
    sick[1, 0, 0, 0] = torch.nan
    start = encode(encoder, images)
    result = optimise(plain, sick, start, settings, lambda_dom=2.0)
    assert result.diverged.tolist() == [False, True, False, False, False]
    assert torch.equal(result.codes[1], start[1])
    assert result.losses["total"][1].isnan().all()
    others = [0, 2, 3, 4]
    alone = optimise(plain, images[others], start[others], settings, lambda_dom=2.0)
    close(result.codes[others], alone.codes, atol=1e-4)
    assert result.images.isfinite().all()


@pytest.mark.parametrize("rate", [float("inf"), 1e30])  # of the latter only the image is not finite
def test_image_that_diverges_in_the_last_step_keeps_its_start(plain, images, rate):
    """The loss of a step is taken before it: only the codes, or their loss after it, tell."""
    start = torch.randn(5, LAYERS, DIM)
    settings = SimpleNamespace(iterations=1, learning_rate=rate, lambda_vgg=0, bf16=False)
    result = optimise(plain, images, start, settings)
    assert result.losses["total"].isfinite().all()
    assert result.diverged.all()
    assert torch.equal(result.codes, start)
    assert torch.equal(result.images, render(plain.generator, start))


def test_encoder_whose_code_is_not_finite_has_diverged(generator, images):
    def encoder(x):
        return x.mean((1, 2, 3))[:, None, None].expand(-1, LAYERS, DIM)

    images[2] = torch.nan
    wrapped = nn.Module()
    wrapped.forward, wrapped.resolution, wrapped.weight = encoder, SIZE, nn.Parameter(torch.ones(1))
    for name in ("domain-guided", "conventional"):
        found = METHODS[name]().invert(Networks(generator, None, wrapped, wrapped), images)
        assert found.diverged.tolist() == [False, False, True, False, False]


def test_no_iterations_give_the_start(generator, encoder, plain, images):
    result = InDomain(iterations=0).invert(plain, images)
    assert torch.equal(result.codes, encode(encoder, images))
    assert torch.equal(result.images, render(generator, result.codes))
    assert result.losses == {}


@pytest.mark.parametrize("iterations", [0, 2])
def test_no_images_give_no_codes(networks, iterations):
    result = InDomain(iterations=iterations).invert(networks, torch.empty(0, 3, SIZE, SIZE))
    assert result.codes.shape == (0, LAYERS, DIM)
    assert result.images.shape == (0, 3, SIZE, SIZE)


def test_image2stylegan_starts_at_the_average_code(generator, plain, images):
    begun = []
    result = Image2StyleGAN(iterations=3).invert(
        plain, images, on_step=lambda i, codes, _: begun.append(codes.clone()) if not i else 0)
    assert torch.equal(torch.cat(begun), generator.w_avg.expand(5, -1, -1))
    assert set(result.losses) == {"pixel", "total"}
    assert (result.codes[:, 0] != result.codes[:, 1]).any()  # W+: every layer on its own


def test_masks_belong_to_their_images_in_every_batch(generator, networks, images):
    """Outside an image's mask its target is of no consequence; inside, it is."""
    masks = torch.zeros(5, 1, SIZE, SIZE)
    for i, mask in enumerate(masks):
        mask[:, i : i + 3, 2:6] = 1
    start = torch.randn(5, LAYERS, DIM)

    def inverted(targets):
        return in_batches(
            lambda target, first, mask, progress: optimise(
                networks, target, first, Settings(iterations=3), mask=mask),
            targets, start, masks, size=2)

    result = inverted(images)
    outside = torch.where(masks == 1, images, -images)
    assert torch.equal(inverted(outside).codes, result.codes)
    inside = torch.where(masks == 1, -images, images)
    moved = inverted(inside).codes - result.codes
    assert (moved.abs().amax((1, 2)) > 1e-3).all()
    rendered = generator.synthesis(start)
    expected = ((rendered - images) * masks).square().mean((1, 2, 3))
    close(result.losses["pixel"][:, 0], expected)


def test_one_mask_serves_all_images(networks, images):
    mask = torch.zeros(1, 1, SIZE, SIZE)
    mask[..., 2:5, 1:7] = 1
    one, each = (diffuse(networks, images, m, Settings(iterations=3), batch=2)
                 for m in (mask, mask.expand(5, -1, -1, -1)))
    assert torch.equal(one.codes, each.codes)
    whole = diffuse(networks, images, torch.ones_like(mask), Settings(iterations=3), batch=2)
    assert not torch.equal(one.codes, whole.codes)


@pytest.mark.parametrize("count", [1, 4])
def test_diffusion_halves_the_batch_where_memory_runs_out(own_registry, count, monkeypatch):
    model = Model("own", "cpu")
    images = model.render(model.sample(4)).clamp(-1, 1)
    mask = (torch.rand(count, 1, *images.shape[2:]) < 0.5).float()
    settings, sizes = Settings(iterations=2, lambda_vgg=0), []
    whole = diffuse(model, images, mask, settings)

    def limited(networks, images, *arguments, **options):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return optimise(networks, images, *arguments, **options)

    monkeypatch.setattr(diffusion, "optimise", limited)
    with pytest.warns(UserWarning, match="going on with a batch of 2 instead of 4"):
        halved = diffuse(model, images, mask, settings)
    assert sizes == [4, 2, 2]
    close(halved.codes, whole.codes)


def test_on_step_sees_codes_and_images_before_every_step(generator, plain, images):
    calls = []
    start = torch.randn(5, LAYERS, DIM)
    optimise(plain, images, start, Settings(iterations=3),
             on_step=lambda i, codes, image: calls.append((i, copy.deepcopy(codes), image)))
    assert [i for i, _, _ in calls] == [0, 1, 2]
    assert torch.equal(calls[0][1], start)
    for _, codes, image in calls:
        assert not codes.requires_grad and not image.requires_grad
        close(image, generator.synthesis(codes))


def test_codes_that_on_step_was_given_stay_as_they_were(plain, images):
    path = []
    start = torch.randn(5, LAYERS, DIM)
    found = optimise(plain, images, start, Settings(iterations=3),
                     on_step=lambda _, codes, __: path.append(codes))
    assert torch.equal(path[0], start)
    lengths = [(after - before).abs().max() for before, after in pairwise([*path, found.codes])]
    assert min(lengths) > 1e-3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", [InDomain(iterations=2),
                                    PivotalTuning(iterations=2, pivot_iterations=2)])
def test_methods_take_what_was_made_without_gradients(networks, images, method, mode):
    with mode():
        found = method.invert(networks, images.clone()).codes
    close(found, method.invert(networks, images).codes)


def test_diffusion_takes_a_mask_that_was_made_in_inference_mode(networks, images):
    with torch.inference_mode():
        stitched, mask = stitch(images, images.flip(0), (1, 2, 5, 6))
        found = diffuse(networks, stitched, mask, Settings(iterations=2))
    expected = diffuse(networks, *stitch(images, images.flip(0), (1, 2, 5, 6)),
                       Settings(iterations=2))
    close(found.codes, expected.codes)


@pytest.mark.parametrize("architecture", [stylegan, stylegan2])
def test_no_step_waits_for_the_device(architecture, encoder, features, monkeypatch):
    """Tensors of the device "meta" have no values, so that a step which asked for one would fail.
    Only once the steps are done is it asked which images diverged."""
    network = architecture.Generator(SIZE, DIM, DIM, channel_base=64, channel_max=8, layerwise=True)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # has no "meta"
    monkeypatch.setattr(optimiser, "result", lambda generator, images, codes, *others: codes)
    networks = Networks(*(part.to("meta") for part in (network.eval(), features, encoder)))
    images = torch.empty(2, 3, SIZE, SIZE, device="meta")
    start = torch.empty(2, LAYERS, DIM, device="meta")
    codes = optimise(networks, images, start, Settings(iterations=3), lambda_dom=2.0)
    assert codes.device.type == "meta"


def test_code_term_off_needs_no_encoder(generator, encoder, images):
    start = encode(encoder, images)
    without = optimise(Networks(generator), images, start, Settings(iterations=3))
    unused = InDomain(iterations=3, lambda_dom=0).invert(Networks(generator, None, encoder), images)
    assert torch.equal(without.codes, unused.codes)
    assert set(without.losses) == {"pixel", "total"}
    with pytest.raises(ValueError, match="lambda_dom of 2 needs an encoder"):
        optimise(Networks(generator), images, start, Settings(iterations=3), lambda_dom=2)


def test_start_is_left_alone(plain, images):
    start = torch.randn(5, LAYERS, DIM)
    before = start.clone()
    optimise(plain, images, start, Settings(iterations=2))
    assert torch.equal(start, before) and not start.requires_grad


def test_bfloat16_changes_codes_little_and_not_their_type(plain, images):
    start = torch.randn(5, LAYERS, DIM)
    exact, rounded = (optimise(plain, images, start, Settings(iterations=3, bf16=b))
                      for b in (False, True))
    assert rounded.codes.dtype == torch.float32
    assert (exact.codes - rounded.codes).abs().mean() < 0.005
    torch.testing.assert_close(rounded.losses["total"], exact.losses["total"], rtol=0.05, atol=0)


@pytest.mark.parametrize("wrong, message", [
    (torch.zeros(2, 3, 16, 16), r"must have shape \[N, 3, 8, 8\], not \[2, 3, 16, 16\]"),
    (torch.zeros(3, 8, 8), r"must have shape \[N, 3, 8, 8\], not \[3, 8, 8\]"),
    (torch.zeros(2, 1, 8, 8), r"not \[2, 1, 8, 8\]"),
    (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"floats in \[-1, 1\], not torch.uint8"),
    (torch.zeros(2, 3, 8, 8, device="meta"), "images (are on meta|must be .* with data)"),
])  # fmt: skip
def test_wrong_images_are_named_in_one_sentence(encoder, plain, wrong, message):
    mask = torch.ones(1, 1, SIZE, SIZE)
    for invert in (
        lambda: encode(encoder, wrong),
        lambda: InDomain().invert(plain, wrong),
        lambda: Image2StyleGAN().invert(plain, wrong),
        lambda: diffuse(plain, wrong, mask),
    ):
        with pytest.raises(ValueError, match=message) as failure:
            invert()
        assert "\n" not in str(failure.value)


def test_codes_and_masks_must_be_as_many_as_images(plain, images):
    """Else the images beyond the shorter of them would be lost."""
    start = torch.randn(5, LAYERS, DIM)
    with pytest.raises(ValueError, match="start has 4 items, but there are 5 images"):
        optimise(plain, images, start[:4], Settings(iterations=1))
    with pytest.raises(ValueError, match="mask has 2 items, but there are 5 images"):
        optimise(plain, images, start, Settings(iterations=1), mask=torch.ones(2, 1, 8, 8))
    with pytest.raises(ValueError, match="mask has 2 items, but there are 5 images"):
        diffuse(plain, images, torch.ones(2, 1, 8, 8), batch=2)
