"""The registry of network classes, whose instances know how they were built.

>>> net = build("projected.Discriminator", {"resolution": 16})
>>> net.architecture, net.settings
('projected.Discriminator', {'resolution': 16, 'width': 64})

A network is one file with one decorated class, in this package or in a plug-in (see `registry`); an
encoder's backbone is such a class too, see `encoder.CodeEncoder`.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, get_args

from torch import Tensor, nn

from idinvert.registry import Registry, nearest
from idinvert.settings import SettingsError

Class = TypeVar("Class", bound=type[nn.Module])

NETWORKS: Registry[type[nn.Module]] = Registry("network", "idinvert.nn")


def network(name: str) -> Callable[[Class], Class]:
    """A decorator that registers a class of networks under a name.

    Each instance then has `architecture`, that name, and `settings`, the arguments that it was
    built with, defaults included, as JSON values. Arguments annotated as tensors are left out:
    what they fill is part of the state. A subclass has neither unless it is decorated itself.

    TypeError: the constructor has `*arguments` or `**options`, whose names nobody knows; or, when
    an instance is made, an argument is no JSON value. RegistryError: the name is taken.
    """
    def add(kind: Class) -> Class:
        plain = kind.__init__
        signature = inspect.signature(plain, eval_str=True)
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in signature.parameters.values()):
            raise TypeError(f"The constructor of network {name!r} must name all its arguments.")

        @functools.wraps(plain)
        def recorded(self: nn.Module, *arguments: Any, **options: Any) -> None:
            plain(self, *arguments, **options)
            if type(self) is kind:
                given = signature.bind(self, *arguments, **options)
                given.apply_defaults()
                self.architecture = name
                self.settings = plain_settings(name, given, signature)

        kind.__init__ = recorded
        return NETWORKS.register(name)(kind)
    return add


def plain_settings(name: str, given: inspect.BoundArguments, signature: inspect.Signature
                   ) -> dict[str, Any]:
    """The arguments of a constructor as JSON values, without `self` and without tensors."""
    _, *names = signature.parameters
    settings = {key: given.arguments[key] for key in names
                if not is_tensor(signature.parameters[key].annotation)}
    try:
        return json.loads(json.dumps(settings))
    except TypeError as error:
        raise TypeError(f"The arguments of network {name!r} must be numbers, text or lists of "
                        f"them ({error}); annotate one that is a tensor as Tensor.") from error


def is_tensor(annotation: Any) -> bool:
    """Whether an annotation is `Tensor` or a union with it."""
    return annotation is Tensor or Tensor in get_args(annotation)


def build(architecture: str, settings: Mapping[str, Any]) -> nn.Module:
    """An untrained network of a registered class.

    Errors as `check_settings`, and ValueError: a value that does not fit.
    """
    check_settings(architecture, settings)
    return NETWORKS[architecture](**settings)


def check_settings(architecture: str, settings: Iterable[str]) -> None:
    """RegistryError unless there is such a class; SettingsError unless its constructor has
    arguments of these names."""
    known = list(inspect.signature(NETWORKS[architecture]).parameters)
    for name in settings:
        if name not in known:
            raise SettingsError(f"{architecture}: unknown setting {name!r}: {nearest(name, known)}")
