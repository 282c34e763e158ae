"""Directions without labels: what the styles of some layers answer to most."""

import pytest
import torch
from idinvert import models
from idinvert.boundaries import sefa
from idinvert.cli import main
from idinvert.nn import mobilestylegan, stylegan, stylegan2

SIZES = {"resolution": 16, "z_dim": 6, "w_dim": 6, "channel_base": 128, "channel_max": 16}


@pytest.mark.parametrize("family", [stylegan, stylegan2, mobilestylegan])
def test_no_direction_moves_the_styles_more(family):
    torch.manual_seed(0)
    generator = family.Generator(**SIZES)
    layers = (1, 2)
    styles = torch.cat([part.weight for i in layers
                        for name, part in generator.layers[i].named_modules()
                        if name.endswith("style")]).detach()
    styles = styles / styles.norm(dim=1, keepdim=True)
    found = sefa.directions(generator, layers, 6)
    assert torch.allclose(found @ found.T, torch.eye(6), atol=1e-5)
    moved = (styles @ found.T).norm(dim=0)
    assert (moved[:-1] >= moved[1:]).all()
    others = torch.nn.functional.normalize(torch.randn(500, 6), dim=1)
    assert (styles @ others.T).norm(dim=0).max() <= moved[0] + 1e-5


def test_boundaries_move_their_layers_alone_and_hold_the_average():
    torch.manual_seed(0)
    generator = stylegan.Generator(**SIZES)
    generator.w_avg.normal_()
    for boundary in sefa.fit(generator, (2, 3), 2):
        assert boundary.direction.norm(dim=1).tolist() == pytest.approx([0, 0, 1, 1, 0, 0])
        assert boundary.distance(generator.w_avg[None]).item() == pytest.approx(0, abs=1e-5)


def test_boundaries_are_float32_whichever_type_is_the_default():
    generator = stylegan.Generator(**SIZES)
    torch.set_default_dtype(torch.float64)
    try:
        assert sefa.fit(generator, (2,), 1)[0].normal.dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("layers, count", [((9,), 1), ((-1,), 1), ((), 1), ((0,), 7), ((0,), 0)])
def test_what_there_is_not(layers, count):
    with pytest.raises(ValueError, match="from|within|greater"):
        sefa.directions(stylegan.Generator(**SIZES), layers, count)


def test_command_adds_directions_once(own_registry, capsys):
    command = ["boundaries", "--model", "own", "--unsupervised", "2", "--layers", "1"]
    assert main(command) == 0
    found = models.load_boundaries("own")
    assert list(found) == ["sefa-1", "sefa-2"] and found["sefa-1"].layers == (1,)
    assert main(command) == 1
    assert "own has a boundary 'sefa-1': take --replace." in capsys.readouterr().err
    assert main([*command, "--replace"]) == 0
