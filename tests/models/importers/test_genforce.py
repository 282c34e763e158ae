"""The published checkpoints: what we compute from them equals what the published code computes.

`parity/genforce.npz` holds outputs of the published PyTorch inference code for small networks
whose tensors are drawn by `draw` (images: every third row and column); `parity/genforce.json`
holds their keys and shapes.
"""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from idinvert.inversion import InDomain, Networks, Settings, diffuse
from idinvert.models.importers import File, genforce
from idinvert.models.importing import importer_of
from idinvert.nn.vgg import VGG16Features

FOLDER = Path(__file__).parents[2] / "parity"
PARITY = np.load(FOLDER / "genforce.npz")
SHAPES = json.loads((FOLDER / "genforce.json").read_text())
NETWORKS = {"layerwise": "G.", "shared": "Gw."}


def draw(key, shape, scale):
    rng = np.random.default_rng([zlib.crc32(key.encode()), int(PARITY["seed"])])
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)


def weight(prefix, key, shape):
    """A weight of two or more dimensions: He's scale, or that of a layer scaled at run time."""
    fan_in = np.prod(shape[:3] if shape[:2] == [3, 3] else shape[1:])
    scales = {"mapping.": 100, "style_mod.dense.fc.": 0.5, ".fc.": 0.1}
    plain = next((s for part, s in scales.items() if part in key), None)
    return draw(prefix + key, shape, np.sqrt(2 / fan_in) if plain is None else plain)


def published(prefix, key, shape):
    """One tensor of the published networks, by the rules the parity vectors were made with."""
    if key.endswith(("num_batches_tracked", "lod")):
        return np.zeros(shape)
    if key.endswith("blur.kernel"):
        return np.broadcast_to(np.outer([1, 2, 1], [1, 2, 1]) / 16, shape)
    if key == "truncation.truncation":
        return np.where(np.arange(shape[1]) < 8, 0.7, 1.0).reshape(shape)
    if key.endswith("running_var"):
        return np.abs(draw(prefix + key, shape, 0.5)) + 0.5
    if key.endswith(".bn.weight"):
        return 1 + draw(prefix + key, shape, 0.1)
    if len(shape) > 1 and key.endswith("weight"):
        return weight(prefix, key, shape)
    return draw(prefix + key, shape, 10 if key.startswith("mapping.") else 0.1)


def state(name, prefix):
    """State dict of a small network as the published code would save it."""
    return {
        key: torch.tensor(np.asarray(published(prefix, key, shape), dtype=np.float32))
        for key, shape in SHAPES[name].items()
    }


def distance(found, key):
    return np.abs(found.numpy() - PARITY[key]).max()


@pytest.fixture(scope="module", params=NETWORKS)
def read(request):
    name = request.param
    return name, genforce.generator(state(f"generator_{name}", NETWORKS[name]))


@pytest.fixture(scope="module")
def images():
    return torch.from_numpy(draw("input.x", (2, 3, 128, 128), 0.5).clip(-1, 1))


@torch.no_grad()
def test_generator_equals_the_published_code(read):
    name, network = read
    w = network.mapping(torch.from_numpy(draw("input.z", (2, 32), 1)))
    codes = w.flatten(1) if name == "layerwise" else w[:, 0]
    assert distance(codes, f"{name}.w") < 1e-5
    wp = network.truncate(w)
    assert distance(wp, f"{name}.wp") < 1e-5
    image = network.synthesis(wp)
    assert image.shape == (2, 3, 128, 128)
    assert distance(image[:, :, ::3, ::3], f"{name}.image") < 1e-4


def test_generator_architecture_is_inferred(read):
    name, network = read
    assert network.layerwise == network.tanh == (name == "layerwise")
    assert (network.z_dim, network.w_dim, network.num_layers) == (32, 32, 12)
    assert [c.weight.shape[1] for c in network.to_rgb] == [64, 64, 64, 32, 16, 8]
    assert network.w_avg.shape == (12, 32) and not network.training


@pytest.fixture(scope="module")
def networks():
    """Layerwise generator and encoder."""
    generator = genforce.generator(state("generator_layerwise", "G."))
    return generator, genforce.encoder(state("encoder", "E."))


@pytest.fixture(scope="module")
def features():
    network = VGG16Features()
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    tensors = {key: torch.tensor(published("F.", key, s)) for key, s in shapes.items()}
    network.load_state_dict(tensors)
    return network


@torch.no_grad()
def test_encoder_equals_the_published_code(images):
    network = genforce.encoder(state("encoder", "E."))
    assert distance(network(images), "encoder.code") < 1e-5


def assert_same_path(found, names, columns, steps, code_tolerance):
    """Losses within 1e-4, relative, before each of the first `steps` steps, and codes at the end.

    Adam's steps do not shrink with the gradient, so that rounding grows along the path: in float64
    the diffusion's last loss differs by 9e-4 and its code by 9e-3 from the published float32 ones.
    The published code inverts one image at a time; `names` are its runs, in batch order.
    """
    for image, name in enumerate(names):
        losses = np.stack([found.losses[c][image] for c in columns], 1)
        np.testing.assert_allclose(losses[:steps], PARITY[f"{name}.losses"][:steps], rtol=1e-4)
        np.testing.assert_allclose(losses, PARITY[f"{name}.losses"], rtol=2e-3)
        assert distance(found.codes[image], f"{name}.code") < code_tolerance


def test_inversion_follows_the_published_path(networks, features, images):
    found = InDomain(iterations=6).invert(Networks(networks[0], features, networks[1]), images)
    columns = ["pixel", "feature", "code", "total"]
    assert_same_path(found, ["invert", "invert1"], columns, 6, 1e-3)


def test_diffusion_follows_the_published_path(networks, features, images):
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 72 - 24 : 72 + 24, 62 - 24 : 62 + 24] = 1
    stitched = torch.where(mask == 1, images[:1], images[1:])
    found = diffuse(Networks(networks[0], features, networks[1]), stitched, mask,
                    Settings(iterations=6))
    assert_same_path(found, ["diffuse"], ["pixel", "feature", "total"], 4, 2e-2)


def test_tanh_can_be_chosen():
    assert not genforce.generator(state("generator_layerwise", "G."), tanh=False).tanh
    assert genforce.generator(state("generator_shared", "Gw."), tanh=True).tanh


def test_batch_counters_may_be_missing():
    """Files converted from TensorFlow do not have them."""
    tensors = state("encoder", "E.")
    kept = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    assert len(kept) < len(tensors)
    genforce.encoder(kept)


def test_half_precision_is_read_as_float32():
    halves = {key: value.half() for key, value in state("encoder", "E.").items()}
    assert genforce.encoder(halves).fc.weight.dtype == torch.float32


CHANNELS = [512, 512, 512, 512, 256, 128, 64]  # of the published generator, 4 to 256 px


def generator_256():
    """Shapes of the published 256 px generator, e.g. styleganinv_ffhq256_generator.pth."""
    shapes = {"truncation.w_avg": [512], "truncation.truncation": [1, 14, 1], "synthesis.lod": []}
    for i in range(8):
        outputs = 512 if i < 7 else 7168
        shapes[f"mapping.dense{i}.fc.weight"] = [outputs, 512]
        shapes[f"mapping.dense{i}.wscale.bias"] = [outputs]
    shapes["synthesis.layer0.const"] = [1, 512, 4, 4]
    for i in range(14):
        c, size = CHANNELS[i // 2], 4 << i // 2
        inputs = CHANNELS[i // 2 - 1] if i % 2 == 0 else c
        layer = f"synthesis.layer{i}."
        shapes |= {
            layer + "epilogue.bias": [c],
            layer + "epilogue.apply_noise.weight": [c],
            layer + "epilogue.apply_noise.noise": [1, 1, size, size],
            layer + "epilogue.style_mod.dense.fc.weight": [2 * c, 512],
            layer + "epilogue.style_mod.dense.wscale.bias": [2 * c],
        }
        if i in (10, 12):
            shapes[layer + "weight"] = [3, 3, inputs, c]
        elif i:
            shapes[layer + "conv.weight"] = [c, inputs, 3, 3]
        if i and i % 2 == 0:
            shapes[layer + "blur.kernel"] = [c, 1, 3, 3]
    for i, c in enumerate(CHANNELS):
        shapes[f"synthesis.output{i}.conv.weight"] = [3, c, 1, 1]
        shapes[f"synthesis.output{i}.bias"] = [3]
    return shapes


def encoder_256():
    """Shapes of the published 256 px encoder, e.g. styleganinv_ffhq256_encoder.pth."""
    channels = [64, 128, 256, 512, 1024, 1024, 1024]
    shapes = {"block0.conv.weight": [64, 3, 3, 3], "block7.fc.weight": [7168, 16384]}
    norms = {"block0.bn": 64, "block7.bn": 7168}
    for b, (inputs, outputs) in enumerate(zip(channels[:-1], channels[1:], strict=True), 1):
        hidden = min(inputs, outputs)
        if inputs != outputs:
            shapes[f"block{b}.conv.weight"] = [outputs, inputs, 1, 1]
            norms[f"block{b}.bn"] = outputs
        for i, (a, c) in enumerate([(inputs, hidden), (hidden, outputs)], 1):
            shapes[f"block{b}.conv{i}.weight"] = [c, a, 3, 3]
            shapes[f"block{b}.wscale{i}.bias"] = [c]
            norms[f"block{b}.bn{i}"] = c
    for norm, c in norms.items():
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{norm}.bn.{name}"] = [c]
        shapes[f"{norm}.bn.num_batches_tracked"] = []
    return shapes


def test_published_256_px_networks():
    """Key counts and sizes as in the published files: 123 and 120 keys."""
    assert (len(generator_256()), len(encoder_256())) == (123, 120)
    with torch.device("meta"):
        tensors = {key: torch.empty(shape) for key, shape in generator_256().items()}
        generator = genforce.generator(tensors)
        encoder = genforce.encoder({k: torch.empty(s) for k, s in encoder_256().items()})
    assert generator.resolution == encoder.resolution == 256
    assert generator.layerwise and generator.num_layers == encoder.num_layers == 14
    assert [c.weight.shape[1] for c in generator.to_rgb] == CHANNELS
    noise = sum(layer.noise.numel() for layer in generator.layers)
    assert 14 * 512 + noise == 181_920  # degrees of freedom counted in section 6.3


def spoil(key, value):
    tensors = state("generator_layerwise", "G.")
    tensors.pop(key, None)
    return tensors if value is None else tensors | {key: value}


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("synthesis.layer3.conv.weight", None, r"\[64, 64, 3, 3\] is missing"),
        ("synthesis.output0.bias", None, r"'synthesis.output0.bias' of shape \[3\] is missing"),
        ("mapping.dense0.fc.weight", None, "'mapping.dense0.fc.weight' is missing"),
        ("mapping.dense8.fc.weight", torch.zeros(5), r"Unknown key .* of shape \[5\]"),
        ("mapping.dense7.fc.weight", torch.zeros(99, 64), r"shape \[99, 64\], expected \[32, 64\]"),
        ("mapping.dense7.fc.weight", torch.zeros(99), r"shape \[99\], expected 2 dimensions"),
        ("synthesis.layer10.weight", torch.zeros(3, 3, 8, 16), r"expected \[3, 3, 16, 8\]"),
        ("truncation.w_avg", torch.zeros(12, 32), r"expected \[32\]"),
        ("synthesis.layer4.blur.kernel", torch.ones(64, 1, 3, 3) / 9, r"filter than \[1, 2, 1\]"),
    ],
)
def test_other_generators_are_refused(key, value, message):
    with pytest.raises(ValueError, match=message) as error:
        genforce.generator(spoil(key, value))
    assert key in str(error.value)


def test_other_encoders_are_refused():
    tensors = state("encoder", "E.")
    with pytest.raises(ValueError, match=r"'block7.fc.weight' is missing"):
        genforce.encoder(state("generator_shared", "Gw."))
    with pytest.raises(ValueError, match=r"'block1.conv1.weight' has shape \[8, 8, 5, 5\]"):
        genforce.encoder(tensors | {"block1.conv1.weight": torch.zeros(8, 8, 5, 5)})
    del tensors["block2.bn.bn.bias"]
    with pytest.raises(ValueError, match=r"'block2.bn.bn.bias' of shape \[32\] is missing"):
        genforce.encoder(tensors)


def test_files_are_read_without_running_code(tmp_path):
    path = tmp_path / "network.pth"
    torch.save(state("encoder", "E."), path)
    assert importer_of(File(path)).read(File(path))["encoder"].resolution == 128
    torch.save(torch.nn.Linear(1, 1), path)
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a PyTorch file")):
        importer_of(File(path))
    torch.save({"generator": {}}, path)
    with pytest.raises(ValueError, match="holds no networks of a known project"):
        importer_of(File(path))
    path.write_text("something else")
    with pytest.raises(ValueError, match="is of no known format: .*genforce/idinvert_pytorch"):
        importer_of(File(path))
    with pytest.raises(FileNotFoundError):
        File(tmp_path / "missing.pth")
