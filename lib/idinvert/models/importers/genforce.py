"""Reader of the checkpoints of the published PyTorch code, genforce/idinvert_pytorch.

A file is a plain state dict: `styleganinv_ffhq256_generator.pth`, `.._encoder.pth` and alike. The
architecture is inferred from the shapes in it. What the published networks compute at run time and
ours do not is folded into the weights: the scale of the encoder's last layer, and the orientation
of the up-convolutions that the file stores for the fused upsampling at 128 px and above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from idinvert.nn.encoder import Encoder
from idinvert.nn.layers import check_resolution
from idinvert.nn.stylegan import Generator

from .states import Source, State, last_index, load, read_torch, shape_of


def read_file(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict, key -> tensor on the CPU, from a .pth file without running code in it.

    Raises FileNotFoundError, and ValueError if the file is no plain state dict.
    """
    state = read_torch(path)
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} holds no state dict, a mapping from names to tensors.")
    return dict(state)


def generator(state: State, tanh: bool | None = None) -> Generator:
    """The StyleGAN generator of a published state dict, in eval mode.

    Args:
        state: as from `read_file`, e.g. of `styleganinv_ffhq256_generator.pth`.
        tanh: whether the image is bounded by a hyperbolic tangent, which the file does not tell;
            None follows the published configurations: yes if there is one code per layer.

    The level of detail and the truncation stored in the file are left out: images are rendered at
    full resolution, and `Generator.truncate` has the published strength (0.7, 8 layers) by default.
    Raises ValueError naming the first key that is missing, unknown or of another shape.
    """
    blocks = 1 + last_index(state, r"synthesis\.output(\d+)\.bias", "synthesis.output0.bias")
    resolution = 2 << blocks
    check_resolution(resolution)
    mapping_hidden, z_dim = shape_of(state, "mapping.dense0.fc.weight", 2)
    w_dim = shape_of(state, "synthesis.layer0.epilogue.style_mod.dense.fc.weight", 2)[1]
    layerwise = shape_of(state, "mapping.dense7.fc.weight", 2)[0] == 2 * blocks * w_dim
    widest, narrowest = (
        shape_of(state, f"synthesis.output{b}.conv.weight", 4)[1] for b in (0, blocks - 1)
    )
    network = Generator(
        resolution, z_dim, w_dim, channel_base=narrowest * resolution, channel_max=widest,
        mapping_hidden=mapping_hidden, layerwise=layerwise,
        tanh=layerwise if tanh is None else tanh,
    )  # fmt: skip
    ignored = r"synthesis\.lod|truncation\.truncation|synthesis\.layer\d+\.blur\.kernel"
    return load(network, state, generator_sources(state, 2 * blocks), ignored, "generator")


def generator_sources(state: State, layers: int) -> dict[str, Source]:
    """For each key of `Generator` with this many layers, where it is in the file."""
    sources = {
        "const": Source("synthesis.layer0.const"),
        "w_avg": Source("truncation.w_avg", lambda w: w.expand(layers, -1), lambda s: s[1:]),
    }
    for i in range(8):
        sources[f"mapping.dense.{i}.weight"] = Source(f"mapping.dense{i}.fc.weight")
        sources[f"mapping.dense.{i}.bias"] = Source(f"mapping.dense{i}.wscale.bias")
    for i in range(layers):
        published = f"synthesis.layer{i}."
        for ours, theirs in (
            ("noise_weight", "epilogue.apply_noise.weight"),
            ("noise", "epilogue.apply_noise.noise"),
            ("bias", "epilogue.bias"),
            ("style.weight", "epilogue.style_mod.dense.fc.weight"),
            ("style.bias", "epilogue.style_mod.dense.wscale.bias"),
        ):
            sources[f"layers.{i}.{ours}"] = Source(published + theirs)
        if i:
            fused = published + "weight" in state
            sources[f"layers.{i}.conv.weight"] = (
                Source(published + "weight", unfuse, lambda s: (s[2], s[3], s[1], s[0]))
                if fused else Source(published + "conv.weight")
            )  # fmt: skip
    for i in range(layers // 2):
        sources[f"to_rgb.{i}.weight"] = Source(f"synthesis.output{i}.conv.weight")
        sources[f"to_rgb.{i}.bias"] = Source(f"synthesis.output{i}.bias")
    return sources


def unfuse(weight: Tensor) -> Tensor:
    """Kernel [3, 3, in, out] of a transposed convolution -> [out, in, 3, 3] of a convolution."""
    return weight.permute(3, 2, 0, 1).flip(2, 3)


def encoder(state: State) -> Encoder:
    """The encoder of a published state dict, in eval mode; no average code is added.

    `state` is as from `read_file`, e.g. of `styleganinv_ffhq256_encoder.pth`.
    Raises ValueError naming the first key that is missing, unknown or of another shape.
    """
    blocks = last_index(state, r"block(\d+)\.fc\.weight", "block7.fc.weight")
    resolution = 2 << blocks
    check_resolution(resolution)
    outputs, inputs = shape_of(state, f"block{blocks}.fc.weight", 2)
    network = Encoder(
        resolution,
        w_dim=outputs // (2 * blocks),
        channel_base=shape_of(state, "block0.conv.weight", 4)[0],
        channel_max=inputs // 16,
    )
    ignored = r".*\.num_batches_tracked"
    return load(network, state, encoder_sources(network), ignored, "encoder")


def encoder_sources(network: Encoder) -> dict[str, Source]:
    """For each key of this encoder, where it is in the file."""
    sources = conv_norm("stem", "block0.conv", "block0.bn")
    for b, block in enumerate(network.blocks):
        ours, published = f"blocks.{b}", f"block{b + 1}"
        if not isinstance(block.shortcut, nn.Identity):
            sources |= conv_norm(f"{ours}.shortcut", f"{published}.conv", f"{published}.bn")
        for i in (0, 1):
            body = f"{ours}.body.{i}"
            sources |= conv_norm(body, f"{published}.conv{i + 1}", f"{published}.bn{i + 1}")
            sources[f"{body}.conv.bias"] = Source(f"{published}.wscale{i + 1}.bias")
    last = f"block{len(network.blocks) + 1}"
    scale = 1 / math.sqrt(network.fc.in_features)
    sources["fc.weight"] = Source(f"{last}.fc.weight", lambda w: w * scale)
    return sources | batch_norm("norm", f"{last}.bn")


def conv_norm(ours: str, conv: str, norm: str) -> dict[str, Source]:
    """Sources of a `ConvNorm` without bias."""
    return {f"{ours}.conv.weight": Source(f"{conv}.weight")} | batch_norm(f"{ours}.norm", norm)


def batch_norm(ours: str, published: str) -> dict[str, Source]:
    """Sources of a batch norm; the number of batches it has seen is of no consequence."""
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{ours}.{name}": Source(f"{published}.bn.{name}") for name in names}
