"""Files of other projects as models of the registry; what a file is, its content tells.

All files of one generator go under one name, each network as its companion: the discriminator as
NAME-d, the encoder as NAME-base, boundaries in NAME-boundaries. Weights stay in float32. The
formats are in `importers`.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import torch
from torch import nn

from idinvert.devices import is_out_of_memory
from idinvert.files import locked, present, stamp

from . import cards, store
from .cards import ModelsError
from .importers import File, Importer, Normals, formats, importers, strangers
from .roles import ROLES, companion_name

ENCODERS = ("encoder", "conventional")


def import_file(path: str | Path, name: str, attribute: str | None = None,
                replace: bool = False) -> list[str]:
    """Make models, or a boundary, of a file; returns the names of what is now in the registry.

    name: of the generator. attribute: of a boundary, the file's own name unless told.
    replace: overwrite what the registry has under that name.
    FileNotFoundError, and ValueError if the file is damaged, of another kind, or does not fit.
    """
    cards.check_new_name(name)
    file = File(Path(path))
    importer = importer_of(file)
    networks = contents(importer, file)
    sha256 = cards.file_sha256(file.path)
    if stamp(file.path) != file.stamp:
        raise ModelsError(f"{file.path} has changed while it was read: import it again when it is "
                          "whole.")
    normals = networks.pop("boundaries", None)
    if attribute is not None and normals is None:
        raise ModelsError(f"{file.path} holds no boundary, which alone has an attribute: leave "
                          "--attribute out.")
    targets = {role: companion_name(name, role) for role in networks}
    saved = list(targets.values())
    for target in saved:
        cards.check_name(target)
    with adding():
        if not replace:
            check_free(targets, sha256)
        encoders = {targets[role]: networks[role] for role in ENCODERS if role in networks}
        check_fits(encoders, name, networks.get("generator"))
        with watched(name):
            for role, target in targets.items():
                generator = {} if role == "generator" else {"generator": name}
                store.save(target, networks[role], dtype=torch.float32, role=role, kind=role,
                           **generator, imported=file.path.name, format=importer.title,
                           imported_sha256=sha256)
        if normals is not None:
            saved.append(import_boundary(normals, name, attribute or file.path.stem, replace))
    return saved


def check_free(targets: Mapping[str, str], sha256: str) -> None:
    """ModelsError if there is a model of one of these names, by role, unless it is a part of what
    an import of the file with this hash has saved before it was stopped."""
    there = {role: target for role, target in targets.items() if cards.exists(target)}
    begun = len(there) < len(targets) and all(
        cards.card(target).items() >= {"role": role, "imported_sha256": sha256}.items()
        for role, target in there.items())
    if there and not begun:
        raise ModelsError(f"A model {min(there.values())} exists: take another name, or --replace.")


def adding() -> AbstractContextManager[None]:
    """Hold a lock while what the registry lacks is added to it: another command that does waits
    until it sees what this one has added."""
    return locked(cards.folder() / ".importing")


@contextmanager
def watched(name: str, trained: bool = False) -> Iterator[None]:
    """Warn if the generator `name` has other weights after the block than before, and there is
    what was made for it as it was, such as encoders and boundaries for its codes.

    trained: the block makes the generator, so that what is there without it is of another one;
    files are imported in any order.
    """
    before = weights(name)
    known = before is not None or trained
    made = made_for(name) if known else {}
    yield
    if known and before != weights(name):
        now = made_for(name)
        others = [other for other, unchanged in made.items() if now.get(other) == unchanged]
        if others:
            warnings.warn(f"{name} is another generator now: train, fit or import again what was "
                          f"made for the one before, {', '.join(others)}.", stacklevel=2)


def weights(name: str) -> str | None:
    """SHA-256 of the weights of a model; None if there is none but one to be fetched, or one whose
    card is damaged."""
    with suppress(ModelsError):
        return None if cards.fetched(name) else cards.digest(name)
    return None


def made_for(name: str) -> dict[str, tuple]:
    """The stamps of the files of a generator's own companions, by name."""
    found = [other for role in ROLES if role != "generator"
             for other in cards.companions(name, role).values()
             if role != "classifier" or "generator" in cards.card(other)]  # not its domain's
    return {other: stamp(path) for other in found if (path := cards.weights_path(other))}


def importer_of(file: File) -> Importer:
    """The importer of a file's format; ModelsError, which says what it is, if there is none."""
    for name, importer in importers().items():
        try:
            if importer.recognises(file):
                return importer
        except (MemoryError, OSError, ValueError):
            raise
        except Exception as error:  # of a plug-in; the others may know the file
            warnings.warn(f"The importer {name!r} is left out: {type(error).__name__}: {error}",
                          stacklevel=2)
    if what := strangers.described(file):
        raise ModelsError(f"{file.path} {what}.")
    if file.is_torch:
        raise ModelsError(f"{file.path} holds no networks of a known project.")
    raise ModelsError(f"{file.path} is of no known format: {formats()}.")


def contents(importer: Importer, file: File) -> dict[str, nn.Module | Normals]:
    """What an importer reads from a file. Whatever a damaged file makes it raise becomes a
    ValueError of one sentence."""
    try:
        found = importer.read(file)
        if not isinstance(found, dict) or not all(
                isinstance(value, Normals if role == "boundaries" else nn.Module)
                for role, value in found.items()):
            raise TypeError(f"{found!r:.60} are no networks by role")
        return found
    except (MemoryError, FileNotFoundError):
        raise
    except Exception as error:  # importers, plug-ins too, meet anything
        if is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())
        if isinstance(error, ValueError) and text.endswith("."):
            raise
        raise ModelsError(f"{file.path} is damaged, or no file of {importer.title}: "
                          f"{text[:200] or type(error).__name__}.") from error


def import_missing(paths: Sequence[Path], name: str) -> None:
    """Import those of the files that the registry has not imported for the generator `name` yet.

    FileNotFoundError says where a file is expected. ModelsError: another file of that name was
    imported.
    """
    own = {x for role in ROLES for x in cards.companions(name, role).values()}
    found = map(cards.card, own.intersection(cards.names()))
    known = {described.get("imported"): described.get("imported_sha256") for described in found}
    if cards.companions(name, "boundaries"):
        known |= {f"{attribute}.npy": None for attribute in store.load_boundaries(name)}
    for path in paths:
        if path.name not in known:
            import_file(present(path, "published weights"), name)
        elif path.is_file() and known[path.name] not in (None, cards.file_sha256(path)):
            raise ModelsError(f"{path} is not the file that {name} was imported from: import it "
                              "with --replace, or take another name in the profile.")


def check_fits(encoders: Mapping[str, nn.Module], name: str, generator: nn.Module | None = None
               ) -> None:
    """ModelsError if an encoder, by its name, does not fit a generator: the one that is to be saved
    as `name`, else the one that is there, if any. Nor may a new generator, unless it replaces one,
    be of another size than its encoders that came before it."""
    encoders, size = dict(encoders), None
    if generator is None:
        if not encoders or not cards.exists(name):
            return
        generator = store.check_generator(name, store.load(name))
        size = cards.advice(name).get("resolution")
    elif weights(name) is None and not cards.fetched(name):
        for other in (x for role in ENCODERS for x in cards.companions(name, role).values()):
            with suppress(ModelsError):  # damaged
                encoders.setdefault(other, store.load(other))
    theirs = size or generator.resolution, generator.num_layers, generator.w_dim
    for target, network in encoders.items():
        own = network.resolution, network.num_layers, network.w_dim
        if own != theirs:
            raise ModelsError(f"{target} is for (px, layers, dimensions) {own}, {name} has "
                              f"{theirs}: take another name.")


def check_attribute(name: str) -> None:
    """ModelsError unless an attribute can be named in a command line and in a message."""
    if not name.strip() or not name.isprintable():
        raise ModelsError(f"{name!r:.60} is no name of an attribute: it needs one that can be read "
                          "on one line.")
    if name.startswith("-"):
        raise ModelsError(f"{name!r:.60} is no name of an attribute: `idinvert edit` would take it "
                          "for an option.")


def import_boundary(normals: Normals, name: str, attribute: str, replace: bool) -> str:
    """Add a boundary to those of a generator; returns the name of their file."""
    attribute = unicodedata.normalize("NFC", attribute)  # macOS takes names of files apart
    check_attribute(attribute)
    cards.card(name)  # names the nearest models if there is no such generator
    known = store.load_boundaries(name) if cards.companions(name, "boundaries") else {}
    if attribute in known and not replace:
        raise ModelsError(f"{name} has a boundary {attribute!r}: take another --attribute, "
                          "or --replace.")
    generator = store.check_generator(name, store.load(name))
    boundary = normals.boundary(generator.w_avg, attribute)
    return store.save_boundaries(name, [boundary], add=True)
