"""The registry's files: a model is NAME.safetensors, its weights, and NAME.json, its card.

The card tells architecture and settings, the SHA-256 of the weights, how the model came about, and
what it is to others: its role, its generator and its variant. Saving a model is one step for those
who read it: its new weights lie under a name with their hash until the new card is there.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from idinvert import boundaries
from idinvert.devices import keep_freed_memory, pick
from idinvert.files import cache_folder, locked, replacing, stamp, sweep
from idinvert.nn.architecture import build
from idinvert.nn.protocols import Generator, missing
from idinvert.nn.reduced import ReducedGenerator
from idinvert.settings import Bits, checked

from . import codec, sources
from .roles import DEFAULT, companion_name, with_role

CHECKOUT = Path(__file__).resolve().parents[3] / "results" / "weights"
SHIPPED = Path(__file__).with_name("shipped")  # models inside a wheel
LARGE = 512  # px; features of such images take tens of MB
LIMITS = {"resolution": 4096, "mapping_depth": 64}  # of settings
LARGEST_SETTING = 1 << 24
LONGEST = 255  # bytes of a file's name
# Types of what a card tells, where it does
CARD = {"architecture": str, "settings": dict, "sha256": str, "role": str, "generator": str,
        "variant": str, "inversion": dict, "parameters": int, "kimg": int | float,
        "seconds": int | float, "evaluation": dict, "recipe": dict, "attributes": list}
TRIES = 20  # at reading a model that other processes save again and again

loaded: dict[str, str] = {}  # name -> SHA-256 of the models that this process has loaded
hashes: dict[Path, tuple[tuple, str]] = {}  # stamp and SHA-256 of files that were read
kept: dict[str, nn.Module] = {}  # networks that were read, by `identity`


class ModelsError(ValueError):
    """A model that is unknown or whose files do not fit; the message is one sentence."""


# --- folders and files ---------------------------------------------------------------------------


def folders() -> list[Path]:
    """Where models are looked for, the first one first: `$IDINVERT_MODELS` (or, as it was called,
    `$IDINVERT_WEIGHTS`); without it the checkout's results/weights, then the cache. Last come the
    models inside an installed package."""
    named = os.environ.get("IDINVERT_MODELS") or os.environ.get("IDINVERT_WEIGHTS")
    if named:
        return [Path(named).expanduser().resolve(), SHIPPED]
    return [*([CHECKOUT] if CHECKOUT.is_dir() else []), cache_folder("models"), SHIPPED]


def folder() -> Path:
    """The folder that models are written to: the first writable one of `folders`."""
    own = [path for path in folders() if path != SHIPPED]
    return next((path for path in own if writable(path)), own[0])


def writable(path: Path) -> bool:
    """Whether a folder can be written to, or made."""
    while not path.exists():
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK)


def find(file: str) -> Path | None:
    """The path of a file of the registry; None if no folder has it. Fetched models come last, so
    that a model of the user's own may have the same name."""
    if len(os.fsencode(file)) > LONGEST or Path(file).name != file:  # no name of a model
        return None
    places = folders()
    if file.partition(".")[0] in sources.SOURCES:
        places.append(sources.folder())
    return next((path / file for path in places if (path / file).exists()), None)


def fetched(name: str) -> bool:
    """Whether a model is one of `sources`, and no folder has another of that name."""
    return name in sources.SOURCES and not any((path / f"{name}.json").exists()
                                               for path in folders())


def names() -> list[str]:
    """Names of all models in the folders, sorted; `sources.SOURCES` has those to be fetched."""
    return sorted({path.stem for place in folders() for path in place.glob("*.json")})


def exists(name: str) -> bool:
    """Whether the registry holds a model, or boundaries, of this name, or can fetch it."""
    return name in sources.SOURCES or weights_path(name) is not None


def check_name(name: str) -> None:
    """ModelsError unless a name can be that of a file."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise ModelsError(f"{name!r} is no name of a model: letters, digits, '.', '_' and '-'.")


def read_hashed(path: Path) -> tuple[bytes, str]:
    """Content and SHA-256 of a file; the hash is kept for `file_sha256`."""
    before, content = stamp(path), path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if stamp(path) == before:
        hashes[path] = before, sha256
    return content, sha256


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; it is read again only if it has changed."""
    unchanged, sha256 = hashes.get(path, (None, ""))
    return sha256 if unchanged == stamp(path) else read_hashed(path)[1]


def digest(name: str) -> str | None:
    """SHA-256 of the weights of a model or of boundaries; None if there are none.

    PretrainedError: a model that has to be fetched cannot be.
    """
    if fetched(name):
        sources.provide(name)
    path = weights_path(name)
    try:
        return None if path is None else file_sha256(path)
    except FileNotFoundError:  # the weights have just got their own name
        return digest(name)


def weights_path(name: str) -> Path | None:
    """The weights of a model or of boundaries, None if there are none. Until their card is written
    and they get their final name, new weights have their hash in the file's name."""
    described = find(f"{name}.json")
    sha256 = read_card(described, stamp(described)).get("sha256", "") if described else ""
    return find(f"{name}.{sha256[:12]}.safetensors") or find(f"{name}.safetensors")


# --- cards and companions ------------------------------------------------------------------------


@checked
def card(name: str) -> dict:
    """The card of a model; ModelsError names the nearest models if there is none.

    One that was written before cards had roles gets role, generator and variant from its name.
    """
    path = find(f"{name}.json")
    if path is None and name in sources.SOURCES:
        return sources.described(name)
    if path is None and (weights := find(f"{name}.safetensors")):
        raise ModelsError(f"{weights} has no card {name}.json beside it: put both there, or remove "
                          "the weights.")
    if path is None:
        everything = [*names(), *sources.SOURCES]
        near = difflib.get_close_matches(name, everything, 3, 0.4) or names()
        known = f"did you mean {', '.join(near)}?" if near else f"{folder()} holds no models."
        raise ModelsError(f"Unknown model {name!r}: {known}")
    found = copy.deepcopy(read_card(path, stamp(path)))
    # Of a fetched model this version may know more than the one that fetched it
    return found | dict(sources.SOURCES[name].facts) if path.parent == sources.folder() else found


@lru_cache(4096)
def read_card(path: Path, unchanged: tuple) -> dict:
    """The card in a file that has this stamp; ModelsError if it is none."""
    try:
        found = with_role(path.stem, json.loads(path.read_text()))
        check_card(found)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ModelsError(f"{path} is no card of a model: fetch it again.") from error
    return found


def check_card(described: dict) -> None:
    """TypeError, ValueError or AttributeError if a value of a card is of another type than those
    who read it expect."""
    for key, kind in CARD.items():
        if key in described and not isinstance(described[key], kind):
            raise TypeError(key)
    other = described.get("relative_to")
    if other is not None and not all(isinstance(other.get(x), str) for x in ("name", "sha256")):
        raise TypeError("relative_to")
    advised = described.get("inversion", {})
    for key in ("resolution", "feature_resolution", "batch"):
        if not (isinstance(value := advised.get(key, 1), int) and value >= 1):
            raise ValueError(key)


def advice(name: str) -> dict:
    """How images are inverted with a generator, where its card says so under "inversion": see
    `Model.advice`."""
    return card(name).get("inversion", {})


def companions(generator: str, role: str) -> dict[str, str]:
    """Names of a generator's models of one role by variant: "base", and for encoders "resnet18",
    "e4e" and others. A classifier is one of the generator's own, else that of its domain."""
    own = companion_name(generator, role)
    if role == "generator":
        return {DEFAULT: generator} if exists(generator) else {}
    if role == "boundaries":
        return {DEFAULT: own} if find(f"{own}.safetensors") else {}
    cards = {name: found for name in names()
             if (found := card(name))["role"] == role}
    found = {described.get("variant", DEFAULT): name for name, described in cards.items()
             if described.get("generator") == generator}
    if not found and role == "classifier" and find(f"{generator}.json"):
        domain = card(generator).get("domain")
        shared = [name for name, described in cards.items() if domain
                  and described.get("domain") == domain and "generator" not in described]
        found = dict(zip([DEFAULT], shared))
    return found


def companion(generator: str, role: str, variant: str = DEFAULT) -> str:
    """Name of a generator's model of a role; ModelsError: there is none."""
    found = companions(generator, role)
    if variant in found:
        return found[variant]
    if not exists(generator):
        card(generator)  # names the nearest models
    wanted = role if variant == DEFAULT else f"{role} {variant!r}"
    others = f"; of that role it has {', '.join(found)}" if found else ""
    raise ModelsError(f"{generator} has no {wanted}: train or import "
                      f"{companion_name(generator, role, variant)}{others}.")


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
        fill(network, added(name, described, tensors), name)
        kept[identity(described)] = network.eval().requires_grad_(False)
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
    if "relative_to" not in described:
        return tensors
    other = described["relative_to"]
    if digest(other["name"]) != other["sha256"]:
        raise ModelsError(f"{name} is stored as the difference from a {other['name']} that is no "
                          "longer there: fetch both again.")
    check_chain(name)
    return codec.moved(tensors, state(other["name"]))


def check_chain(name: str) -> None:
    """ModelsError if a model is stored relative to itself, also by way of others."""
    chain = [name]
    while other := card(chain[-1]).get("relative_to"):
        if other["name"] in chain:
            raise ModelsError(f"{name} is stored as the difference from itself: fetch it again.")
        chain.append(other["name"])


def fill(network: nn.Module, state: codec.State, name: str) -> None:
    """Load a state dict; ModelsError names the first key that is missing, unknown or misshapen."""
    own = network.state_dict()
    for key in [*own, *state]:
        if key not in state or key not in own:
            what = "lacks" if key not in state else "has the unknown key"
            raise ModelsError(f"The weights of {name} do not fit: the file {what} {key}.")
        if own[key].shape != state[key].shape:
            raise ModelsError(
                f"The weights of {name} do not fit: {key} has shape {list(state[key].shape)}, "
                f"the network needs {list(own[key].shape)}."
            )
    network.load_state_dict(state)


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
    ModelsError: a network of no registered class, facts that are none of a card, or numbers that
    are not finite in what they are stored in. Nothing is written then.
    """
    check_name(name)
    if not hasattr(network, "architecture"):
        raise ModelsError(f"{type(network).__name__} cannot be saved: its class is not registered "
                          "(see idinvert.nn.architecture).")
    if relative_to == name:
        raise ModelsError(f"{name} cannot be stored as the difference from itself.")
    if not dtype.is_floating_point:
        raise ModelsError(f"{name} cannot be stored in {dtype}: take a type of floats.")
    check_facts(facts)
    replaced = {"name": name, "sha256": None if fetched(name) else digest(name)}
    for dependent in names():
        if card(dependent).get("relative_to") == replaced:
            store_whole(dependent)
    parent = None
    if relative_to:
        parent = state(relative_to)
        facts |= {"relative_to": {"name": relative_to, "sha256": digest(relative_to)}}
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
    with locked(place):
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


def store_whole(name: str) -> None:
    """Store a model whole, in float16, that was stored relative to another one; a model that cannot
    be read stays as it is."""
    facts = {key: value for key, value in card(name).items()
             if key not in ("relative_to", "bits", "name", "architecture", "settings",
                            "parameters", "sha256")}
    with suppress(ModelsError):
        save(name, load(name), **facts)


def save_boundaries(generator: str, fitted: Iterable[boundaries.Boundary],
                    add: bool = False) -> str:
    """Write the boundaries of a generator; returns the name of their file. They replace those that
    it has or, with `add`, only those of the same attributes. ValueError: as
    `boundaries.by_name`."""
    named = boundaries.by_name(fitted)
    name = companion_name(generator, "boundaries")
    path = folder() / f"{name}.safetensors"
    with locked(path.parent):
        known = load_boundaries(generator) if add and find(path.name) else {}
        boundaries.save((known | named).values(), path)
    return name
