"""The registry of trained models: name -> weights, hash, and how they came about.

A model is two files in `results/weights` (or `$IDINVERT_WEIGHTS`): NAME.safetensors, the state in
float16 (imported ones: float32; the study's: matrices and convolutions in a few bits, compressed;
some as the difference from another model), and NAME.json, its card. `load` builds the network that
the card describes, checks the file against the card's SHA-256 and fills it.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import lzma
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from idinvert import boundaries
from idinvert.files import replacing
from idinvert.nn import (
    backbones,
    classifier,
    e4e,
    encoder,
    noise_encoder,
    projected,
    stylegan,
    stylegan2,
)

ARCHITECTURES: dict[str, type[nn.Module]] = {
    "stylegan.Generator": stylegan.Generator,
    "stylegan.Discriminator": stylegan.Discriminator,
    "stylegan2.Generator": stylegan2.Generator,
    "stylegan2.Discriminator": stylegan2.Discriminator,
    "projected.Discriminator": projected.Discriminator,
    "encoder.Encoder": encoder.Encoder,
    "noise_encoder.NoiseEncoder": noise_encoder.NoiseEncoder,
    "e4e.OffsetEncoder": e4e.OffsetEncoder,
    "backbones.ResNet": backbones.ResNet,
    "backbones.MobileNet": backbones.MobileNet,
    "classifier.Classifier": classifier.Classifier,
}

# Endings of the names under which the scales and the shape of a matrix in few bits are stored
SCALES, SHAPE = "|scales", "|shape"

loaded: dict[str, str] = {}  # SHA-256 of each file that this process took a model from, by name


class WeightsError(ValueError):
    """A model that is unknown or whose files do not fit; the message is one sentence."""


def folder() -> Path:
    """Folder of the registry: `$IDINVERT_WEIGHTS`, by default `results/weights` of the checkout."""
    default = Path(__file__).resolve().parents[3] / "results" / "weights"
    return Path(os.environ.get("IDINVERT_WEIGHTS") or default).expanduser().resolve()


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(path.stem for path in folder().glob("*.json"))


def check_name(name: str) -> None:
    """WeightsError unless a name can be that of a file."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise WeightsError(f"{name!r} is no name of a model: letters, digits, '.', '_' and '-'.")


def card(name: str) -> dict:
    """The card of a model; WeightsError names the nearest models if there is none."""
    path = folder() / f"{name}.json"
    if not path.exists():
        near = difflib.get_close_matches(name, names(), 3, 0.4) or names()
        known = f"did you mean {', '.join(near)}?" if near else f"{folder()} holds no models."
        raise WeightsError(f"Unknown model {name!r}: {known}")
    return json.loads(path.read_text())


def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a model: float32, eval mode, frozen, on `device`.

    WeightsError: unknown name, missing or altered file, weights of another shape.
    """
    described = card(name)
    network = build(described["architecture"], described["settings"])
    fill(network, state(name), name)
    loaded[name] = described["sha256"]
    return network.to(device).eval().requires_grad_(False)


def build(architecture: str, settings: dict) -> nn.Module:
    """A network of one of ARCHITECTURES, untrained."""
    if architecture not in ARCHITECTURES:
        raise WeightsError(
            f"Unknown architecture {architecture!r}: expected one of {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[architecture](**settings)


def read(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors of a safetensors file, numbers of any precision as float32; checked if a hash is
    given."""
    if not path.exists():
        raise WeightsError(f"{path} is missing: train the model or fetch the file again.")
    if sha256 is not None and file_sha256(path) != sha256:
        raise WeightsError(f"{path} is not the file that its card describes: fetch it again.")
    try:
        return unpacked(load_file(path))
    except Exception as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}).") from error


def state(name: str) -> dict[str, Tensor]:
    """The state of a model, added to that of the model which it is stored relative to, if any.

    WeightsError: unknown name, missing or altered file, another model to add it to.
    """
    described = card(name)
    own = read(folder() / f"{name}.safetensors", described["sha256"])
    if "relative_to" not in described:
        return own
    other = described["relative_to"]
    if digest(other["name"]) != other["sha256"]:
        raise WeightsError(f"{name} is stored as the difference from a {other['name']} that is no "
                           "longer there: fetch both again.")
    return moved(own, state(other["name"]))


def moved(state: dict[str, Tensor], by: dict[str, Tensor], times: float = 1) -> dict[str, Tensor]:
    """A state plus `times` another, where that has a comparable tensor."""
    return {key: value + times * by[key].to(value) if comparable(value, by.get(key)) else value
            for key, value in state.items()}


def comparable(value: Tensor, other: Tensor | None) -> bool:
    """Whether another model's tensor of the same name can be subtracted from one."""
    return value.is_floating_point() and other is not None and other.shape == value.shape


def fill(network: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load a state dict; WeightsError names the first key that is missing, unknown or misshapen."""
    own = network.state_dict()
    for key in [*own, *state]:
        if key not in state or key not in own:
            what = "lacks" if key not in state else "has the unknown key"
            raise WeightsError(f"The weights of {name} do not fit: the file {what} {key}.")
        if own[key].shape != state[key].shape:
            raise WeightsError(
                f"The weights of {name} do not fit: {key} has shape {list(state[key].shape)}, "
                f"the network needs {list(own[key].shape)}."
            )
    network.load_state_dict(state)


def save(name: str, network: nn.Module, architecture: str, settings: dict,
         dtype: torch.dtype = torch.float16, bits: float | None = None,
         relative_to: str | None = None, difference_bits: float | None = None,
         **facts) -> dict:
    """Write a model and its card; `facts` are added to the card (domain, data, seed, cost, ...).

    dtype: what numbers are stored in. bits: of matrices and convolutions instead, see `packed`.
    relative_to: a model from which the difference is stored, in `difference_bits` (`bits` unless
    told), or in up to 8 where that would be coarser than the whole in `bits`. Models that are
    stored so relative to what is replaced are first stored whole.
    """
    replaced = {"name": name, "sha256": digest(name)}
    for dependent in names():
        if card(dependent).get("relative_to") == replaced:
            store_whole(dependent)
    tensors = whole = network.state_dict()
    step_bits = bits
    if relative_to:
        step_bits = difference_bits or bits
        tensors = moved(whole, state(relative_to), -1)
        facts |= {"relative_to": {"name": relative_to, "sha256": digest(relative_to)}}
    if bits:
        coarsest = {key: steps(value, bits) for key, value in whole.items() if in_few_bits(value)}
        tensors, facts = packed(tensors, step_bits, coarsest), facts | {"bits": bits}
    else:
        tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    path = folder() / f"{name}.safetensors"
    with replacing(path) as temporary:
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, temporary)
    described = {"name": name, "architecture": architecture, "settings": settings, **facts,
                 "parameters": sum(p.numel() for p in network.parameters()),
                 "sha256": file_sha256(path)}
    with replacing(folder() / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(described, indent=1) + "\n")
    return described


def store_whole(name: str) -> None:
    """Write a model that is stored relative to another one as one of its own, in float16; one that
    cannot be read stays as it is."""
    kept = {key: value for key, value in card(name).items()
            if key not in ("name", "relative_to", "bits", "parameters", "sha256")}
    with suppress(WeightsError):
        save(name, load(name), **kept)


def packed(state: dict[str, Tensor], bits: float, coarsest: dict[str, Tensor] | None = None
           ) -> dict[str, Tensor]:
    """A state with matrices and convolutions as whole numbers of 2 to 8 bits (4.5: 21 of them), one
    scale for each output, compressed; the rest in float16.

    A weight is off by at most 1 / (2^bits - 2) of the largest of its row, or with `coarsest` by at
    most half of that step, as far as 8 bits go.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8, not {bits}")
    small = {}
    for key, value in state.items():
        if not in_few_bits(value):
            small[key] = value.half() if value.is_floating_point() else value
        else:
            scales = steps(value, bits)
            if coarsest is not None:
                scales = scales.minimum(coarsest[key]).maximum(steps(value, 8))
            numbers = (value.float().cpu().flatten(1) / scales[:, None]).round().to(torch.int8)
            stream = lzma.compress(numbers.numpy().tobytes())
            small[key] = torch.from_numpy(np.frombuffer(stream, np.uint8).copy())
            small[key + SCALES], small[key + SHAPE] = scales, torch.tensor(value.shape)
    return small


def in_few_bits(value: Tensor) -> bool:
    """Whether a tensor is one of those that `packed` makes whole numbers of."""
    return value.is_floating_point() and value.ndim > 1


def steps(value: Tensor, bits: float) -> Tensor:
    """The step of whole numbers of so many bits for each row of a matrix or convolution."""
    largest = value.float().cpu().flatten(1).abs().amax(1)
    return largest.clamp_min(1e-12) / (2 ** (bits - 1) - 1)


def unpacked(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state, in float32, of tensors as a file holds them."""
    state = {}
    for key, value in tensors.items():
        if key + SHAPE in tensors:
            numbers = np.frombuffer(lzma.decompress(value.numpy().tobytes()), np.int8)
            scales = tensors[key + SCALES][:, None]
            rows = torch.from_numpy(numbers.astype(np.float32)).reshape(len(scales), -1) * scales
            state[key] = rows.reshape(tensors[key + SHAPE].tolist())
        elif key.removesuffix(SCALES).removesuffix(SHAPE) + SHAPE not in tensors:
            state[key] = value.float() if value.is_floating_point() else value
    return state


def load_boundaries(name: str) -> dict[str, boundaries.Boundary]:
    """The boundaries of a generator, by attribute.

    WeightsError: unknown generator, or none were fitted for it. ValueError: a damaged file.
    """
    path = folder() / f"{name}-boundaries.safetensors"
    if not path.exists():
        card(name)  # names the nearest models if there is no such generator
        raise WeightsError(f"{name} has no boundaries: {path} is missing.")
    fitted = boundaries.load(path)
    loaded[path.stem] = file_sha256(path)
    return fitted


def digest(name: str) -> str | None:
    """SHA-256 of the file of a model or of boundaries; None if there is none."""
    path = folder() / f"{name}.safetensors"
    return file_sha256(path) if path.exists() else None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
