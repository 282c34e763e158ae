"""Inversion methods: one file each, in this package or in a plug-in, found by its registered name.

A method is a class of settings with a title, the networks that it needs, and `invert`:

    @METHODS.register("average")
    @settings
    class Average:
        \"\"\"Every image gets the average code.\"\"\"

        title = "Average code"
        needs = ()

        def invert(self, networks, images, *, on_step=None, progress=False): ...
"""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import ClassVar, Protocol

from torch import Tensor

from idinvert.models.roles import ROLES
from idinvert.registry import Registry

from ..optimiser import Inversion, Networks, OnStep


class Method(Protocol):
    """Settings of an inversion method, checked when made: see `idinvert.settings`."""

    title: ClassVar[str]  # for tables and figures
    needs: ClassVar[tuple[str, ...]]  # networks that it uses beside the generator, as in `Networks`

    def invert(self, networks: Networks, images: Tensor, *, on_step: OnStep | None = None,
               progress: bool = False) -> Inversion:
        """Codes of images [N, 3, H, W] in [-1, 1], as one batch.

        on_step: called with (iteration, codes, images) before every step, if there are steps.
        progress: show a bar over the steps.
        ValueError: images that do not fit the networks.
        """


def is_method(kind: object) -> bool:
    """Whether a class has what every command asks of a method."""
    title, needs, invert = (getattr(kind, name, None) for name in ("title", "needs", "invert"))
    return (isinstance(kind, type) and is_dataclass(kind) and callable(invert)
            and isinstance(title, str)
            and isinstance(needs, tuple) and {*needs} <= {"features", *ROLES})


METHODS: Registry[type[Method]] = Registry(
    "inversion method", __name__, is_method,
    "it needs to be a class of settings with title, needs (a tuple of roles) and invert")


def name_of(method: Method) -> str:
    """The name under which a method is registered."""
    return next(name for name, kind in METHODS.items() if kind is type(method))
