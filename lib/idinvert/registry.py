"""Registries: what is added to the study by one file and found by its name.

Inversion methods, metrics, networks, importers and training tasks each have a registry. An entry
registers itself where it is defined. When a registry is first read, it imports the modules of its
package, then the plug-ins: modules that `$IDINVERT_PLUGINS` names (separated by commas), and those
that installed packages announce as entry points of the group "idinvert".
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import pkgutil
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any, TypeVar

Entry = TypeVar("Entry")
PLUGINS = "IDINVERT_PLUGINS"


class RegistryError(ValueError):
    """A name that a registry does not have, or has twice; the message is one sentence."""


class Registry(Mapping[str, Entry]):
    """Entries of one kind by name: those of its package by module, in whichever order these were
    imported, then those of others as they were registered.

    Args:
        kind: what an entry is, for messages ("inversion method").
        package: the package whose modules define entries.
        fits: whether an object can be an entry; anything can if it is not given.
        needs: what `fits` asks for, for messages.

    >>> colours = Registry("colour", package="")
    >>> @colours.register("red")
    ... class Red: pass
    >>> list(colours)
    ['red']
    >>> colours["rad"]
    Traceback (most recent call last):
    ...
    idinvert.registry.RegistryError: Unknown colour 'rad': did you mean 'red'?
    """

    def __init__(self, kind: str, package: str, fits: Callable[[Any], bool] = lambda _: True,
                 needs: str = ""):
        self.kind, self.package, self.fits, self.needs = kind, package, fits, needs
        self.entries: dict[str, Entry] = {}
        self.complete = False

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """A decorator that registers what it decorates; RegistryError: the name is taken or no
        text, or the entry is of another kind."""
        def add(entry: Entry) -> Entry:
            if not (isinstance(name, str) and self.fits(entry)):
                raise RegistryError(f"{name!r:.60} is no {self.kind}: "
                                    f"{self.needs or 'its name needs to be a text'}.")
            other = self.entries.get(name)
            if other is not None and origin(other) != origin(entry):
                raise RegistryError(f"Two entries are named {self.kind} {name!r}, in "
                                    f"{origin(other)} and in {origin(entry)}: rename one of them.")
            self.entries[name] = entry
            return entry
        return add

    def fill(self) -> None:
        """Import the modules that define entries, once."""
        if not self.complete:
            self.complete = True
            import_all(self.package)
            import_plugins()
            self.entries = dict(sorted(self.entries.items(),
                                       key=lambda entry: self.place(entry[1])))

    def place(self, entry: Entry) -> tuple[bool, str]:
        """Before which others an entry stands."""
        module = origin(entry).rpartition(".")[0]
        own = bool(self.package) and module.startswith(f"{self.package}.")
        return not own, module if own else ""

    def __getitem__(self, name: str) -> Entry:
        self.fill()
        if name not in self.entries:
            raise RegistryError(f"Unknown {self.kind} {name!r}: {nearest(name, self.entries)}")
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        self.fill()
        return iter(self.entries)

    def __len__(self) -> int:
        self.fill()
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        self.fill()
        return name in self.entries


def origin(entry: object) -> str:
    """Where an entry, or the function that it wraps, is defined: MODULE.NAME."""
    entry = inspect.unwrap(entry)
    return f"{getattr(entry, '__module__', '?')}.{getattr(entry, '__qualname__', repr(entry))}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: "did you mean 'a' or 'b'?", or all known ones.
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, 3, 0.5)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    return f"expected one of {', '.join(known)}." if known else "there are none."


def import_all(package: str) -> None:
    """Import every module of a package, in alphabetical order; "" has none."""
    if package:
        found = importlib.import_module(package)
        for module in pkgutil.iter_modules(found.__path__):
            importlib.import_module(f"{package}.{module.name}")


def import_plugins() -> None:
    """Import the plug-ins; one that fails is named in a warning, and the others still work."""
    named = [name.strip() for name in os.environ.get(PLUGINS, "").split(",") if name.strip()]
    for module in dict.fromkeys((*named, *announced())):
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # a plug-in may raise anything
            warnings.warn(f"The plug-in {module} is left out: {type(error).__name__}: {error}",
                          stacklevel=2)


def announced() -> list[str]:
    """Modules that installed packages announce; a warning, and none, if one of all packages has a
    file of entry points that cannot be read."""
    try:
        points = metadata.entry_points(group="idinvert")
    except Exception as error:  # damaged files raise many types
        warnings.warn("The plug-ins of installed packages are left out, as one package has damaged "
                      f"entry points: {type(error).__name__}: {error}", stacklevel=3)
        return []
    # Not `point.module`, which fails for what cannot be the name of a module
    return [re.split(r"[\[:]", point.value)[0].strip() for point in points]
