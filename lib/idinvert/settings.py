"""Typed settings: dataclasses whose values are checked when they are made or read from a file.

A wrong value, an unknown name or a missing one is a `SettingsError`, one sentence that names the
setting and, where a name is unknown, the nearest known one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from .registry import RegistryError, nearest

Kind = TypeVar("Kind")
Function = TypeVar("Function", bound=Callable)

def number(value: Any) -> Any:
    """A value that may be a number; ValueError: one of the two that Python takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")
    return value


Number = BeforeValidator(number)
Count = Annotated[int, Number, Field(ge=1, lt=1 << 63)]  # 1, 2, ..
Whole = Annotated[int, Number, Field(ge=0, lt=1 << 63)]  # 0, 1, ..
Pixels = Annotated[int, Number, Field(ge=1, le=1 << 16)]  # of the side of an image
LARGEST = 1e30  # beyond it, sums of squares are infinite in float32
Positive = Annotated[float, Number, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
NotNegative = Annotated[float, Number, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Share = Annotated[float, Number, Field(ge=0, le=1)]
Bits = Annotated[float, Number, Field(ge=2, le=8)]  # of a number
Level = Annotated[float, Number, Field(gt=0, lt=1)]  # of confidence
Seed = Annotated[int, Number, Field(ge=0, lt=1 << 32)]

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


def checked(function: Function) -> Function:
    """Let a function check its arguments by their types, as `settings` does for a class: numbers,
    texts and tensors; containers and what has a type of its own are left to the function.

    >>> @checked
    ... def draw(count: Count):
    ...     return [0] * count
    >>> draw(0)
    Traceback (most recent call last):
    ...
    idinvert.settings.SettingsError: draw: count is 0, but should be greater than or equal to 1.
    """
    signature = inspect.signature(function)

    several = {name for name, parameter in signature.parameters.items()
               if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)}

    @functools.wraps(function)
    def call(*arguments, **options):
        bound = signature.bind(*arguments, **options)
        for name in bound.arguments.keys() & adapters(function).keys() - several:
            bound.arguments[name] = fitting(function, name, bound.arguments[name],
                                            function.__name__)
        return function(*bound.args, **bound.kwargs)
    return call


def check_values(values: Any) -> None:
    """SettingsError: a value of a plain dataclass does not fit its type, as `checked` has it."""
    for name in names(type(values)):
        if name in adapters(type(values)):
            fitting(type(values), name, getattr(values, name), f"--{name}")


@functools.cache
def adapters(of: Any) -> dict[str, pydantic.TypeAdapter]:
    """What checks the arguments of a function, or the fields of a class, that `is_plain`."""
    config = ConfigDict(arbitrary_types_allowed=True)
    return {name: pydantic.TypeAdapter(hint, config=config)
            for name, hint in typing.get_type_hints(of, include_extras=True).items()
            if is_plain(hint)}


def fitting(of: Any, name: str, value: Any, where: str, strict: bool = False) -> Any:
    """A value as its type has it, `strict`ly of that type; SettingsError."""
    try:
        fitted = adapters(of)[name].validate_python(value, strict=strict)
        check_dense(f"{where}: {name}", fitted)
        return fitted
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        shown = " ".join(repr(value).split())
        place = where if where.startswith("--") else f"{where}: {name}"
        raise SettingsError(f"{place} is {shown:.60}, but {reason(fault)}.") from None


def check_dense(name: str, values: Any) -> None:
    """SettingsError if a tensor has not all its numbers, as floats or integers, in memory; anything
    that is no tensor passes."""
    kinds = ("is_nested", "is_meta", "is_quantized")  # torch is not imported for options alone
    if hasattr(values, "is_nested") and (
            str(values.layout) != "torch.strided" or any(getattr(values, kind) for kind in kinds)):
        raise SettingsError(f"{name} must be a dense tensor with data: a nested tensor becomes one "
                            "by torch.stack(list(it)), a sparse one by to_dense(), a quantised one "
                            "by dequantize().")


def is_plain(hint: Any) -> bool:
    """Whether a type is one that `checked` checks."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return all(map(is_plain, typing.get_args(hint)))
    return typing.get_origin(hint) is Annotated or isinstance(hint, type) and not (
        dataclasses.is_dataclass(hint) or getattr(hint, "_is_protocol", False))


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
    message = reason(fault)
    if not name:
        return f"{where}: {message}."
    return f"{where}: {name} is {fault['input']!r:.60}, but {message}.".replace("..", ".")


def reason(fault: Mapping[str, Any]) -> str:
    """What a value should be, as the end of a sentence."""
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]


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
