"""Encoders besides the base one: backbones, noise maps, one code with offsets."""

import pytest
import torch
from idinvert.codes import encode_with_noise, render, render_with_noise
from idinvert.nn import backbones, e4e, encoder, noise_encoder, stylegan
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

SMALL = {"resolution": 16, "w_dim": 4}
WIDTHS = (4, 4, 4, 8, 8)
BACKBONES = {
    "resnet18": lambda **k: backbones.ResNet(depth=18, **k),
    "resnet34": lambda **k: backbones.ResNet(depth=34, **k),
    "resnet50": lambda **k: backbones.ResNet(depth=50, widths=(24, 24, 40, 56, 64), **k),
    "mobilenet": backbones.MobileNet,
}


@pytest.fixture
def images():
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def products(network):
    """Products per image of 64 px, in millions."""
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        network(torch.empty(2, 3, 64, 64))
    return counter.get_total_flops() / 4e6


def weighted(network):
    """Weighted layers as the names count them: no shortcuts, no 1x1 convolution before the head."""
    left_out = {m for n, part in network.named_modules() if n.endswith("shortcut") or n == "neck"
                for m in part.modules()}
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return len([m for m in layers if m not in left_out])


@pytest.mark.parametrize("name, layers", [("resnet18", 18), ("resnet34", 34), ("resnet50", 50)])
def test_number_of_weighted_layers(name, layers):
    with torch.device("meta"):
        assert weighted(BACKBONES[name]()) == layers


def test_mobilenet_has_the_published_blocks():
    """17 bottlenecks, of which 10 have a skip connection, as in torchvision's MobileNetV2."""
    with torch.device("meta"):
        blocks = backbones.MobileNet().blocks
    assert len(blocks) == 17
    assert sum(b.skips for b in blocks) == 10


@pytest.mark.parametrize("name", BACKBONES)
def test_last_layer_is_that_of_the_base_encoder(name):
    with torch.device("meta"):
        base, other = encoder.Encoder(), BACKBONES[name]()
    assert other.fc.weight.shape == base.fc.weight.shape
    assert {k for k in base.state_dict() if "." not in k or k.startswith(("fc.", "norm."))} <= set(
        other.state_dict())


def test_costs_relate_as_the_seconds_of_table_3():
    """0.0042 s for the base encoder, 0.0045, 0.0068 and 0.0081 for the ResNets."""
    with torch.device("meta"):
        cost = {name: products(make()) for name, make in BACKBONES.items()}
        base = products(encoder.Encoder())
    for name, seconds in {"resnet18": 0.0045, "resnet34": 0.0068, "resnet50": 0.0081}.items():
        assert cost[name] / base == pytest.approx(seconds / 0.0042, rel=0.2)
    assert cost["mobilenet"] < 0.5 * base  # fewer products, yet no fewer seconds


@pytest.mark.parametrize("resolution", [8, 32, 64, 128])
@pytest.mark.parametrize("make", [
    lambda **k: backbones.ResNet(depth=18, widths=WIDTHS, **k),
    lambda **k: backbones.ResNet(depth=50, widths=WIDTHS, **k),
    lambda **k: backbones.MobileNet(multiplier=0.1, **k),
])  # fmt: skip
def test_backbones_take_any_resolution(resolution, make):
    network = make(resolution=resolution, w_dim=4, head=8)
    assert network.features(torch.zeros(2, 3, resolution, resolution))[-1].shape == (2, 8, 4, 4)
    codes = network(torch.randn(2, 3, resolution, resolution))
    assert codes.shape == (2, network.num_layers, 4)
    codes.square().sum().backward()
    reached = [p.grad is not None for p in network.parameters() if p.requires_grad]
    assert all(reached)


def test_backbone_codes_have_average_and_spread():
    torch.manual_seed(0)
    average, std = torch.randn(6, 4), torch.rand(6, 4) + 0.5
    network = backbones.ResNet(**SMALL, widths=WIDTHS, w_avg=average, w_std=std).train()
    codes = network(torch.randn(64, 3, 16, 16))
    torch.testing.assert_close(codes.mean(0), average, rtol=0, atol=1e-4)
    torch.testing.assert_close(codes.std(0, correction=0), std, rtol=1e-2, atol=1e-3)


def test_unknown_depth():
    with pytest.raises(ValueError, match="18, 34 or 50, not 101"):
        backbones.ResNet(depth=101)


def noisy(blocks, **options):
    torch.manual_seed(0)
    return noise_encoder.NoiseEncoder(**SMALL, channel_base=4, channel_max=8, noise_blocks=blocks,
                                      **options).eval()


def generator(module=stylegan, noise=1.0):
    torch.manual_seed(3)
    network = module.Generator(16, z_dim=4, w_dim=4, channel_base=64, channel_max=8)
    for layer in network.layers:
        nn.init.normal_(layer.noise_weight, std=noise)
    return network.requires_grad_(False)


def test_maps_are_those_of_the_first_blocks(images):
    """B-k: the maps of 4 px for k = 1, of 4 and 8 px for k = 2 and so on, two layers a block."""
    for blocks in range(4):
        codes, noise = noisy(blocks).with_noise(images)
        assert codes.shape == (4, 6, 4) and len(noise) == 6
        shapes = [None if m is None else tuple(m.shape) for m in noise]
        assert shapes == [(4, 1, 4 << (i // 2), 4 << (i // 2)) if i < 2 * blocks else None
                          for i in range(6)]


def test_number_of_noise_values_at_256_px():
    """Section 6.3: 181,920 numbers describe an image, of which 14 x 512 are the code."""
    with torch.device("meta"):
        network = noise_encoder.NoiseEncoder(256, 512, noise_blocks=7, channel_base=4,
                                             channel_max=4)
        codes, noise = network.with_noise(torch.empty(2, 3, 256, 256))
    assert codes[0].numel() + sum(m[0].numel() for m in noise) == 181_920


def test_without_blocks_it_is_the_base_encoder(images):
    network = noisy(0)
    base = encoder.Encoder(**SMALL, channel_base=4, channel_max=8).eval()
    base.load_state_dict({k: v for k, v in network.state_dict().items() if k != "map_scale"})
    (codes, noise), g = network.with_noise(images), generator()
    assert torch.equal(codes, base(images))
    assert torch.equal(g.synthesis(codes, noise), g.synthesis(base(images), "fixed"))


def test_codes_do_not_depend_on_the_noise_blocks(images):
    few, many = noisy(1), noisy(3)
    own = few.state_dict()
    few.load_state_dict({k: own[k] if k == "map_scale" else many.state_dict()[k] for k in own})
    torch.testing.assert_close(few(images), many(images))
    assert torch.equal(few.with_noise(images)[0], few(images))


def test_image_gradient_reaches_every_noise_convolution(images):
    network, g = noisy(3), generator()
    codes, noise = network.with_noise(images)
    g.synthesis(codes.detach(), noise).square().mean().backward()
    for conv in network.to_noise:
        assert (conv.weight.grad.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize("weight", [1e-4, 1.0])
def test_scaled_maps_have_their_effect_whatever_the_weights(images, weight):
    """A generator that has learned to ignore its noise reads scaled maps as any other does."""
    g = generator(noise=weight)
    for layer, scale in zip(g.layers, noise_encoder.map_scales(g)):
        moved = layer.noise_weight * scale  # by a map of 1
        assert moved.square().mean().sqrt() == pytest.approx(noise_encoder.EFFECT, rel=1e-4)
    scales = noise_encoder.map_scales(g)[:4]
    plain, scaled = noisy(2), noisy(2, map_scale=scales)
    for own, other, scale in zip(scaled.with_noise(images)[1], plain.with_noise(images)[1], scales):
        torch.testing.assert_close(own, other * scale)


def test_reconstruction_with_noise_does_not_depend_on_the_batch(images):
    network, g = noisy(3), generator()
    codes, noise = encode_with_noise(network, images)
    whole = render_with_noise(g, codes, noise)
    codes, noise = encode_with_noise(network, images, batch_size=3)
    torch.testing.assert_close(render_with_noise(g, codes, noise, 3), whole, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(render(g, codes), whole)


def test_encoder_without_maps_renders_stored_noise(images):
    codes, noise = encode_with_noise(encoder.Encoder(**SMALL, channel_base=4), images)
    assert noise == "fixed" and codes.shape == (4, 6, 4)


@pytest.mark.parametrize("blocks", [-1, 4])
def test_too_many_blocks(blocks):
    with pytest.raises(ValueError, match="at most 3 at 16 px"):
        noisy(blocks)


def offset_encoder(**options):
    torch.manual_seed(0)
    return e4e.OffsetEncoder(**SMALL, channel_base=4, channel_max=8, **options)


def test_rows_are_equal_before_activation(images):
    network = offset_encoder()
    nn.init.normal_(network.gain)
    codes = network(images)
    assert torch.equal(codes, codes[:, :1].expand_as(codes))
    assert codes.std(0).min() > 0.1


def test_offsets_come_into_use_one_by_one(images):
    network = offset_encoder()
    nn.init.normal_(network.gain)
    for used in range(6):
        network.active.fill_(used)
        differs = (network.offsets(network(images)) != 0).any(2).any(0)
        assert differs.tolist() == [i < used for i in range(5)]


def test_activation_does_not_change_codes(images):
    network = offset_encoder()
    before = network(images)
    network.active.fill_(5)
    assert torch.equal(network(images), before)
    network(images)[:, 3].sum().backward()
    moved = network.gain.grad.abs().sum(1)
    assert moved[2] > 0 and moved[[0, 1, 3, 4]].sum() == 0


def test_offset_encoder_keeps_average_and_spread_of_each_layer(images):
    average, std = torch.randn(6, 4), torch.rand(6, 4) + 0.5
    network = offset_encoder(w_avg=average, w_std=std)
    codes = network(images)
    shared = (codes - average) / std
    torch.testing.assert_close(shared, shared[:, :1].expand_as(shared), atol=1e-5, rtol=1e-4)


def test_latent_discriminator_learns_a_toy_separation():
    """Layer 0 is normal, layer 1 has mean 2; encoded codes have the two exchanged."""
    torch.manual_seed(0)
    judge = e4e.LatentDiscriminator(torch.zeros(2, 3), torch.ones(2, 3), hidden=16, depth=2)
    adam = torch.optim.Adam(judge.parameters(), 1e-2)
    shift = torch.tensor([0.0, 2.0]).reshape(1, 2, 1)

    def draw(count=256):
        x = torch.randn(count, 2, 3)
        return x + shift, x + shift.flip(1)

    for _ in range(60):
        real, fake = draw()
        loss = nn.functional.softplus(judge(fake)).mean() + nn.functional.softplus(
            -judge(real)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    real, fake = draw()
    right = torch.cat([judge(real) > 0, judge(fake) < 0]).float().mean()
    assert right > 0.85  # 0.96 at best; 0.5 without knowing the layer


def test_latent_discriminator_judges_layers_alone():
    torch.manual_seed(0)
    judge = e4e.LatentDiscriminator(torch.randn(4, 3), torch.rand(4, 3) + 1, hidden=8)
    codes = torch.randn(5, 4, 3)
    torch.testing.assert_close(judge(codes[:, :2]), judge(codes)[:, :2])
    changed = codes.clone()
    changed[:, 3] += 1
    torch.testing.assert_close(judge(changed)[:, :3], judge(codes)[:, :3])


def test_pool_exchanges_and_loses_nothing():
    """What goes in comes out once or is still there, and about half of it comes later."""
    torch.manual_seed(0)
    pool, out, late = e4e.CodePool(10, 1, 1), [], 0
    pool.exchange(torch.arange(10.0).reshape(10, 1, 1))
    for start in range(10, 410, 4):
        new = set(range(start, start + 4))
        given = pool.exchange(torch.arange(start, start + 4.0).reshape(4, 1, 1))
        given = given.flatten().int().tolist()
        late += len(set(given) - new)
        out += given
    assert sorted(out + pool.codes.flatten().int().tolist()) == list(range(410))
    assert 140 < late < 260
