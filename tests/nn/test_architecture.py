"""Networks know how they were built; what is registered is found, a plug-in's networks too."""

import copy
import pickle
import subprocess
import sys
import textwrap

import pytest
import torch
from idinvert.nn import backbones, e4e, encoder, noise_encoder, stylegan
from idinvert.nn.architecture import NETWORKS, build, network
from idinvert.registry import RegistryError
from idinvert.settings import SettingsError
from torch import Tensor, nn

# Arguments that differ from every default, for each network of this package.
OTHER = {
    "stylegan.Generator": {"resolution": 16, "z_dim": 6, "w_dim": 5, "channel_base": 64,
                           "channel_max": 8, "mapping_hidden": 7, "layerwise": True, "tanh": True},
    "stylegan.Discriminator": {"resolution": 16, "channel_base": 64, "channel_max": 8},
    "stylegan2.Generator": {"resolution": 16, "z_dim": 6, "w_dim": 5, "channel_base": 64,
                            "channel_max": 8, "mapping_hidden": 7, "layerwise": True,
                            "mapping_depth": 3, "clamp": 9.0},
    "mobilestylegan.Generator": {"resolution": 16, "z_dim": 6, "w_dim": 5, "channel_base": 64,
                                 "channel_max": 8, "layerwise": True},
    "stylegan2.Discriminator": {"resolution": 16, "channel_base": 64, "channel_max": 8,
                                "clamp": 9.0, "minibatch_group": 2},
    "projected.Discriminator": {"resolution": 16, "width": 4},
    "encoder.Encoder": {"resolution": 16, "w_dim": 5, "channel_base": 4, "channel_max": 8},
    "noise_encoder.NoiseEncoder": {"resolution": 16, "w_dim": 5, "channel_base": 4,
                                   "channel_max": 8, "noise_blocks": 2},
    "e4e.OffsetEncoder": {"resolution": 16, "w_dim": 5, "channel_base": 4, "channel_max": 8},
    "backbones.ResNet": {"resolution": 16, "w_dim": 5, "depth": 34, "widths": [4, 4, 4, 8, 8],
                         "head": 8},
    "backbones.MobileNet": {"resolution": 16, "w_dim": 5, "multiplier": 0.1, "head": 8},
    "pooled.Encoder": {"resolution": 16, "num_layers": 3, "w_dim": 5, "rank": 4, "hidden": 8},
    "classifier.Classifier": {"resolution": 16, "attributes": 3, "channels": [4, 8],
                              "dropout": 0.2},
}


def shapes(net):
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def test_every_network_of_the_package_is_tested():
    own = {n for n, kind in NETWORKS.items() if kind.__module__.startswith("idinvert.")}
    assert set(OTHER) == own


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("other", [False, True])
def test_a_network_is_built_again_from_what_it_recorded(name, other):
    with torch.device("meta"):
        net = NETWORKS[name](**OTHER[name] if other else {})
        again = build(net.architecture, net.settings)
    assert net.architecture == name and type(again) is type(net)
    assert again.settings == net.settings and shapes(again) == shapes(net)
    if other:
        assert net.settings == OTHER[name]


@pytest.mark.parametrize("name", OTHER)
def test_settings_are_what_a_constructor_takes_but_for_tensors(name):
    with torch.device("meta"):
        net = build(name, {})
    assert net.settings.keys() == OTHER[name].keys()
    assert net.settings != OTHER[name]


def test_positional_arguments_and_tuples_are_recorded():
    net = backbones.ResNet(16, 5, 18, (4, 4, 4, 8, 8))
    assert net.settings == {"resolution": 16, "w_dim": 5, "depth": 18, "widths": [4, 4, 4, 8, 8],
                            "head": 64}


def test_tensors_are_part_of_the_state_not_of_the_settings():
    average = torch.randn(6, 5)
    with_ = encoder.Encoder(16, 5, 4, 8, w_avg=average, w_std=average + 1)
    assert with_.settings == encoder.Encoder(16, 5, 4, 8).settings == OTHER["encoder.Encoder"]
    again = build(with_.architecture, with_.settings)
    again.load_state_dict(with_.state_dict())
    assert torch.equal(again.w_avg, average)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_knows_it_too(copied):
    net = stylegan.Generator(**OTHER["stylegan.Generator"])
    other = copied(net)
    assert (other.architecture, other.settings) == (net.architecture, net.settings)
    other.settings["resolution"] = 8
    assert net.settings["resolution"] == 16


def test_a_subclass_is_what_it_is_and_an_undecorated_one_is_nothing():
    assert e4e.OffsetEncoder(16, 5).architecture == "e4e.OffsetEncoder"
    assert noise_encoder.NoiseEncoder(16, 5).settings["noise_blocks"] == 1

    class Undecorated(encoder.Encoder):
        pass

    assert not hasattr(Undecorated(16, 5), "architecture")


def test_what_is_unknown_is_named():
    with pytest.raises(RegistryError, match="'backbones.ResNt': did you mean 'backbones.ResNet'"):
        build("backbones.ResNt", {})
    with pytest.raises(SettingsError,
                       match=r"ResNet: unknown setting 'dept': did you mean 'depth'\?"):
        build("backbones.ResNet", {"dept": 18})


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(TypeError, match="'toy.Options' must name all its arguments"):
        @network("toy.Options")
        class Options(nn.Module):
            def __init__(self, **options):
                super().__init__()

    with pytest.raises(RegistryError, match="Two entries are named network 'encoder.Encoder'"):
        @network("encoder.Encoder")
        class Other(nn.Module):
            def __init__(self, width: int = 3):
                super().__init__()

    assert not any(name.startswith("toy.") for name in NETWORKS)


def test_arguments_that_are_no_json_are_named(monkeypatch):
    monkeypatch.setattr(NETWORKS, "entries", dict(NETWORKS.entries))

    @network("toy.Values")
    class Values(nn.Module):
        def __init__(self, numbers, w_avg: Tensor | None = None):
            super().__init__()

    assert Values((1, 2)).settings == {"numbers": [1, 2]}
    with pytest.raises(TypeError, match="'toy.Values' must be numbers, text or lists"):
        Values(torch.zeros(3))


BACKBONE = '''
    """A backbone of one convolution."""

    from idinvert.nn.architecture import network
    from idinvert.nn.encoder import CodeEncoder
    from torch import Tensor, nn


    @network("toys.OneLayer")
    class OneLayer(CodeEncoder):
        def __init__(self, resolution: int = 64, w_dim: int = 64, width: int = 8,
                     w_avg: Tensor | None = None, w_std: Tensor | None = None):
            super().__init__(resolution, w_dim)
            self.stem = nn.Conv2d(3, width, resolution // 4, resolution // 4)
            self.add_head(width, w_avg, w_std)

        def features(self, image: Tensor) -> list[Tensor]:
            return [self.stem(image)]
'''
USED = '''
    import torch
    from idinvert.codes import encode, encode_with_noise
    from idinvert.nn.architecture import NETWORKS, build
    from idinvert.nn.protocols import Encoder, missing

    assert "toys.OneLayer" in NETWORKS and "encoder.Encoder" in NETWORKS
    net = build("toys.OneLayer", {"resolution": 16, "w_dim": 5, "width": 3})
    assert build(net.architecture, net.settings).stem.weight.shape == (3, 3, 4, 4)
    assert missing(net, Encoder) == []
    images = torch.rand(4, 3, 16, 16)
    codes = encode(net, images)
    assert codes.shape == (4, 6, 5)
    assert torch.equal(encode_with_noise(net, images)[0], codes)
'''


def test_a_backbone_is_one_file(tmp_path, monkeypatch):
    """A fresh process: found by its name, built from settings, used as an encoder."""
    (tmp_path / "toys.py").write_text(textwrap.dedent(BACKBONE))
    monkeypatch.setenv("IDINVERT_PLUGINS", "toys")
    monkeypatch.syspath_prepend(tmp_path)
    path = ":".join(p for p in sys.path if p)
    monkeypatch.setenv("PYTHONPATH", path)
    subprocess.run([sys.executable, "-c", textwrap.dedent(USED)], check=True)
