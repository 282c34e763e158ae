"""The list of models: every entry can be built, and a layer-wise child begins as its parent."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from idinvert import data, models
from idinvert.boundaries import Boundary, svm
from idinvert.cli import main
from idinvert.cli import train as train_command
from idinvert.models import pretrained
from idinvert.models.sources import SOURCES
from idinvert.nn import projected, stylegan, stylegan2
from idinvert.nn.architecture import build
from idinvert.nn.protocols import Generator
from idinvert.processes import Share
from idinvert.settings import SettingsError
from idinvert.training import discriminators, encoder, entries, gan, runs, zoo
from idinvert.training.boundaries import BoundariesEntry
from idinvert.training.entries import TASKS, Entry, task
from idinvert.training.train import begin

ENTRIES = zoo.entries()


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_names_what_it_needs(name):
    entry = ENTRIES[name]
    order = list(ENTRIES)
    for needed in {*entry.needs().values(), *filter(None, [entry.relative_to])} - {*SOURCES}:
        assert order.index(needed) < order.index(name)
    assert entry.domain in data.DOMAINS or entry.generator in SOURCES
    if entry.kind == "gan":
        generator = build(entry.architecture, entry.settings)
        assert sum(p.numel() for p in generator.parameters()) < 2e6


def test_a_gpu_replaces_settings_and_keeps_the_others():
    cpu, gpu = (zoo.entry("face-stylegan-layerwise", device) for device in ("cpu", "cuda"))
    assert (cpu.recipe.batch, gpu.recipe.batch) == (16, 128)
    assert cpu.recipe.noise_limit == gpu.recipe.noise_limit == 0.002
    assert gpu.settings == cpu.settings


TINY = {"resolution": 64, "channel_base": 128, "channel_max": 8, "z_dim": 4, "w_dim": 4}
GAN = {"kind": "gan", "domain": "face", "architecture": "stylegan.Generator",
       "discriminator": "stylegan.Discriminator", "settings": TINY, "recipe": {"batch": 4},
       "kimg": 0.016}


@pytest.mark.parametrize("change, message", [
    ({"kind": "gna"}, "zoo.yml, tiny: unknown kind 'gna': did you mean 'gan'?"),
    ({"domian": "face"}, "zoo.yml, tiny: unknown setting 'domian': did you mean 'domain'?"),
    ({"recipe": {"bach": 4}},
     "zoo.yml, tiny: unknown setting 'recipe.bach': did you mean 'batch'?"),
    ({"recipe": {"batch": 0}},
     "zoo.yml, tiny: recipe.batch is 0, but should be greater than or equal to 1."),
    ({"kimg": -1}, "zoo.yml, tiny: kimg is -1, but should be greater than or equal to 0."),
    ({"architecture": "stylgan.Generator"},
     "zoo.yml, tiny: Unknown network 'stylgan.Generator': did you mean 'stylegan.Generator'"),
    ({"settings": TINY | {"layer_wise": True}},
     "zoo.yml, tiny: stylegan.Generator has no setting 'layer_wise': did you mean 'layerwise'?"),
    ({"settings": TINY | {"resolution": "16"}},
     "zoo.yml, tiny: stylegan.Generator: resolution is '16', but should be a valid integer."),
    ({"settings": TINY | {"layerwise": 1}},
     "zoo.yml, tiny: stylegan.Generator: layerwise is 1, but should be a valid boolean."),
    ({"settings": TINY | {"channel_base": 16}},
     "zoo.yml, tiny: channel_base is 16, which leaves the layers of 64 px without channels"),
])  # fmt: skip
def test_an_entry_is_checked_when_it_is_read(change, message):
    with pytest.raises(SettingsError) as error:
        zoo.parse({"tiny": GAN | change})
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("listed", [None, [1], {"gpu": 3}])
def test_an_entry_is_a_list_of_settings(listed):
    with pytest.raises(SettingsError, match="zoo.yml, tiny should be a list of settings, not"):
        zoo.parse({"tiny": listed})


@pytest.mark.parametrize("settings", [{"z_dim": 0}, {"z_dim": 4.5}, {"resolution": 16.0}], ids=str)
def test_settings_that_fit_no_network_are_told(settings):
    with pytest.raises(ValueError, match="A stylegan2.Generator of this size cannot be trained: "):
        entries.untrained("stylegan2.Generator", settings, Generator)


def test_a_network_of_another_role_is_told():
    entry = zoo.parse({"tiny": GAN | {"architecture": "projected.Discriminator",
                                      "settings": {"resolution": 16}}})["tiny"]
    with pytest.raises(ValueError, match="projected.Discriminator is no generator"):
        entry.make_task()


def test_a_task_is_one_registered_class():
    """What a plug-in decorates is read from the list like the others."""
    @task("toy")
    class ToyEntry(Entry):
        colour: str = "red"

    try:
        entry = zoo.parse({"one": {"kind": "toy", "kimg": 2, "colour": "blue"}})["one"]
        assert (type(entry), entry.colour, entry.kind) == (ToyEntry, "blue", "toy")
        with pytest.raises(SettingsError, match="one: unknown setting 'color': .* 'colour'"):
            zoo.parse({"one": {"kind": "toy", "kimg": 2, "color": "blue"}})
    finally:
        del TASKS.entries["toy"]


def test_the_part_for_a_gpu_is_checked_too():
    listed = {"tiny": GAN | {"gpu": {"recipe": {"compil": True}}}}
    with pytest.raises(SettingsError, match="tiny: unknown setting 'recipe.compil'.*'compile'"):
        zoo.parse(listed, gpu=True)


def test_average_code_is_that_of_sampled_codes():
    """Eq. (6): w_avg is E[M(z)] with `average`, and zero without; the spread is the same."""
    torch.manual_seed(0)
    generator = stylegan.Generator(8, z_dim=6, w_dim=5, channel_base=32, layerwise=True)
    torch.nn.init.normal_(generator.mapping.dense[-1].bias, std=50)
    settings = {"channel_base": 4, "channel_max": 4}
    without = encoder.new_encoder(generator, settings=settings)
    network = encoder.new_encoder(generator, settings=settings, average=True)
    sampled = generator.mapping(torch.randn(20_000, 6)).detach()
    torch.testing.assert_close(network.w_avg, sampled.mean(0), rtol=0.05, atol=0.02)
    assert without.w_avg.abs().max() == 0 and torch.equal(without.w_std, network.w_std)


def test_noise_encoder_begins_as_its_parent():
    torch.manual_seed(0)
    generator = stylegan.Generator(8, z_dim=6, w_dim=5, channel_base=32)
    settings = {"channel_base": 4, "channel_max": 4}
    parent = encoder.new_encoder(generator, settings=settings)
    child = encoder.new_encoder(generator, "noise_encoder.NoiseEncoder",
                                settings | {"noise_blocks": 2}, parent=parent)
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(child.eval()(x), parent.eval()(x), rtol=1e-2, atol=1e-2)


def test_noise_encoder_needs_two_maps_in_every_block():
    generator = stylegan2.Generator(8, z_dim=6, w_dim=5, channel_base=32)
    with pytest.raises(ValueError, match="two for each block.* takes 3 maps"):
        encoder.new_encoder(generator, "noise_encoder.NoiseEncoder")


def test_curve_has_the_last_evaluation_and_a_bounded_length(own_folders):
    folder = runs.run_folder("any")
    folder.mkdir(parents=True)
    lines = [{"step": i, "kimg": i, "seconds": i, "held_out_mse": 1 / i} for i in range(1, 201)]
    ticks = [{"step": 1, "kimg": 1, "seconds": 1, "images_per_second": 5.0}]
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(x)}\n" for x in ticks + lines))
    curve = runs.curve("any")
    assert len(curve) <= 50 and curve[-1] == {"kimg": 200, "held_out_mse": 1 / 200}
    assert [x["kimg"] for x in curve] == sorted(x["kimg"] for x in curve)


def test_unknown_model_names_the_nearest(capsys):
    assert main(["train", "face-stylgan"]) == 1
    assert "did you mean 'face-stylegan" in capsys.readouterr().err


def test_device_that_is_not_there_is_named(capsys):
    for device in ("gpu", "cuda:99"):
        assert main(["train", "face-stylegan", "--device", device]) == 1
        assert capsys.readouterr().err == (
            f"idinvert train: error: The device '{device}' cannot be used here.\n")


def test_list_shows_every_model(capsys):
    assert main(["train", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ENTRIES)


class Features(torch.nn.Module):
    """Stands for VGG and for the features of KID: a few fixed random numbers of an image."""

    def __init__(self, device="cpu"):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 4, 4)

    def forward(self, x):
        return self.conv(x).flatten(1)

    def layers(self, x, numbers):
        """Random features of the shapes of VGG's."""
        pooled = [torch.nn.functional.avg_pool2d(x, 1 << i) for i in range(len(numbers))]
        return [y.mean(1, keepdim=True).expand(-1, 64 << i, -1, -1) for i, y in enumerate(pooled)]


@pytest.fixture
def own_folders(tmp_path, monkeypatch):
    """Registry and runs of their own, 24 test images, and networks of features that are there."""
    monkeypatch.setenv("IDINVERT_MODELS", str(tmp_path / "results" / "weights"))
    monkeypatch.setenv("IDINVERT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(gan, "generator_figures", lambda generator, domain: {"kid_x1e3": 1.0})
    for load in ("load_vgg16", "load_efficientnet_lite0"):
        monkeypatch.setattr(pretrained, load, Features)
    monkeypatch.setattr(encoder, "HELD_OUT", 2)
    return tmp_path


@pytest.fixture
def tiny_zoo(own_folders, monkeypatch):
    """A list of one tiny GAN and its encoder, to which tests add, and the folder of its models."""
    listed = {"tiny": GAN,
              "tiny-conventional": {"kind": "conventional", "generator": "tiny",
                                    "recipe": {"batch": 4}, "kimg": 0.016,
                                    "settings": {"channel_base": 4, "channel_max": 4}}}
    monkeypatch.setattr(zoo, "read_entries", lambda gpu: zoo.parse(listed, gpu))
    test = data.load("face", "test", 16)
    monkeypatch.setattr(data, "load", lambda domain, split: test)
    return SimpleNamespace(folder=own_folders, listed=listed)


def test_codes_of_a_new_encoder_are_scaled_as_sampled_ones(tiny_zoo):
    main(["train", "tiny"])
    task = zoo.entry("tiny-conventional").make_task()
    sampled = task.generator.mapping(torch.randn(20_000, 4)).std(0)
    torch.testing.assert_close(task.encoder.w_std, sampled, rtol=0.05, atol=1e-3)


def test_a_published_model_is_continued_on_another_machine(tiny_zoo, capsys):
    """Without the run's folder, training goes on from the shipped weights and their kimg."""
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    first = models.load("tiny").state_dict()
    shutil.rmtree(tiny_zoo.folder / "runs")
    assert main(["train", "tiny", "--device", "cpu", "--kimg", "0.02"]) == 0
    card = models.card("tiny")
    assert card["kimg"] == pytest.approx(0.02)
    moved = [(a - first[k]).abs().max() for k, a in models.load("tiny").state_dict().items()
             if a.is_floating_point() and k.startswith("layers")]
    assert max(moved) < 0.05  # one step away, not a new network
    log = (tiny_zoo.folder / "results" / "logs" / "tiny.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    assert [line["step"] for line in lines if "g_loss" in line] == [1, 2, 3, 4, 5]
    assert {line["step"]: line["kid_x1e3"] for line in lines if "kid_x1e3" in line} == {4: 1, 5: 1}
    assert card["evaluation"] == {"kid_x1e3": 1}


def test_a_published_gan_is_continued_with_more_channels(tiny_zoo):
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    shutil.rmtree(tiny_zoo.folder / "runs")
    parents = models.load("tiny"), models.load("tiny-d")
    tiny_zoo.listed["tiny"] = GAN | {"settings": TINY | {"channel_base": 256}}
    task = zoo.entry("tiny").make_task()
    assert begin(zoo.entry("tiny"), task) == (4, models.card("tiny")["seconds"])
    assert task.generator.layers[-1].bias.shape[0] == 2 * parents[0].layers[-1].bias.shape[0]
    code = models.load("tiny").mapping(torch.randn(2, 4))
    with torch.no_grad():
        image, before = (g.synthesis(code) for g in (task.average, parents[0]))
        scores = task.discriminator(before), parents[1](before)
    assert (image - before).square().mean() < 0.01 * before.var()
    torch.testing.assert_close(*scores, rtol=0.1, atol=0.1)
    assert torch.equal(image, task.generator.eval().synthesis(code))


def test_a_generator_of_one_code_takes_no_step_and_no_space(tiny_zoo):
    """It is its layer-wise parent but for its mapping network, whose last layer is the mean."""
    tiny_zoo.listed["each"] = GAN | {"settings": TINY | {"layerwise": True}}
    tiny_zoo.listed["one"] = GAN | {"parent": "each", "relative_to": "each", "kimg": 0}
    assert main(["train", "each", "one", "--device", "cpu"]) == 0
    each, one = models.load("each"), models.load("one")
    last = [network.mapping.dense[-1].weight for network in (each, one)]
    mean = last[0].unflatten(0, (-1, 4)).mean(0)
    assert (last[1] - mean).abs().max() <= mean.abs().max() / 254 * 1.01
    assert all(torch.equal(value, each.state_dict()[key]) for key, value in one.state_dict().items()
               if not key.startswith("mapping") and key != "w_avg")
    assert (models.card("one")["kimg"], models.card("one")["relative_to"]["name"]) == (0, "each")
    judges = [discriminators.discriminator_of(name).state_dict() for name in ("each", "one")]
    assert all(torch.equal(value, judges[0][key]) for key, value in judges[1].items())
    assert main(["train", "one", "--device", "cpu", "--kimg", "0.008"]) == 0  # and goes on
    assert models.card("one")["kimg"] == pytest.approx(0.008)


def test_a_pupil_has_the_codes_of_its_teacher(tiny_zoo):
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    tiny_zoo.listed["pupil"] = GAN | {
        "architecture": "stylegan2.Generator", "discriminator": "stylegan2.Discriminator",
        "teacher": "tiny"}
    task = zoo.entry("pupil").make_task()
    z = torch.randn(2, 4)
    torch.testing.assert_close(task.generator.mapping(z), models.load("tiny").mapping(z))
    assert main(["train", "pupil", "--device", "cpu"]) == 0
    codes = [models.load(name).mapping(z) for name in ("pupil", "tiny")]
    torch.testing.assert_close(*codes, rtol=1e-3, atol=1e-4)
    assert models.card("pupil")["teacher"] == "tiny"


def test_a_discriminator_of_another_kind_begins_anew(tiny_zoo):
    """The generator goes on; its card then says by which kind it is judged."""
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    shutil.rmtree(tiny_zoo.folder / "runs")
    tiny_zoo.listed["tiny"] = GAN | {"discriminator": "projected.Discriminator"}
    task = zoo.entry("tiny").make_task()
    begin(zoo.entry("tiny"), task)
    assert isinstance(task.discriminator, projected.Discriminator)
    assert torch.equal(task.generator.const, models.load("tiny").const)
    assert main(["train", "tiny", "--device", "cpu", "--kimg", "0.02"]) == 0
    assert models.card("tiny")["discriminator"] == "projected.Discriminator"
    assert models.card("tiny")["kimg"] == 0.02
    again = discriminators.discriminator_of("tiny")
    assert again(torch.rand(2, 3, 64, 64)).shape == (2, 75)


def test_several_processes_train_what_they_can_share(tiny_zoo):
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    tiny_zoo.listed["tiny"] = GAN | {"recipe": {"batch": 8}}
    second = Share(1, 2)
    task = zoo.entry("tiny").make_task(share=second)
    assert task.batch == 8 and len(task.real(0.0)) == 4
    assert len(zoo.entry("tiny-conventional").make_task(share=second).sampled_codes()) == 2


def test_published_model_of_that_length_stays_as_it_is(tiny_zoo, capsys):
    """Else its card would name a machine that did not train it."""
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    shutil.rmtree(tiny_zoo.folder / "runs")
    files = [p for p in models.folder().iterdir() if p.is_file()]
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in files]
    assert main(["train", "tiny", "--device", "cpu"]) == 0
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in files] == before
    assert "--kimg above 0.016" in capsys.readouterr().out


def test_a_repetition_keeps_only_its_log(tiny_zoo, capsys):
    """With a seed of its own, under a name of its own; the models stay as they are."""
    assert main(["train", "--all", "--device", "cpu"]) == 0
    before = {p: p.read_bytes() for p in models.folder().iterdir() if p.is_file()}
    name = "tiny-conventional"
    for seed in (0, 1):
        assert main(["train", name, "--seed", str(seed), "--device", "cpu"]) == 0
    assert f"{name}, seed 1" in capsys.readouterr().out
    assert {p: p.read_bytes() for p in models.folder().iterdir() if p.is_file()} == before
    one, same, other = ([{**json.loads(line), "seconds": 0, "images_per_second": 0}
                         for line in runs.kept_log(run).read_text().splitlines()]
                        for run in (name, f"{name}-seed0", f"{name}-seed1"))
    assert one == same != other


def test_encoder_of_the_zoo_is_trained_and_listed(tiny_zoo, capsys):
    assert main(["train", "--all", "--device", "cpu"]) == 0
    encoder = models.load("tiny-conventional")
    images = data.to_float(data.load("face", "test").images)
    assert encoder(images).shape == (16, 10, 4)
    capsys.readouterr()
    assert main(["train", "--list"]) == 0
    assert "held_out_mse" in capsys.readouterr().out


@pytest.mark.parametrize("content", [
    "{", '{"architecture": "stylegan.Generator", "settings": {}, "sha256": "0", "kind": "gan"}',
    '{"sha256": "0", "kind": "gan", "kimg": 1, "evaluation": {"fd": null, "kid": "0.1"}}',
    '{"sha256": "0", "kind": "gan", "evaluation": {"\\u001b[2J": 1, "fd": 1' + "0" * 400 + "}}",
    '{"sha256": "0", "kind": "gan", "evaluation": {"\\u001b[2J": 1}}'])
def test_a_damaged_card_hides_no_other_model_of_the_list(tiny_zoo, capsys, content):
    models.folder().mkdir(parents=True)
    (models.folder() / "tiny.json").write_text(content)
    (models.folder() / "tiny.safetensors").write_bytes(b"")
    assert main(["train", "--list"]) == 0
    damaged, sound = capsys.readouterr().out.splitlines()
    assert "\x1b" not in damaged
    assert damaged.startswith("tiny ") and ("tiny.json is no card" in damaged) == (content == "{")
    assert sound == f"{'tiny-conventional':40} not trained"


def test_all_goes_on_with_what_was_stopped_before_its_end(tiny_zoo, capsys):
    """Though it is published. One that came without its run is complete as it is."""
    assert main(["train", "--all", "--device", "cpu", "--budget-minutes", "1e-9"]) == 130
    assert models.card("tiny")["kimg"] == 0.004 and not models.exists("tiny-conventional")
    assert main(["train", "--all", "--device", "cpu"]) == 0
    assert models.card("tiny")["kimg"] == models.card("tiny-conventional")["kimg"] == 0.016
    tiny_zoo.listed["tiny"] = GAN | {"kimg": 0.02}
    shutil.rmtree(tiny_zoo.folder / "runs")
    assert main(["train", "--all", "--device", "cpu"]) == 0
    assert models.card("tiny")["kimg"] == 0.016


def test_a_budget_is_that_of_all_models(tiny_zoo, capsys, monkeypatch):
    """Half a minute each, of which the second model gets what the first one has left."""
    clock = iter(range(0, 1000, 30))
    monkeypatch.setattr(train_command.time, "monotonic", lambda: next(clock))
    budgets = []

    def trained(entry, kimg, seed, budget, share):
        budgets.append(budget.budget_minutes)
        return budget.budget_minutes != 1e-9

    monkeypatch.setattr(train_command, "train_one", trained)
    assert main(["train", *["tiny"] * 5, "--budget-minutes", "2", "--device", "cpu"]) == 130
    assert budgets == [1.5, 1.0, 0.5, 1e-9]
    assert "stopped; the same command continues" in capsys.readouterr().err
    assert main(["train", "tiny", "tiny", "--device", "cpu"]) == 0
    assert budgets[4:] == [None, None]


def test_boundaries_have_neither_length_nor_seed(tiny_zoo, capsys, monkeypatch):
    """With a length they are fitted as without; with a seed none are, which would replace them."""
    tiny_zoo.listed["tiny-boundaries"] = {"kind": "boundaries", "generator": "tiny",
                                          "classifier": "judge"}
    fitted = []
    monkeypatch.setattr(BoundariesEntry, "fit", lambda entry, device: fitted.append(entry.name))
    assert main(["train", "tiny-boundaries", "--kimg", "5", "--device", "cpu"]) == 0
    assert main(["train", "tiny-boundaries", "--seed", "1", "--device", "cpu"]) == 1
    assert "tiny-boundaries are boundaries, which are fitted to the same" in capsys.readouterr().err
    assert fitted == ["tiny-boundaries"]


def shrunk(entry):
    """An entry with the same networks at 16 px, as narrow as they can be, trained for two steps."""
    small = {"resolution": 16, "channel_base": 64, "channel_max": 8, "z_dim": 4, "w_dim": 4,
             "multiplier": 0.1, "widths": (4, 4, 4, 4, 8), "head": 4}
    if entry.kind == "boundaries":
        return dataclasses.replace(entry, recipe=type(entry.recipe)(samples=100, share=0.2))
    wanted, changes = set(entry.settings), {"batch": 4}
    if "backbones" in entry.architecture:
        wanted.add("head")
    if "ResNet" in entry.architecture:
        wanted.add("widths")
    if entry.kind == "classifier":
        wanted, changes = {"resolution"}, changes | {"holdout": 4}
    if entry.kind == "e4e":
        changes |= {"offsets_from": 0.0, "offsets_every": 0.5}
    settings = entry.settings | {name: small[name] for name in small if name in wanted}
    if "noise_blocks" in settings:
        settings["noise_blocks"] = min(settings["noise_blocks"], 3)
    return dataclasses.replace(entry, settings=settings, kimg=0.008,
                               recipe=dataclasses.replace(entry.recipe, **changes))


def test_every_model_is_trained_by_one_command(own_folders, monkeypatch, capsys):
    """In the order of the list, at a tiny size, and loaded again from what was published."""
    # models of photographs have a generator of 1024 px: nn/test_pooled, boundaries/test_regression
    tiny = {name: shrunk(entry) for name, entry in ENTRIES.items()
            if getattr(entry, "generator", None) != "ffhq"}
    load = data.load

    def images(domain, split):
        whole = load(domain, "test", 24)
        small = torch.nn.functional.avg_pool2d(whole.images.float(), 4).to(torch.uint8)
        return dataclasses.replace(whole, images=small)

    monkeypatch.setattr(data, "load", images)
    monkeypatch.setattr(zoo, "read_entries", lambda gpu: tiny)
    # what classifiers of two steps say of images is all but constant
    monkeypatch.setattr(svm, "score", lambda g, judge, codes, progress: codes.flatten(1))
    assert main(["train", "--all", "--device", "cpu"]) == 0, capsys.readouterr().err
    assert all(models.exists(name) for name in tiny)
    own = Boundary("own", torch.ones(6, 4), 0.0, (0,))
    models.save_boundaries("face-stylegan", [own], add=True)
    before = models.load_boundaries("face-stylegan")
    assert main(["train", "face-stylegan-boundaries", "--device", "cpu"]) == 0  # fitted anew
    assert list(models.load_boundaries("face-stylegan")) == list(before)  # somebody else's stay
    x = torch.rand(2, 3, 16, 16)
    for name, entry in tiny.items():
        if entry.kind in ("domain_guided", "conventional", "e4e"):
            network, card = models.load(name), models.card(name)
            assert network(x).shape == (2, 6, 4)
            assert card["curve"][-1]["held_out_mse"] == card["evaluation"]["held_out_mse"]
            assert "held_out_kid_x1e3" in card["evaluation"]
            assert network.w_avg.abs().max() == 0 or card["average"]
