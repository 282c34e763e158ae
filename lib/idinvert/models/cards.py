"""Where the registry's models lie, and what their cards say.

A model is NAME.safetensors, its weights, and NAME.json, its card. The card tells architecture and
settings, the SHA-256 of the weights, how the model came about, and what it is to others: its role,
its generator and its variant.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import os
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from idinvert.files import cache_folder, stamp
from idinvert.settings import LARGEST, checked

from . import sources
from .roles import DEFAULT, ENDINGS, companion_name, with_role

CHECKOUT = Path(__file__).resolve().parents[3] / "results" / "weights"
SHIPPED = Path(__file__).with_name("shipped")  # models inside a wheel
LONGEST = 255  # bytes of a file's name
DEEPEST = 50  # lists and dictionaries in one another, in a card
LONGEST_NAME = 200  # bytes of that of a model, to which endings and suffixes are added
# Types of what a card tells, where it does
CARD = {"architecture": str, "settings": dict, "sha256": str, "role": str, "generator": str,
        "variant": str, "inversion": dict, "parameters": int, "kimg": int | float,
        "seconds": int | float, "evaluation": dict, "recipe": dict, "attributes": list}

hashes: dict[Path, tuple[tuple, str]] = {}  # stamp and SHA-256 of files that were read


class ModelsError(ValueError):
    """A model that is unknown or whose files do not fit; the message is one sentence."""


# --- folders and files ---------------------------------------------------------------------------


def folders() -> list[Path]:
    """Where models are looked for, the first one first: `$IDINVERT_MODELS` (or, as it was called,
    `$IDINVERT_WEIGHTS`); without it the checkout's results/weights, then the cache, the other way
    round if the checkout cannot be written to, so that what is saved is found. Last come the models
    inside an installed package."""
    named = os.environ.get("IDINVERT_MODELS") or os.environ.get("IDINVERT_WEIGHTS")
    if named:
        return [Path(named).expanduser().resolve(), SHIPPED]
    cache = cache_folder("models")
    if not CHECKOUT.is_dir():
        return [cache, SHIPPED]
    return [*([CHECKOUT, cache] if writable(CHECKOUT) else [cache, CHECKOUT]), SHIPPED]


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
    try:
        if len(os.fsencode(file)) > LONGEST or Path(file).name != file:  # no name of a model
            return None
    except UnicodeEncodeError:  # of half a character, as cards may tell
        return None
    places = folders()
    if file.partition(".")[0] in sources.SOURCES:
        places.append(sources.folder())
    return next((path / file for path in places if is_there(path / file)), None)


def is_there(path: Path) -> bool:
    """Whether a path is a file, or a folder, which whoever reads it tells; no link to nothing, and
    no pipe or device, whose content may never come."""
    return path.is_file() or path.is_dir()


def fetched(name: str) -> bool:
    """Whether a model is one of `sources`, and no folder has another of that name."""
    return name in sources.SOURCES and not any(is_there(path / f"{name}.json")
                                               for path in folders())


def names() -> list[str]:
    """Names of all models in the folders, sorted; `sources.SOURCES` has those to be fetched. Hidden
    files are none, such as macOS leaves beside those that it copies."""
    return sorted({path.stem for place in folders() for path in place.glob("*.json")
                   if is_there(path) and not path.name.startswith(".")})


def sound() -> dict[str, dict]:
    """The cards of all models in the folders, by name; files that are none are left out."""
    found = {}
    for name in names():
        with suppress(ModelsError, OSError):
            found[name] = card(name)
    return found


def exists(name: str) -> bool:
    """Whether the registry holds a model, or boundaries, of this name, or can fetch it."""
    return name in sources.SOURCES or weights_path(name) is not None


def check_name(name: str) -> None:
    """ModelsError unless a name can be that of a model's files."""
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise ModelsError(f"{name!r} is no name of a model: letters, digits, '.', '_' and '-'.")
    if len(os.fsencode(name)) > LONGEST_NAME:
        raise ModelsError(f"{name:.40}.. is too long for the name of a model: at most "
                          f"{LONGEST_NAME} bytes.")


def check_new_name(name: str) -> None:
    """ModelsError unless a new model can have this name: its files would take the place of the
    boundaries of another one, or these theirs; or they would be taken for weights of another one
    that are left from before, and removed."""
    check_name(name)
    if re.search(r"\.[0-9a-f]{12}$", name):
        raise ModelsError(f"{name!r} ends like weights that are left over, which are removed: take "
                          "a name without a dot before the last 12 digits.")
    generator = name.removesuffix(ENDINGS["boundaries"])
    if generator != name:
        raise ModelsError(f"{name!r} is what the boundaries of {generator!r} are called: take "
                          "another name.")


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
    generator = name.removesuffix(ENDINGS["boundaries"])
    if path is None and generator != name and find(f"{name}.safetensors"):
        raise ModelsError(f"{name} are the boundaries of {generator}, and no network.")
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
        found = with_role(path.stem, json.loads(path.read_text("utf-8-sig")))  # as editors write
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
    if depth(described) > DEEPEST:  # who copies it or prints it would run out of stack
        raise ValueError("depth")
    for key in ("kimg", "seconds", "parameters"):
        if not 0 <= described.get(key, 0) <= LARGEST:
            raise ValueError(key)
    for key in ("resolution", "feature_resolution", "batch"):
        if not (isinstance(value := advised.get(key, 1), int) and value >= 1):
            raise ValueError(key)


def depth(value: object) -> int:
    """How many lists and dictionaries are in one another."""
    if not isinstance(value, dict | list):
        return 0
    parts = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, parts), default=0)


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
    cards = {name: found for name, found in sound().items() if found["role"] == role}
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
    own = companion_name(generator, role, variant)
    wanted = role if variant == DEFAULT else f"{role} {variant!r}"
    if find(f"{own}.json"):
        told = card(own)  # or an error tells that it is damaged
        of = told.get("generator") or told.get("domain")
        raise ModelsError(f"{generator} has no {wanted}: by its card {own} is the {told['role']} "
                          f"of {of}; correct that if files were renamed.")
    others = f"; of that role it has {', '.join(found)}" if found else ""
    raise ModelsError(f"{generator} has no {wanted}: train or import {own}{others}.")
