"""The registry's networks: loading and saving models, whose files and cards `cards` finds.

Saving a model is one step for those who read it: its new weights lie under a name with their hash
until the new card is there.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from idinvert import boundaries
from idinvert.devices import keep_freed_memory, pick
from idinvert.files import locked, replacing, stamp, sweep
from idinvert.nn.architecture import build
from idinvert.nn.protocols import Generator, missing
from idinvert.nn.reduced import ReducedGenerator
from idinvert.settings import Bits, checked

from . import codec, sources
from .cards import (
    ModelsError,
    advice,
    card,
    check_card,
    check_new_name,
    digest,
    fetched,
    file_sha256,
    find,
    folder,
    read_hashed,
    sound,
    weights_path,
)
from .roles import companion_name, with_role

LARGE = 512  # px; features of such images take tens of MB
LIMITS = {"resolution": 4096, "mapping_depth": 64}  # of settings
LARGEST_SETTING = 1 << 24
TRIES = 20  # at reading a model that other processes save again and again

loaded: dict[str, str] = {}  # name -> SHA-256 of the models that this process has loaded
kept: dict[str, nn.Module] = {}  # networks that were read, by `identity`


# --- loading -------------------------------------------------------------------------------------


@torch.inference_mode(False)  # else the weights of a network could never be used with gradients
@checked
def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """The network of a model, a copy for the caller: float32, eval mode, frozen, on `device`.

    Files are read once in a process, and again only if they have changed; models of `sources` are
    fetched the first time. ModelsError: unknown name, missing or altered file, weights of another
    shape. PretrainedError: a model cannot be fetched; the message says what to do. ValueError:
    there is no such device.
    """
    device = pick(str(device))
    described, network = read_network(name)
    loaded[name] = described["sha256"]
    if getattr(network, "resolution", 0) >= LARGE and torch.device(device).type == "cpu":
        keep_freed_memory()
    from . import pretrained  # not above: `python -m idinvert.models.pretrained` imports this first

    return pretrained.attached(copy.deepcopy(network).to(device), device)


def check_generator(name: str, network: nn.Module) -> nn.Module:
    """The network; ModelsError unless it is a generator."""
    if lacking := missing(network, Generator):
        raise ModelsError(f"{name} is no generator, for it has no {lacking[0]}: `idinvert models` "
                          "lists the models.")
    return network


def load_working(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """A generator at the size at which images are inverted, as its card has it under "inversion":
    else as `load`, with the same errors."""
    whole, size = check_generator(name, load(name, device)), advice(name).get("resolution")
    return ReducedGenerator(whole, size) if size else whole


def state(name: str) -> codec.State:
    """The state of a model, in float32; ModelsError as for `load`."""
    return dict(read_network(name)[1].state_dict())


def read_network(name: str) -> tuple[dict, nn.Module]:
    """The card and the network of a model; the network is kept for later calls. Errors as `load`.
    """
    if fetched(name):
        sources.provide(name)
    described = card(name)
    if identity(described) not in kept or not intact(name, described):
        described, tensors = contents(name)
        network = network_of(name, described)
        try:
            fill(network, added(name, described, tensors), name)
        except ModelsError:
            if identity(card(name)) == identity(described):
                raise
            return read_network(name)  # it was saved meanwhile, as what it is relative to was
        kept[identity(described)] = network.float().eval().requires_grad_(False)
    return described, kept[identity(described)]


def network_of(name: str, described: dict) -> nn.Module:
    """The untrained network that a card describes. It uses up no random numbers, so that what a
    process draws does not depend on what it has loaded."""
    with torch.random.fork_rng(devices=[]):
        try:
            check_size(described)
            return build(described["architecture"], described["settings"])
        except MemoryError:
            raise
        except Exception as error:  # constructors raise many types on settings that do not fit
            raise ModelsError(f"The card of {name} describes no network: {error}") from error


def check_size(described: dict) -> None:
    """ValueError if a card describes a network larger than any model: it would take all memory."""
    settings = described["settings"]
    for key, value in settings.items():
        if isinstance(value, int | float) and abs(value) > LIMITS.get(key, LARGEST_SETTING):
            raise ValueError(f"its {key} is {value:.6g}")
    with suppress(NotImplementedError), torch.device("meta"):  # not every network can be outlined
        outline = build(described["architecture"], settings)
        count = sum(value.numel() for value in outline.state_dict().values())
        if count > codec.MOST:
            raise ValueError(f"it would have {count:.3g} numbers")


def identity(described: dict) -> str:
    """The part of a card that the network depends on."""
    return json.dumps([described.get(key)
                       for key in ("architecture", "settings", "sha256", "relative_to")])


def intact(name: str, described: dict) -> bool:
    """Whether the files of a card still have the hashes that it tells."""
    other = described.get("relative_to")
    return digest(name) == described.get("sha256") and (
        other is None or digest(other["name"]) == other["sha256"])


def contents(name: str) -> tuple[dict, codec.State]:
    """A model's card and the tensors that it describes, also while another process saves."""
    for _ in range(TRIES):
        source = find(f"{name}.json")
        before = source and stamp(source)  # taken first: a card that comes now shows in it
        described, path = card(name), weights_path(name)
        if path is None:
            raise ModelsError(f"{source.parent / name}.safetensors is missing: train the model or "
                              "fetch the file again.")
        try:
            return described, read(path, described.get("sha256", ""))
        except FileNotFoundError:
            continue  # the weights have just got their own name
        except ModelsError:
            if stamp(source) == before:
                raise
    raise ModelsError(f"{name} is being saved again and again: try later.")


def read(path: Path, sha256: str | None = None) -> codec.State:
    """Tensors of a safetensors file, numbers of any precision as float32; checked if a hash is
    given."""
    content, found = read_hashed(path)
    if sha256 not in (None, found):
        raise ModelsError(f"{path} is not the file that its card describes: fetch it again.")
    try:
        return codec.unpacked(safetensors.torch.load(content))
    except Exception as error:  # damaged files raise many types
        raise ModelsError(f"{path} is not a readable safetensors file ({error}).") from error


def added(name: str, described: dict, tensors: codec.State) -> codec.State:
    """Tensors of a model, added to the state of the model that they are stored relative to."""
    other = described.get("relative_to")
    if other is None:
        return tensors
    if digest(other["name"]) == other["sha256"]:
        check_chain(name)
        found, network = read_network(other["name"])
        if found["sha256"] == other["sha256"]:  # still
            return codec.moved(tensors, network.state_dict())
    raise ModelsError(f"{name} is stored as the difference from a {other['name']} that is no "
                      "longer there: fetch both again.")


def check_chain(name: str) -> None:
    """ModelsError if a model is stored relative to itself, also by way of others."""
    chain = [name]
    while other := card(chain[-1]).get("relative_to"):
        if other["name"] in chain:
            raise ModelsError(f"{name} is stored as the difference from itself: fetch it again.")
        chain.append(other["name"])


def fill(network: nn.Module, state: codec.State, name: str) -> None:
    """Load a state dict; ModelsError as `check_state`."""
    check_state(network, state, f"The weights of {name} do not fit:")
    network.load_state_dict(state)


def check_state(network: nn.Module, state: codec.State, fault: str) -> None:
    """ModelsError, which begins with `fault`, names the first key of a state dict that is missing,
    unknown or misshapen."""
    own = network.state_dict()
    for key in [*own, *state]:
        if key not in state or key not in own:
            what = "lacks" if key not in state else "has the unknown key"
            raise ModelsError(f"{fault} the file {what} {key}.")
        if own[key].shape != state[key].shape:
            raise ModelsError(f"{fault} {key} has shape {list(state[key].shape)}, the network "
                              f"needs {list(own[key].shape)}.")


@checked
def load_boundaries(generator: str) -> dict[str, boundaries.Boundary]:
    """The boundaries of a generator, by attribute.

    ModelsError: unknown generator, or none were fitted for it. ValueError: a damaged file.
    """
    name = companion_name(generator, "boundaries")
    path = find(f"{name}.safetensors")
    if path is None:
        card(generator)  # names the nearest models if there is no such generator
        raise ModelsError(f"{generator} has no boundaries: {folder() / name}.safetensors is "
                          "missing.")
    fitted = boundaries.load(path)
    loaded[name] = file_sha256(path)
    return fitted


# --- saving --------------------------------------------------------------------------------------


@checked
def save(name: str, network: nn.Module, *,
         dtype: torch.dtype = torch.float16, bits: Bits | None = None,
         relative_to: str | None = None, difference_bits: Bits | None = None,
         **facts) -> dict:
    """Write a model and its card, which is returned; `facts` are added to the card (role,
    generator, variant, domain, data, seed, cost, ...).

    network: of a class that is registered with `nn.architecture.network`.
    dtype: what numbers are stored in. bits: of matrices and convolutions instead, see
    `codec.packed`. relative_to: a model; the difference from it is stored, see `codec.stored`.
    Other models that are stored relative to the one that is replaced are first stored whole.
    ModelsError: a name that no new model can have, a network of no registered class, or with other
    weights than its class has, as where layers were replaced or pruned, facts that are none of a
    card, or numbers that are not finite in what they are stored in. Nothing is written then.
    """
    check_new_name(name)
    if not hasattr(network, "architecture"):
        raise ModelsError(f"{type(network).__name__} cannot be saved: its class is not registered "
                          "(see idinvert.nn.architecture).")
    if relative_to == name:
        raise ModelsError(f"{name} cannot be stored as the difference from itself.")
    if not dtype.is_floating_point:
        raise ModelsError(f"{name} cannot be stored in {dtype}: take a type of floats.")
    check_facts(facts)
    own = {"architecture": network.architecture, "settings": network.settings}
    check_state(network_of(name, own), network.state_dict(),
                f"{name} could not be read again, being no {network.architecture} any more:")
    with locked(folder()):  # nobody replaces meanwhile what this one is stored relative to
        return put(name, network, dtype, bits, relative_to, difference_bits, facts)


def put(name: str, network: nn.Module, dtype: torch.dtype, bits: float | None,
        relative_to: str | None, difference_bits: float | None, facts: dict) -> dict:
    """As `save`, after its checks, by whoever has locked the folder."""
    for dependent in stored_relative_to(name):
        store_whole(dependent)
    parent = None
    if relative_to:
        other, whole = read_network(relative_to)
        parent = dict(whole.state_dict())
        facts |= {"relative_to": {"name": relative_to, "sha256": other["sha256"]}}
    if bits:
        facts |= {"bits": bits}
    tensors = codec.stored(network.state_dict(), dtype, bits, parent, difference_bits)
    for key, value in tensors.items():
        if value.is_floating_point() and not value.float().isfinite().all():
            raise ModelsError(f"{name} cannot be stored: {key} has numbers that are not finite, or "
                              f"too large for {value.dtype}.")
    content = safetensors.torch.save(tensors)
    described = with_role(name, {
        "name": name, "architecture": network.architecture, "settings": network.settings, **facts,
    }) | {"parameters": sum(p.numel() for p in network.parameters()),
          "sha256": hashlib.sha256(content).hexdigest()}
    write(name, content, described)
    return described


def check_facts(facts: dict) -> None:
    """ModelsError: a card with these facts could not be read again."""
    try:
        check_card(facts | json.loads(json.dumps(facts)))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelsError(f"The facts cannot be those of a card ({error}).") from error
    if own := facts.keys() & {"architecture", "settings"}:
        raise ModelsError(f"The network tells its {min(own)}: leave it out of the facts.")


def write(name: str, content: bytes, described: dict) -> None:
    """Put weights and their card in the place of older ones, if any. At every moment, and after a
    crash, readers find either the old model or the new one."""
    place = folder()
    sweep(place)
    hashed = place / f"{name}.{described['sha256'][:12]}.safetensors"
    with replacing(hashed) as temporary:
        temporary.write_bytes(content)
    try:
        with replacing(place / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(described, indent=1) + "\n")
    except OSError:  # a full disk
        hashed.unlink()
        raise
    settle(hashed, place / f"{name}.safetensors")


def settle(hashed: Path, path: Path) -> None:
    """Give weights whose card is written their final name, without the hash, and remove what
    interrupted saves have left."""
    hashed.replace(path)
    for left in path.parent.glob(f"{path.stem}.{'[0-9a-f]' * 12}.safetensors"):
        left.unlink()


def stored_relative_to(name: str) -> list[str]:
    """The models that are stored relative to one of the user's, as it is; none if it is damaged."""
    with suppress(ModelsError):
        known = {"name": name, "sha256": None if fetched(name) else digest(name)}
        return [other for other, described in sound().items()
                if described.get("relative_to") == known]
    return []


def store_whole(name: str) -> None:
    """Store a model whole, in float16, that was stored relative to another one; a model that cannot
    be read stays as it is."""
    before = card(name)
    facts = {key: value for key, value in before.items()
             if key not in ("relative_to", "bits", "name", "architecture", "settings",
                            "parameters", "sha256")}
    with suppress(ModelsError):
        check_new_name(name)
        now = put(name, load(name), torch.float16, None, None, None, facts)
        keep_boundaries(name, before.get("sha256"), now["sha256"])


def keep_boundaries(generator: str, before: str | None, now: str) -> None:
    """Have the boundaries that note a generator's file note the one that it is in now."""
    file = f"{companion_name(generator, 'boundaries')}.safetensors"
    path = find(file)
    with suppress(ValueError):  # damaged
        fitted = boundaries.load(path).values() if path else ()
        if any(before and b.generator == before for b in fitted):
            boundaries.save([replace(b, generator=now) if b.generator == before else b
                             for b in fitted], folder() / file)


def save_boundaries(generator: str, fitted: Iterable[boundaries.Boundary],
                    add: bool = False) -> str:
    """Write the boundaries of a generator; returns the name of their file. They replace those that
    it has or, with `add`, only those of the same attributes. Those that note no generator note this
    one, as it is now.

    ModelsError: unknown generator. ValueError: as `boundaries.by_name`.
    """
    named = boundaries.by_name(fitted)
    card(generator)  # names the nearest models if there is no such generator
    own = digest(generator)
    named = {key: b if b.generator else replace(b, generator=own) for key, b in named.items()}
    name = companion_name(generator, "boundaries")
    path = folder() / f"{name}.safetensors"
    with locked(path.parent):
        known = load_boundaries(generator) if add and find(path.name) else {}
        boundaries.save((known | named).values(), path)
    return name
