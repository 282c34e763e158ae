"""Typed settings: dataclasses whose values are checked when they are made or read from a file.

A wrong value, an unknown name or a missing one is a `SettingsError`, one sentence that names the
setting and, where a name is unknown, the nearest known one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, Field, ValidationError

from .registry import RegistryError, nearest

Kind = TypeVar("Kind")

Count = Annotated[int, Field(ge=1)]  # 1, 2, ..
Whole = Annotated[int, Field(ge=0)]  # 0, 1, ..
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]

CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class SettingsError(ValueError):
    """Settings that do not fit their type; the message is one sentence."""


@dataclass_transform(frozen_default=True)
def settings(kind: type[Kind]) -> type[Kind]:
    """Make a class a frozen dataclass that checks its values.

    >>> @settings
    ... class Recipe:
    ...     batch: Count = 32
    ...     rate: Positive = 1e-3
    >>> Recipe(batch=0)
    Traceback (most recent call last):
    ...
    idinvert.settings.SettingsError: Recipe: batch is 0, but should be greater than or equal to 1.
    >>> Recipe(bach=16)
    Traceback (most recent call last):
    ...
    idinvert.settings.SettingsError: Recipe: unknown setting 'bach': did you mean 'batch'?
    """
    kind = pydantic.dataclasses.dataclass(frozen=True, config=CONFIG)(kind)
    plain = kind.__init__

    @functools.wraps(plain)
    def checked(self, *arguments, **options):
        try:
            plain(self, *arguments, **options)
        except ValidationError as error:
            raise SettingsError(sentence(kind, kind.__name__, error)) from None

    kind.__init__ = checked
    return kind


def read(kind: type[Kind], values: Any, where: str) -> Kind:
    """Settings of a type from the mapping that a file holds; `where` names the place in messages.

    Values that the mapping lacks take their defaults. SettingsError: a value that does not fit.
    """
    if not isinstance(values, Mapping):
        raise SettingsError(f"{where} should be a list of settings, not {values!r:.40}.")
    try:
        return pydantic.TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise SettingsError(sentence(kind, where, error)) from None


def sentence(kind: type, where: str, error: ValidationError) -> str:
    """The first fault of settings as one sentence."""
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    name = ".".join(place)
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        known = names(at(kind, place[:-1]))
        hint = nearest(place[-1], known) if known else "leave it out."
        return f"{where}: unknown setting {name!r}: {hint}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"{where}: the setting {name!r} is missing."
    if isinstance(cause := fault.get("ctx", {}).get("error"), SettingsError | RegistryError):
        return f"{where}: {cause}"  # a sentence already
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message[:1].lower() + message[1:]
    if not name:
        return f"{where}: {message}."
    return f"{where}: {name} is {fault['input']!r:.60}, but {message}.".replace("..", ".")


def at(kind: Any, place: list[str]) -> Any:
    """The type of the settings at a place within settings of a type; None if none are there."""
    for name in place:
        kind = typing.get_type_hints(kind).get(name) if dataclasses.is_dataclass(kind) else None
        kind = next(filter(dataclasses.is_dataclass, (kind, *typing.get_args(kind))), None)
    return kind


def names(kind: type) -> list[str]:
    """Names of the settings of a type."""
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) \
        else []


def resolved(values: Any) -> dict:
    """All settings, defaults included, as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(values), default=str))


def digest(*values: Any) -> str:
    """16 hexadecimal digits that name plain JSON values or settings by their content."""
    plain = [resolved(v) if dataclasses.is_dataclass(v) else v for v in values]
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
