"""Encoder training: what learns, what stays frozen, and that a resumed run is the same run."""

import copy

import pytest
import torch
from idinvert import losses
from idinvert.codes import code_statistics, encode, render, sample_codes
from idinvert.data import to_float
from idinvert.metrics import kid
from idinvert.nn import encoder as nets
from idinvert.nn import noise_encoder, pooled, projected, stylegan
from idinvert.nn.vgg import VGG16Features
from idinvert.training import encoder as training
from idinvert.training import steps
from idinvert.training.loop import Schedule, train

SIZE = {"resolution": 8, "channel_base": 64, "channel_max": 8}


class Features(torch.nn.Module):
    """Stands for VGG: one fixed random convolution."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(x)


def make(kind="domain_guided", **recipe):
    torch.manual_seed(1)
    generator = stylegan.Generator(**SIZE, z_dim=6, w_dim=6, layerwise=True)
    encoder = nets.Encoder(8, 6, 4, 8)
    images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)
    settings = {"batch": 8, "learning_rate": 1e-2, "schedule_kimg": 1, "r1_every": 1,
                "vgg_share": 1.0, **recipe}
    recipe = training.Recipe(**settings)
    if kind == "conventional":
        return training.ConventionalTask(encoder, generator, images, recipe, held_out=8)
    extra = stylegan.Discriminator(**SIZE), Features()
    if kind == "noise":
        encoder = noise_encoder.NoiseEncoder(8, 6, 4, 8, noise_blocks=2)
        for layer in generator.layers:
            torch.nn.init.normal_(layer.noise_weight)
    return training.DomainGuidedTask(encoder, generator, *extra, images, recipe, held_out=8)


def in_float32(monkeypatch):
    """Switch bfloat16 off."""
    for module in (training, steps):
        monkeypatch.setattr(module, "autocast", lambda device: torch.autocast("cpu", enabled=False))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))


def test_step_moves_encoder_and_discriminator_and_leaves_the_rest():
    task = make()
    before = {name: copy.deepcopy(getattr(task, name))
              for name in ("encoder", "discriminator", "generator", "features")}
    torch.manual_seed(0)
    figures = task.step(0)
    assert not same(task.encoder, before["encoder"])
    assert not same(task.discriminator, before["discriminator"])
    assert same(task.generator, before["generator"])
    assert same(task.features, before["features"])
    assert set(figures) == {"pixel", "feature", "adversarial", "d_loss", "r1"}


def test_encoder_loss_is_equation_2(monkeypatch):
    """Gradient of a step, in float32, against the equation written out."""
    in_float32(monkeypatch)
    task = make(lambda_vgg=0.5, lambda_adv=0.25)
    real = torch.rand(8, 3, 8, 8) * 2 - 1
    reference = copy.deepcopy(task.encoder)
    monkeypatch.setattr(task.optimizers[0], "step", lambda: None)  # the gradients stay
    task.encoder_step(real, task.features(real))
    fake = task.generator.synthesis(reference(real))
    loss = ((fake - real) ** 2).mean()
    loss = loss + 0.5 * ((task.features(fake) - task.features(real)) ** 2).mean()
    loss = loss + 0.25 * torch.log1p(torch.exp(-task.discriminator(fake))).mean()
    loss.backward()
    expected = [p.grad for p in reference.parameters() if p.grad is not None]
    found = [p.grad for p in task.encoder.parameters() if p.grad is not None]
    assert sum(g.norm() for g in expected) > 1e-3
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_conventional_encoder_learns_codes():
    task = make("conventional", learning_rate=3e-3)
    torch.manual_seed(0)
    first = sum(task.step(i)["code"].item() for i in range(5))
    for i in range(150):
        torch.manual_seed(i)
        task.step(i)
    last = sum(task.step(i)["code"].item() for i in range(5))
    assert last < 0.85 * first


def test_domain_guided_training_lowers_the_held_out_error():
    task = make(learning_rate=5e-3, lambda_vgg=0.0, lambda_adv=0.0, batch=16)
    start = task.evaluate()["held_out_mse"]
    for i in range(60):
        torch.manual_seed(i)
        task.step(i)
    assert task.evaluate()["held_out_mse"] < start


def test_learning_rate_decays_smoothly_by_a_factor_every_quarter():
    task = make(learning_rate=1e-4, schedule_kimg=8, decay=0.8)  # 1,000 steps of 8
    rates = []
    for step in (0, 250, 500, 1000):
        task.schedule(step)
        rates.append(task.optimizers[1].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-4, 0.8e-4, 0.64e-4, 0.4096e-4])


@pytest.mark.parametrize("kind", ["domain_guided", "conventional", "noise"])
def test_resumed_run_is_the_uninterrupted_run(tmp_path, kind):
    whole, first, second = make(kind), make(kind), make(kind)
    assert train(whole, tmp_path / "a", Schedule(0.064, checkpoint_kimg=0.032), progress=False)
    assert train(first, tmp_path / "b", Schedule(0.032, checkpoint_kimg=0.032), progress=False)
    assert train(second, tmp_path / "b", Schedule(0.064, checkpoint_kimg=0.032), progress=False)
    assert same(whole.encoder, second.encoder)
    assert not same(whole.encoder, first.encoder)


def test_perceptual_share_is_an_unbiased_part(monkeypatch):
    """A quarter of the batch is a mean over that quarter, not a quarter of the mean."""
    in_float32(monkeypatch)
    task = make(vgg_share=0.25)
    real = torch.rand(8, 3, 8, 8)
    figures, fake = task.encoder_step(real, task.features_of(real)[1])
    expected = losses.reconstruction_terms(fake[:2], real[:2], task.features)["feature"].mean()
    torch.testing.assert_close(figures["feature"], expected)


def test_projected_discriminator_and_perceptual_term_share_a_pass():
    """One pass through VGG-16 gives what two gave, for a part of the batch."""
    torch.manual_seed(0)
    vgg = VGG16Features().eval()
    judge = projected.Discriminator(16).attach(vgg)
    generator = stylegan.Generator(16, channel_base=64, channel_max=8, z_dim=6, w_dim=6,
                                   layerwise=True)
    images = torch.randint(0, 256, (12, 3, 16, 16), dtype=torch.uint8)
    recipe = training.Recipe(batch=8, schedule_kimg=1)
    task = training.DomainGuidedTask(nets.Encoder(16, 6, 4, 8), generator, judge, vgg, images,
                                     recipe, held_out=4)
    real = torch.rand(8, 3, 16, 16)
    judged, features = task.features_of(real)
    judge.eval()  # spectral norms change with every pass otherwise
    with training.autocast("cpu"):
        torch.testing.assert_close(judge(judged), judge(real[:2]))
        torch.testing.assert_close(features, vgg(real[:2]))
    assert set(task.step(0)) == {"pixel", "feature", "adversarial", "d_loss"}


def test_code_distance_is_one_for_sampled_codes():
    torch.manual_seed(0)
    sampled = torch.randn(1000, 2, 3)
    assert training.code_distance(sampled[500:], sampled) == pytest.approx(1.0)
    assert training.code_distance(sampled[500:] * 10, sampled) > 3


def test_noise_maps_are_trained():
    """Section 6.3: reconstructions come nearer, and only with the predicted maps."""
    task = make("noise", learning_rate=2e-2, lambda_vgg=0.0, lambda_adv=0.0, batch=16)
    start = task.evaluate()["held_out_mse"]
    for i in range(60):
        torch.manual_seed(i)
        task.step(i)
    x, codes, y = task.reconstruct(8)
    with torch.no_grad():
        stored = task.generator.synthesis(codes)
    error, without = (losses.squared_error(x, images).mean().item() for images in (y, stored))
    assert error == pytest.approx(task.evaluate()["held_out_mse"])
    assert error < 0.9 * start and error < 0.9 * without


def test_warm_up_sees_no_real_image():
    """Eq. (1) at first, then Eq. (2) and (3)."""
    task = make(warmup=0.016)  # two steps of 8
    judge = copy.deepcopy(task.discriminator)
    figures = [set(task.step(i)) for i in range(2)]
    assert figures == [{"code"}] * 2 and same(task.discriminator, judge)
    assert "pixel" in task.step(2) and not same(task.discriminator, judge)


def test_a_warm_up_is_a_share():
    """Not thousands of images, of which 20 would leave nothing of the schedule."""
    with pytest.raises(ValueError, match="warmup is 20"):
        training.Recipe(warmup=20)


def test_evaluation_takes_kid_of_reconstructions_on_the_held_out_part():
    task = make()
    task.judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5)).eval()
    figures = task.evaluate()
    assert set(figures) == {"held_out_mse", "code_distance", "held_out_kid_x1e3",
                            "between_kid_x1e3"}  # neither SSIM nor SWD at 8 px
    x, codes, y = task.reconstruct(8)
    others = to_float(task.images[:8])
    halfway = task.generator.synthesis((codes + codes[[7, 0, 1, 2, 3, 4, 5, 6]]) / 2)
    with torch.no_grad():
        for name, images, real in (("held_out", y, x), ("between", halfway, others)):
            expected = 1e3 * kid.mmd2(task.judge(images.clamp(-1, 1)), task.judge(real))
            assert figures[f"{name}_kid_x1e3"] == pytest.approx(expected, rel=1e-3)
    assert task.evaluate() == figures  # whatever the state of the random numbers


def test_a_longer_run_goes_on_with_the_schedule_that_it_began_with(tmp_path):
    """Its learning rate does not jump back up."""
    first, second = make(schedule_kimg=0.04), make(schedule_kimg=0.08)
    assert train(first, tmp_path, Schedule(0.04), progress=False)
    assert train(second, tmp_path, Schedule(0.08), progress=False)
    rate = second.optimizers[0].param_groups[0]["lr"]  # of the tenth step, after nine of five
    assert rate == pytest.approx(1e-2 * 0.8 ** (4 * 9 / 5))


def test_an_encoder_with_a_closed_form_begins_with_eq_1(efficientnet):
    """On samples that it was not fitted to, its codes are nearer than the average code."""
    torch.manual_seed(0)
    generator = stylegan.Generator(resolution=32, z_dim=4, w_dim=4, channel_base=128,
                                   channel_max=16)
    encoder = pooled.Encoder(32, generator.num_layers, 4, rank=8, hidden=8).attach(efficientnet)
    codes = sample_codes(generator, 64, seed=1)
    images = render(generator, codes)
    statistics = code_statistics(generator)
    encoder.w_std.copy_(statistics.std), encoder.w_avg.copy_(statistics.mean)
    training.fit_to_samples(encoder, generator, "cpu", count=200)
    error = losses.squared_error(codes, encode(encoder, images)).mean()
    assert error < 0.5 * losses.squared_error(codes, statistics.mean.expand_as(codes)).mean()


def test_no_more_images_are_taken_at_once_than_in_a_step():
    """Memory that suffices for the steps suffices for the checkpoints."""
    task, counts = make(batch=4), []
    task.judge = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 5)).eval()
    render = task.generator.synthesis

    def counted(codes, *noise):
        counts.append(len(codes))
        return render(codes, *noise)

    task.generator.synthesis = counted
    task.encoder.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    task.evaluate()
    task.sample()
    assert len(counts) > 4 and set(counts) == {4}
