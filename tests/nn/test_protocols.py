"""Every registered network has what the library asks of its kind, in the shapes it asks for."""

import pytest
import torch
from idinvert.nn import efficientnet, inception, protocols, vgg
from idinvert.nn.architecture import NETWORKS
from idinvert.nn.protocols import missing
from torch import nn

SMALL = {"resolution": 16}
CHANNELS = {"channel_base": 128, "channel_max": 16}
# The layers of a code at 16 px
GENERATORS = {"stylegan.Generator": 6, "stylegan2.Generator": 6,
              "mobilestylegan.Generator": 4}
ENCODERS = ["encoder.Encoder", "noise_encoder.NoiseEncoder", "e4e.OffsetEncoder",
            "backbones.ResNet", "backbones.MobileNet"]
DISCRIMINATORS = ["stylegan.Discriminator", "stylegan2.Discriminator", "projected.Discriminator"]
CLASSIFIERS = ["classifier.Classifier"]


def test_every_registered_network_has_a_protocol():
    others = {"pooled.Encoder"}  # takes features of another network: test_pooled.py
    assert set(NETWORKS) == {*GENERATORS, *ENCODERS, *DISCRIMINATORS, *CLASSIFIERS, *others}


@pytest.mark.parametrize(("name", "layers"), GENERATORS.items())
def test_generators(name, layers):
    net = NETWORKS[name](**SMALL, **CHANNELS, w_dim=5, z_dim=7)
    assert missing(net, protocols.Generator) == []
    assert (net.resolution, net.num_layers, net.z_dim, net.w_dim) == (16, layers, 7, 5)
    assert net.w_avg.shape == (layers, 5)
    codes = net.mapping(torch.randn(2, 7))
    assert codes.shape == (2, layers, 5) and net.truncate(codes).shape == codes.shape
    for noise in ("fixed", "random", "none", [None] * layers):
        image = net.synthesis(codes, noise)
        assert image.shape == (2, 3, 16, 16) and image.dtype == torch.float32


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name):
    net = NETWORKS[name](**SMALL, w_dim=5).eval()
    assert missing(net, protocols.Encoder) == []
    assert (net.resolution, net.num_layers, net.w_dim) == (16, 6, 5)
    assert net.w_avg.shape == net.w_std.shape == (6, 5)
    codes, noise = net.with_noise(torch.rand(2, 3, 16, 16))
    assert codes.shape == (2, 6, 5) and (noise == "fixed" or len(noise) == 6)


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators(name):
    projected = name.startswith("projected")
    net = NETWORKS[name](**SMALL, **{} if projected else CHANNELS)
    assert missing(net, protocols.Discriminator) == []
    if projected:
        net.attach(vgg.VGG16Features())
    logits = net(torch.rand(4, 3, 16, 16))
    assert len(logits) == 4 and logits.ndim <= 2 and logits.dtype == torch.float32
    size = net.minibatch_group  # images of another group do not matter
    groups = torch.rand(size, 3, 16, 16), torch.rand(size, 3, 16, 16)
    together = net.eval()(torch.stack(groups, 1).flatten(0, 1))[::2]
    torch.testing.assert_close(together, net(groups[0]), rtol=1e-4, atol=1e-4)


def test_classifier():
    net = NETWORKS[CLASSIFIERS[0]](**SMALL, attributes=3)
    assert missing(net, protocols.Classifier) == []
    assert net.attributes == 3 and net(torch.rand(2, 3, 16, 16)).shape == (2, 3)


@pytest.mark.parametrize("kind", [vgg.VGG16Features, efficientnet.EfficientNetLite0,
                                  inception.InceptionV3])
def test_feature_networks(kind):
    with torch.device("meta"):
        net = kind().eval()
        assert missing(net, protocols.FeatureNetwork) == []
        assert len(net(torch.empty(2, 3, 32, 24))) == 2


def test_what_is_missing_is_named():
    assert missing(nn.Identity(), protocols.FeatureNetwork) == []
    generator = NETWORKS["stylegan.Generator"](**SMALL, **CHANNELS)
    lacks = missing(generator, protocols.Encoder)
    assert lacks == ["w_std", "with_noise"]
    assert missing(nn.Identity(), protocols.Classifier) == ["resolution", "attributes"]
