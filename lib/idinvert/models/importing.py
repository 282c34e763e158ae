"""Files of other projects as models of the registry; what a file is, its content tells.

All files of one generator go under one name: the generator as NAME, its discriminator as NAME-d,
its encoder as NAME-base, its boundaries in NAME-boundaries. Weights stay in float32.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from idinvert.files import present
from idinvert.nn import encoder, stylegan, stylegan2

from . import (
    ARCHITECTURES,
    ROLES,
    ModelsError,
    card,
    check_name,
    companion_name,
    companions,
    exists,
    file_sha256,
    load,
    load_boundaries,
    names,
    save,
    save_boundaries,
)
from .importers import boundaries as published_boundaries
from .importers import genforce, nvidia, rosinality, states

KINDS = {stylegan.Generator: "generator", stylegan2.Generator: "generator",
         stylegan2.Discriminator: "discriminator", encoder.Encoder: "encoder"}


def import_file(path: str | Path, name: str, attribute: str | None = None,
                replace: bool = False) -> list[str]:
    """Make models, or a boundary, of a file; returns the names of what is now in the registry.

    name: of the generator. attribute: of a boundary, the file's own name unless told.
    replace: overwrite what the registry has under that name.
    FileNotFoundError, and ValueError if the file is damaged, of another kind, or does not fit.
    """
    path = Path(path)
    check_name(name)
    with open(path, "rb") as file:
        beginning = file.read(8)
    if beginning.startswith(b"\x93NUMPY"):
        return [import_boundary(path, name, attribute or path.stem, replace)]
    networks, origin = read_networks(path, beginning)
    targets = {companion_name(name, KINDS[type(n)]): n for n in networks}
    for target, network in targets.items():
        check_free(target, replace)
        check_fits(target, network, name)
    for target, network in targets.items():
        save_network(target, network, name, path, origin)
    return list(targets)


def import_missing(paths: Sequence[Path], name: str) -> None:
    """Import those of the files that the registry has not imported for the generator `name` yet.

    FileNotFoundError says where a file is expected.
    """
    own = [x for role in ROLES for x in companions(name, role).values()]
    known = {card(x).get("imported") for x in own if x in names()}
    if companions(name, "boundaries"):
        known |= {f"{attribute}.npy" for attribute in load_boundaries(name)}
    for path in paths:
        if path.name not in known:
            import_file(present(path, "published weights"), name)


def check_free(name: str, replace: bool) -> None:
    """ModelsError if the registry has a model that is not to be replaced."""
    if not replace and exists(name):
        raise ModelsError(f"A model {name} exists: take another name, or --replace.")


def read_networks(path: Path, beginning: bytes) -> tuple[list[nn.Module], str]:
    """The networks of a file and, in words, whose format it has."""
    if is_torch(beginning):
        content = states.read_torch(path)
        if isinstance(content, Mapping) and "g_ema" in content:
            return rosinality_networks(path, content), "rosinality/stylegan2-pytorch"
        return [genforce_network(path, content)], "genforce/idinvert_pytorch"
    if beginning[:1] == pickle.PROTO:
        found = nvidia.read_file(path)
        networks = [nvidia.generator(found["G_ema"])]
        return networks + [nvidia.discriminator(found[x]) for x in found if x == "D"], "NVIDIA"
    raise ModelsError(f"{path} is of no known format: .pkl of NVIDIA, .pt or .pth of PyTorch, "
                       ".npy of NumPy.")


def is_torch(beginning: bytes) -> bool:
    """Whether a file begins as PyTorch's do: a zip, or the pickle of a magic number."""
    return beginning.startswith(b"PK\x03\x04") or beginning[:4] == b"\x80\x02\x8a\x0a"


def rosinality_networks(path: Path, content: Mapping) -> list[nn.Module]:
    """Generator, and discriminator if there is one."""
    found = rosinality.parts(content, str(path))
    networks = [rosinality.generator(found["g_ema"], found.get("latent_avg"))]
    return networks + [rosinality.discriminator(found["d"]) for x in found if x == "d"]


def genforce_network(path: Path, content: Mapping) -> nn.Module:
    """Generator or encoder of the published inversion code."""
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelsError(f"{path} holds no networks of a known project.")
    if any(key.startswith("block0.") for key in content):
        return genforce.encoder(content)
    return genforce.generator(content)


def check_fits(target: str, network: nn.Module, name: str) -> None:
    """ModelsError if an encoder does not fit the generator `name`, where that is there."""
    if not isinstance(network, encoder.Encoder) or not exists(name):
        return
    other = load(name)
    own, theirs = ((n.resolution, n.num_layers, n.w_dim) for n in (network, other))
    if own != theirs:
        raise ModelsError(f"{target} is for (px, layers, dimensions) {own}, {name} has {theirs}.")


def save_network(target: str, network: nn.Module, name: str, path: Path, origin: str) -> None:
    """A network and its card, which names the file it was read from."""
    family = next(key for key, kind in ARCHITECTURES.items() if kind is type(network))
    role = KINDS[type(network)]
    facts = {"role": role, "kind": role, "imported": path.name, "format": origin,
             "imported_sha256": file_sha256(path)}
    if target != name:
        facts["generator"] = name
    save(target, network, family, settings_of(network), dtype=torch.float32, **facts)


def settings_of(network: nn.Module) -> dict:
    """Arguments with which a network like this one is built."""
    if isinstance(network, encoder.Encoder):
        return {"resolution": network.resolution, "w_dim": network.w_dim,
                "channel_base": network.stem.conv.out_channels,
                "channel_max": network.fc.in_features // 16}
    if isinstance(network, stylegan2.Discriminator):
        return {"resolution": network.resolution, "clamp": network.clamp,
                "channel_base": network.from_rgb.weight.shape[0] * network.resolution,
                "channel_max": network.dense.weight.shape[0],
                "minibatch_group": network.minibatch_group}
    last = network.layers[-1]
    settings = {"resolution": network.resolution, "z_dim": network.z_dim, "w_dim": network.w_dim,
                "channel_base": len(last.bias) * network.resolution,
                "channel_max": network.const.shape[1], "layerwise": network.layerwise,
                "mapping_hidden": network.mapping.dense[0].weight.shape[0]}
    if isinstance(network, stylegan.Generator):
        return settings | {"tanh": network.tanh}
    return settings | {"mapping_depth": len(network.mapping.dense), "clamp": last.clamp}


def import_boundary(path: Path, name: str, attribute: str, replace: bool) -> str:
    """Add a boundary to those of a generator; returns the name of their file."""
    card(name)  # names the nearest models if there is no such generator
    known = load_boundaries(name) if companions(name, "boundaries") else {}
    if attribute in known and not replace:
        raise ModelsError(f"{name} has a boundary {attribute!r}: take another --attribute, "
                           "or --replace.")
    values, layers = published_boundaries.read_file(path)
    fitted = published_boundaries.boundary(values, layers, load(name).w_avg, attribute)
    return save_boundaries(name, [fitted], add=True)
