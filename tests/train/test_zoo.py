"""The list of models: every entry can be built, and a layer-wise child begins as its parent."""

import pytest
import torch
from idinvert import weights
from idinvert.nn import stylegan
from idinvert.train import __main__ as command
from idinvert.train import zoo

ENTRIES = zoo.zoo()


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_names_what_it_needs(name):
    entry = ENTRIES[name]
    order = list(ENTRIES)
    for key in ("parent", "generator", "classifier"):
        if key in entry:
            assert order.index(entry[key]) < order.index(name)
    assert zoo.domain(name) in ("face", "tower", "church", "bedroom")
    if entry["kind"] == "gan":
        generator = weights.build(f"{entry['architecture']}.Generator", entry["settings"])
        assert sum(p.numel() for p in generator.parameters()) < 2e6


def test_widened_generator_renders_what_its_parent_did():
    torch.manual_seed(0)
    size = {"resolution": 8, "channel_base": 64, "channel_max": 8, "z_dim": 6, "w_dim": 5}
    parent = stylegan.Generator(**size)
    torch.nn.init.normal_(parent.mapping.dense[-1].bias)
    child = stylegan.Generator(**size, layerwise=True)
    child.load_state_dict(zoo.widened(parent.state_dict(), child))
    z = torch.randn(3, 6)
    torch.testing.assert_close(child(z), parent(z))
    assert child.mapping.dense[-1].weight.shape[0] == 5 * child.num_layers


def test_unknown_model_names_the_nearest(capsys):
    assert command.main(["face-stylgan"]) == 1
    assert "did you mean face-stylegan" in capsys.readouterr().err


def test_device_that_is_not_there_is_named(capsys):
    for device in ("gpu", "cuda:99"):
        assert command.main(["face-stylegan", "--device", device]) == 1
        assert capsys.readouterr().err == (
            f"idinvert.train: error: The device '{device}' cannot be used here.\n")


def test_list_shows_every_model(capsys):
    assert command.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ENTRIES)


@pytest.fixture
def tiny_zoo(tmp_path, monkeypatch):
    """A zoo of one tiny GAN and its encoder, with registry and runs of their own."""
    settings = {"resolution": 64, "channel_base": 128, "channel_max": 8, "z_dim": 4, "w_dim": 4}
    entries = {
        "tiny": {"kind": "gan", "domain": "face", "architecture": "stylegan",
                 "settings": settings, "recipe": {"batch": 4}, "kimg": 0.016},
        "tiny-conventional": {"kind": "conventional", "generator": "tiny", "recipe": {"batch": 4},
                              "settings": {"channel_base": 4, "channel_max": 4}, "kimg": 0.016},
    }  # fmt: skip
    monkeypatch.setenv("IDINVERT_WEIGHTS", str(tmp_path / "results" / "weights"))
    monkeypatch.setenv("IDINVERT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(zoo, "zoo", lambda: entries)
    monkeypatch.setattr(zoo, "generator_figures", lambda generator, domain: {"kid_x1e3": 1.0})
    test = zoo.data.load("face", "test", 8)
    monkeypatch.setattr(zoo.data, "load", lambda domain, split: test)
    monkeypatch.setattr(zoo.encoder.EncoderTask.__init__, "__defaults__", ("cpu", 2))
    return tmp_path


def test_codes_of_a_new_encoder_are_scaled_as_sampled_ones(tiny_zoo):
    command.main(["tiny"])
    task = zoo.make_task("tiny-conventional")
    sampled = task.generator.mapping(torch.randn(20_000, 4)).std(0)
    torch.testing.assert_close(task.encoder.w_std, sampled, rtol=0.05, atol=1e-3)


def test_a_published_model_is_continued_on_another_machine(tiny_zoo, capsys):
    """Without the run's folder, training goes on from the shipped weights and their kimg."""
    assert command.main(["tiny", "--device", "cpu"]) == 0
    first = weights.load("tiny").state_dict()
    zoo.shutil.rmtree(tiny_zoo / "runs")
    assert command.main(["tiny", "--device", "cpu", "--kimg", "0.02"]) == 0
    card = weights.card("tiny")
    assert card["kimg"] == pytest.approx(0.02)
    moved = [(a - first[k]).abs().max() for k, a in weights.load("tiny").state_dict().items()
             if a.is_floating_point() and k.startswith("layers")]
    assert max(moved) < 0.05  # one step away, not a new network
    log = (tiny_zoo / "results" / "logs" / "tiny.jsonl").read_text().splitlines()
    assert len(log) == 2


def test_published_model_of_that_length_stays_as_it_is(tiny_zoo, capsys):
    """Else its card would name a machine that did not train it."""
    assert command.main(["tiny", "--device", "cpu"]) == 0
    zoo.shutil.rmtree(tiny_zoo / "runs")
    files = [p for p in weights.folder().iterdir() if p.is_file()]
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in files]
    assert command.main(["tiny", "--device", "cpu"]) == 0
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in files] == before
    assert "--kimg above 0.016" in capsys.readouterr().out


def test_encoder_of_the_zoo_is_trained_and_listed(tiny_zoo, capsys):
    assert command.main(["--all", "--device", "cpu"]) == 0
    encoder = weights.load("tiny-conventional")
    images = zoo.data.to_float(zoo.data.load("face", "test").images)
    assert encoder(images).shape == (8, 10, 4)
    capsys.readouterr()
    assert command.main(["--list"]) == 0
    assert "held_out_mse" in capsys.readouterr().out
