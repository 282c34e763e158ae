"""GAN training of tiny networks: exact continuation, growth, averages, style mixing."""

import copy
import functools
import json

import pytest
import torch
from idinvert import losses
from idinvert.nn import projected, stylegan, stylegan2
from idinvert.nn.vgg import VGG16Features
from idinvert.settings import SettingsError
from idinvert.training.gan import GanTask, Recipe, interpolate
from idinvert.training.loop import Schedule, train

SIZES = {"channel_base": 32, "channel_max": 4}
GROWTH = ((0.008, 1), (0.024, 0))


def gan(module=stylegan, width=4, projecting=False, **recipe):
    torch.manual_seed(0)
    sizes = SIZES | {"channel_max": width}
    generator = module.Generator(16, z_dim=4, w_dim=4, **sizes)
    discriminator = module.Discriminator(16, **sizes)
    if projecting:
        discriminator = projected.Discriminator(16, width=4).attach(VGG16Features())
    images = torch.randint(256, (12, 3, 16, 16), dtype=torch.uint8)
    settings = {"batch": 4, "r1_every": 3, "ema_kimg": 0.01} | recipe
    teacher = None
    if "teacher_kimg" in recipe:
        teacher = stylegan.Generator(16, z_dim=4, w_dim=4, **SIZES).requires_grad_(False)
    return GanTask(generator, discriminator, images, Recipe(**settings), teacher=teacher)


def log(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    clock = ("seconds", "images_per_second")
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


def run(task, folder, kimg=0.04, minutes=100):
    """Ten steps of four images, a log line every other step, a checkpoint every four."""
    schedule = Schedule(kimg, tick_kimg=0.008, checkpoint_kimg=0.016, minutes=minutes)
    return train(task, folder, schedule, progress=False)


@pytest.mark.parametrize("module, projecting, name", [
    (stylegan2, False, "stylegan2.Generator"), (stylegan, True, "projected.Discriminator")])
def test_growing_what_does_not_grow_is_refused(module, projecting, name):
    with pytest.raises(ValueError, match=f"{name} does not grow: leave growth out"):
        gan(module, projecting=projecting, growth=GROWTH)


def test_growth_from_images_smaller_than_any_network_has_is_refused():
    size = gan(stylegan).generator.resolution
    deepest = (size // 4).bit_length() - 1
    gan(stylegan, growth=((0, deepest), (1, 0)))
    with pytest.raises(ValueError, match=f"{size} px have levels of detail up to {deepest}"):
        gan(stylegan, growth=((0, deepest + 0.5), (1, 0)))


@pytest.mark.parametrize("knots", [(), ((5, 1), (0, 0)), ((float("nan"), 1),), ((-1, 1),)])
@pytest.mark.parametrize("setting", ["growth", "r1_gamma"])
def test_knots_are_in_order(setting, knots):
    with pytest.raises(SettingsError, match=setting):
        Recipe(**{setting: knots})


@pytest.mark.parametrize("weight", [-1, "x", float("inf"), ((1, -1),), ((5, 1), (0, 0))])
def test_a_wrong_weight_is_told_without_names_of_types(weight):
    with pytest.raises(SettingsError, match=r"^Recipe: r1_gamma is .*, but should be a number from "
                                            "0, or pairs of thousand images"):
        Recipe(r1_gamma=weight)


@pytest.mark.parametrize(
    "module, recipe",
    [(stylegan, {"growth": GROWTH}), (stylegan2, {}), (stylegan2, {"projecting": True}),
     (stylegan2, {"teacher_kimg": 0.02})],
    ids=["1", "2", "projected", "taught"],
)
def test_interrupted_run_is_bit_identical(tmp_path, module, recipe):
    whole = gan(module, **recipe)
    assert run(whole, tmp_path / "whole")
    assert not run(gan(module, **recipe), tmp_path / "parts", minutes=0)  # one step
    run(gan(module, **recipe), tmp_path / "parts", kimg=0.024)  # to the end of a tick
    parts = gan(module, **recipe)
    assert run(parts, tmp_path / "parts")
    for network in ("generator", "discriminator", "average"):
        states = [getattr(task, network).state_dict() for task in (whole, parts)]
        assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    figures = {"d_loss", "g_loss", "lod"} | (set() if "projecting" in recipe else {"r1"})
    assert figures <= set().union(*log(tmp_path / "whole"))


def test_other_architecture_is_refused(tmp_path):
    run(gan(), tmp_path, minutes=0)
    with pytest.raises(ValueError, match=r"'generator\.const' has shape \[1, 4, 4, 4\] there"):
        run(gan(width=8), tmp_path)


@pytest.mark.parametrize("projecting", [False, True])
def test_a_taught_generator_renders_more_and_more_like_its_teacher(projecting):
    """Codes, discriminator and teacher stay as they are meanwhile; then the usual steps follow."""
    task = gan(stylegan2, projecting=projecting, teacher_kimg=0.32, learning_rate=1e-2)
    kept = [copy.deepcopy(network.state_dict()) for network in
            (task.generator.mapping, task.discriminator, task.teacher)]
    codes = task.generator.mapping(torch.randn(16, 4)).detach()

    def distance():
        with torch.no_grad():
            images = [network.synthesis(codes) for network in (task.generator, task.teacher)]
        return losses.squared_error(*images).mean().item()

    before = distance()
    names = [set(task.step(step)) for step in range(80)]
    assert distance() < 0.5 * before and set.union(*names) == {"imitation", "lod"}
    for network, state in zip((task.generator.mapping, task.discriminator, task.teacher), kept):
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert {"d_loss", "g_loss", "imitation"} <= set(task.step(80))


def test_the_teacher_goes_on_beside_the_adversarial_loss():
    """Images stay nearer to the teacher's, the more so the more its weight."""
    distances = []
    for weight in (0.0, 100.0):
        task = gan(stylegan2, teacher_kimg=0.0, teacher_weight=weight, learning_rate=1e-2)
        torch.manual_seed(0)
        distances.append([task.step(step)["imitation"].item() for step in range(50)])
    assert distances[0][0] == distances[1][0] and distances[1][-1] < 0.7 * distances[0][-1]


def test_a_recipe_that_begins_with_a_teacher_needs_one():
    task = gan(stylegan2)
    with pytest.raises(ValueError, match="0.02 thousand images of a teacher, but there is none"):
        GanTask(task.generator, task.discriminator, task.images, Recipe(teacher_kimg=0.02))


def test_a_projected_discriminator_has_no_penalty():
    assert "r1" in gan(stylegan2).step(0)
    assert "r1" not in gan(stylegan2, projecting=True).step(0)


def test_adam_is_corrected_for_lazy_penalties_only_where_there_are_any():
    """StyleGAN2, appendix B: with a penalty in every third step, to the power of 3 / 4."""
    for projecting, share in ((False, 0.75), (True, 1.0)):
        task = gan(stylegan2, projecting=projecting, learning_rate=4e-3, discriminator_rate=0.5)
        generator, discriminator = (optimizer.param_groups for optimizer in task.optimizers)
        assert [group["lr"] for group in generator] == [4e-3, 4e-3]
        (group,) = discriminator
        assert group["lr"] == pytest.approx(2e-3 * share)
        assert group["betas"] == (0.0, pytest.approx(0.99**share))


def test_the_discriminator_learns_from_the_images_that_judged_the_generator():
    """The features of a batch are taken once, and give what the images would."""
    task = gan(stylegan2, projecting=True)
    counts, features = [], task.discriminator.features
    task.discriminator.features = lambda x: counts.append(len(x)) or features(x)
    figures = task.step(1)
    assert counts == [4, 4]  # the sampled images, then the real ones
    assert {"g_loss", "d_loss", "d_real", "d_fake"} <= set(figures)


def test_real_and_painted_images_are_augmented_alike():
    """Each has its own grey square of half its width, wherever that lies."""
    task, seen = gan(stylegan2, projecting=True, augment=True), []
    features = task.discriminator.features
    task.discriminator.features = lambda x: seen.append(x.detach()) or features(x)
    task.step(1)
    hidden = [(images == 0).all(1) for images in seen]
    assert len(hidden) == 2 and all((h.float().mean((1, 2)) >= 1 / 16).all() for h in hidden)
    assert not torch.equal(*hidden)


def test_level_of_detail_is_linear_between_knots():
    growth = ((10, 2), (20, 1), (30, 1), (40, 0))
    found = [interpolate(growth, kimg) for kimg in (0, 10, 15, 20, 25, 30, 37.5, 40, 99)]
    assert found == [2, 2, 1.5, 1, 1, 1, 0.25, 0, 0]
    assert interpolate(((0, 0),), 5) == 0


def test_real_images_follow_the_level_of_detail():
    task = gan()
    task.images = torch.randint(256, (1, 3, 16, 16), dtype=torch.uint8).expand(4, -1, -1, -1)
    flat = [torch.nn.functional.avg_pool2d(task.images[:1] / 127.5 - 1, s) for s in (1, 2)]
    flat = [torch.cat([x, x.flip(3)]) for x in flat]
    for lod, expected in ((0, flat[0]), (1, flat[1])):
        for image in task.real(lod):
            assert min((image - e).abs().max() for e in expected) < 1e-5
    assert task.real(0.5).shape == (4, 3, 16, 16) and task.real(1.5).shape == (4, 3, 8, 8)
    doubled = stylegan.upsample(flat[1])
    for image in task.real(0.25):
        blended = 0.75 * flat[0] + 0.25 * doubled
        assert min((image - e).abs().max() for e in blended) < 1e-5


@pytest.mark.parametrize("step, half_life", [(9, 2.0), (999, 10.0)])
def test_average_of_weights(step, half_life):
    """Half-life 0.05 of all images, at most 10 images; batch 4: weight 0.5^(4 / half-life)."""
    task = gan()
    name, new = next(iter(task.generator.named_parameters()))
    old = task.average.get_parameter(name).clone()
    with torch.no_grad():
        new += torch.randn_like(new)
        task.generator.w_avg += 3
    task.update_average(step)
    kept = 0.5 ** (4 / half_life)
    expected = kept * old + (1 - kept) * new.detach()
    assert torch.allclose(task.average.get_parameter(name), expected, atol=1e-6)
    assert torch.equal(task.average.w_avg, task.generator.w_avg)


def mixed_codes(probability):
    torch.manual_seed(1)
    return gan(batch=64, style_mixing=probability).codes().detach()


@pytest.mark.parametrize(
    "module, name", [(stylegan, "noise_weight"), (stylegan2, "noise_strength")], ids=["1", "2"]
)
def test_noise_inputs_stay_within_their_limit(module, name):
    tasks = [gan(module, noise_limit=limit, learning_rate=0.1) for limit in (None, 0.01)]
    for task in tasks:
        task.step(1)
    free, limited = ([getattr(layer, name).abs().max().item() for layer in task.generator.layers]
                     for task in tasks)
    assert min(free) > 0.05 and max(limited) == pytest.approx(0.01)


def test_noise_inputs_of_the_average_are_limited_at_once():
    """Else a run that goes on from free ones would publish their grain for some half-lives."""
    task = gan(noise_limit=0.01, ema_kimg=1000)
    for network in (task.generator, task.average):
        for layer in network.layers:
            torch.nn.init.ones_(layer.noise_weight)
    task.step(1)
    assert all(layer.noise_weight.abs().max() <= 0.01 for layer in task.average.layers)


def test_style_mixing_switches_the_code_once():
    """Of a shared mapping network: a row is constant, or one code and then another."""
    plain, mixed = mixed_codes(0.0), mixed_codes(1.0)
    assert torch.equal(plain, plain[:, :1].expand_as(plain))
    switches = (mixed[:, 1:] != mixed[:, :-1]).any(2)
    assert (switches.sum(1) == 1).all()
    assert switches.any(0).all()  # at each layer but the first, in one row or another
    share = (mixed_codes(0.5)[:, 0] != mixed_codes(0.5)[:, -1]).any(1).float().mean()
    assert 0.25 < share < 0.75


def test_average_code_follows_the_mapping_network():
    task = gan(batch=64, w_avg_beta=0.9)
    for _ in range(60):
        task.codes()
    mean = task.generator.mapping(torch.randn(4096, 4)).mean(0)
    assert torch.allclose(task.generator.w_avg, mean, atol=0.1)


def test_generator_step_leaves_the_discriminator_alone():
    task = gan()
    before = {k: v.clone() for k, v in task.discriminator.state_dict().items()}
    start = task.generator.const.clone()
    task.generator_step(task.render(task.codes(), 0), 0)
    assert all(torch.equal(v, before[k]) for k, v in task.discriminator.state_dict().items())
    assert all(p.requires_grad for p in task.discriminator.parameters())
    assert not torch.equal(task.generator.const, start)


def test_samples_are_the_same_each_time():
    task = gan()
    sheet = task.sample()
    assert sheet.shape == (3, 128, 128) and torch.equal(sheet, task.sample())


def test_weight_of_the_penalty_follows_its_knots():
    task = gan(r1_gamma=((0.04, 1.0), (0.08, 3.0)))  # batch 4: steps 10 and 20
    assert [task.r1_gamma(i) for i in (0, 10, 15, 40)] == pytest.approx([1, 1, 2, 3])
    assert gan(r1_gamma=0.5).r1_gamma(7) == 0.5


def test_compiled_steps_are_the_same_steps(monkeypatch):
    """Through the tracer of torch.compile, though not its code generator, which needs a GPU's."""
    plain = gan(growth=GROWTH)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    traced = gan(growth=GROWTH, compile=True)
    for i in (0, 3, 6):  # half the resolution, fading, full
        for task in (plain, traced):
            torch.manual_seed(i)
            task.step(i)
    for key, value in plain.generator.state_dict().items():
        torch.testing.assert_close(traced.generator.state_dict()[key], value, rtol=0, atol=1e-6)
    assert set(plain.state_dict()) == set(traced.state_dict())


def test_mapping_network_learns_at_its_own_rate():
    """The first step of Adam moves every weight by its learning rate."""
    steps = {}
    for rate in (1.0, 10.0):
        task = gan(mapping_rate=rate, learning_rate=1e-4)
        before = task.generator.mapping.dense[0].weight.clone(), task.generator.const.clone()
        torch.manual_seed(0)
        task.generator_step(task.render(task.codes(), 0.0), 0.0)
        after = task.generator.mapping.dense[0].weight, task.generator.const
        steps[rate] = [(a - b).abs().median().item() for a, b in zip(after, before)]
    assert steps[10.0][0] == pytest.approx(10 * steps[1.0][0], rel=0.01)
    assert steps[10.0][1] == pytest.approx(steps[1.0][1], rel=0.01)
