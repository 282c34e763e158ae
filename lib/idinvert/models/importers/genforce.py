"""Reader of the checkpoints of the published PyTorch code, genforce/idinvert_pytorch.

A file is a plain state dict: `styleganinv_ffhq256_generator.pth`, `.._encoder.pth` and alike. The
architecture is inferred from the shapes in it. What the published networks compute at run time and
ours do not is folded into the weights: the scale of the encoder's last layer, and the orientation
of the up-convolutions that the file stores for the fused upsampling at 128 px and above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from idinvert.nn.encoder import Encoder
from idinvert.nn.stylegan import Generator

from . import IMPORTERS, File, states
from .states import Place, State, pair
from .strangers import of_keys

BEGINNINGS = ("mapping.", "synthesis.", "truncation.", "block")  # of its keys


@IMPORTERS.register("genforce")
class Genforce:
    """Generator or encoder."""

    title, suffix = "genforce/idinvert_pytorch", ".pth"

    @staticmethod
    def recognises(file: File) -> bool:
        return (file.holds_torch(Mapping) and states.is_state(file.torch_content)
                and any(key.startswith(BEGINNINGS) for key in file.torch_content)
                and not of_keys(file.torch_content))

    @staticmethod
    def read(file: File) -> dict[str, nn.Module]:
        state = file.torch_content
        states.check_plain(state)
        if any(key.startswith("block0.") for key in state):
            return {"encoder": encoder(state)}
        return {"generator": generator(state)}


def generator(state: State, tanh: bool | None = None) -> Generator:
    """The StyleGAN generator of a published state dict, in eval mode.

    Args:
        state: of a file, e.g. `styleganinv_ffhq256_generator.pth`.
        tanh: whether the image is bounded by a hyperbolic tangent, which the file does not tell;
            None follows the published configurations: yes if there is one code per layer.

    The level of detail and the truncation stored in the file are left out: images are rendered at
    full resolution, and `Generator.truncate` has the published strength (0.7, 8 layers) by default.
    Raises ValueError naming the first key that is missing, unknown or of another shape.
    """
    blocks = 1 + states.last_index(state, r"synthesis\.output(\d+)\.bias", "synthesis.output0.bias")
    resolution = states.resolution_of(blocks)
    mapping_hidden, z_dim = states.shape_of(state, "mapping.dense0.fc.weight", 2)
    w_dim = states.shape_of(state, "synthesis.layer0.epilogue.style_mod.dense.fc.weight", 2)[1]
    layerwise = states.shape_of(state, "mapping.dense7.fc.weight", 2)[0] == 2 * blocks * w_dim
    widest, narrowest = (
        states.shape_of(state, f"synthesis.output{b}.conv.weight", 4)[1] for b in (0, blocks - 1)
    )
    network = states.outline(
        "stylegan.Generator", resolution=resolution, z_dim=z_dim, w_dim=w_dim,
        channel_base=narrowest * resolution, channel_max=widest, mapping_hidden=mapping_hidden,
        layerwise=layerwise, tanh=layerwise if tanh is None else tanh,
    )  # fmt: skip
    states.check_filters(state, ".blur.kernel", filter=(1, 2, 1), axes=4)
    ignored = r"synthesis\.lod|truncation\.truncation|synthesis\.layer\d+\.blur\.kernel"
    return states.convert(network, state, generator_places(state, 2 * blocks), ignored, "generator")


def generator_places(state: State, layers: int) -> dict[str, Place]:
    """For each key of `Generator` with this many layers, where it is in the file."""
    places = {
        "const": Place("synthesis.layer0.const"),
        "w_avg": Place("truncation.w_avg", lambda w: w.expand(layers, -1), lambda s: s[1:]),
    }
    for i in range(8):
        places[f"mapping.dense.{i}.weight"] = Place(f"mapping.dense{i}.fc.weight")
        places[f"mapping.dense.{i}.bias"] = Place(f"mapping.dense{i}.wscale.bias")
    for i in range(layers):
        published = f"synthesis.layer{i}."
        for ours, theirs in (
            ("noise_weight", "epilogue.apply_noise.weight"),
            ("noise", "epilogue.apply_noise.noise"),
            ("bias", "epilogue.bias"),
            ("style.weight", "epilogue.style_mod.dense.fc.weight"),
            ("style.bias", "epilogue.style_mod.dense.wscale.bias"),
        ):
            places[f"layers.{i}.{ours}"] = Place(published + theirs)
        if i:
            fused = published + "weight" in state
            places[f"layers.{i}.conv.weight"] = (
                Place(published + "weight", unfuse, lambda s: (s[2], s[3], s[1], s[0]))
                if fused else Place(published + "conv.weight")
            )  # fmt: skip
    for i in range(layers // 2):
        places[f"to_rgb.{i}.weight"] = Place(f"synthesis.output{i}.conv.weight")
        places[f"to_rgb.{i}.bias"] = Place(f"synthesis.output{i}.bias")
    return places


def unfuse(weight: Tensor) -> Tensor:
    """Kernel [3, 3, in, out] of a transposed convolution -> [out, in, 3, 3] of a convolution."""
    return weight.permute(3, 2, 0, 1).flip(2, 3)


def encoder(state: State) -> Encoder:
    """The encoder of a published state dict, in eval mode; no average code is added.

    `state` is that of a file, e.g. `styleganinv_ffhq256_encoder.pth`.
    Raises ValueError naming the first key that is missing, unknown or of another shape.
    """
    blocks = states.last_index(state, r"block(\d+)\.fc\.weight", "block7.fc.weight")
    resolution = states.resolution_of(blocks)
    outputs, inputs = states.shape_of(state, f"block{blocks}.fc.weight", 2)
    network = states.outline(
        "encoder.Encoder", resolution=resolution, w_dim=outputs // (2 * blocks),
        channel_base=states.shape_of(state, "block0.conv.weight", 4)[0],
        channel_max=inputs // 16,
    )
    ignored = r".*\.num_batches_tracked"
    return states.convert(network, state, encoder_places(network), ignored, "encoder")


def encoder_places(network: Encoder) -> dict[str, Place]:
    """For each key of this encoder, where it is in the file."""
    places = conv_norm("stem", "block0.conv", "block0.bn")
    for b, block in enumerate(network.blocks):
        ours, published = f"blocks.{b}", f"block{b + 1}"
        if not isinstance(block.shortcut, nn.Identity):
            places |= conv_norm(f"{ours}.shortcut", f"{published}.conv", f"{published}.bn")
        for i in (0, 1):
            body = f"{ours}.body.{i}"
            places |= conv_norm(body, f"{published}.conv{i + 1}", f"{published}.bn{i + 1}")
            places[f"{body}.conv.bias"] = Place(f"{published}.wscale{i + 1}.bias")
    last = f"block{len(network.blocks) + 1}"
    scale = 1 / math.sqrt(network.fc.in_features)
    places["fc.weight"] = Place(f"{last}.fc.weight", lambda w: w * scale)
    return places | batch_norm("norm", f"{last}.bn")


def conv_norm(ours: str, conv: str, norm: str) -> dict[str, Place]:
    """Places of a `ConvNorm` without bias."""
    return {f"{ours}.conv.weight": Place(f"{conv}.weight")} | batch_norm(f"{ours}.norm", norm)


def batch_norm(ours: str, published: str) -> dict[str, Place]:
    """Places of a batch norm; the number of batches it has seen is of no consequence."""
    return pair(ours, f"{published}.bn", "running_mean", "running_var")
