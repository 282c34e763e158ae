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


def test_list_shows_every_model(capsys):
    assert command.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ENTRIES)
