"""Metrics of the study: plain functions of tensors, found by name in METRICS.

A metric is one function with the decorator `metric`, in a module of this package or in a plug-in.
Of kind "pair", it gives a number for each image and its reconstruction; of kind "set", one distance
between two sets of images or of their features. It then is a column of the tables.

Images are [N, 3, H, W], RGB, in [-1, 1], and are clipped to that range as a saved file would be;
features are [N, F]. `bootstrap` gives intervals, `attributes` measures edits and boundaries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from idinvert.registry import Registry
from idinvert.settings import Count, settings

Function = TypeVar("Function", bound=Callable)


@settings
class Metric:
    """An entry of METRICS; SettingsError: a fact of another type, or that says something else.

    Args:
        name: of its columns, in lower case ("mse").
        title: in headings, with its factor ("KID x 1e3").
        kind: "pair": (images [N, 3, H, W], targets [N, 3, H, W]) -> Tensor [N];
            "set": (set, real set) -> float, lower for nearer sets.
        function: measures, without `factor`.
        better: which of two values is the better one.
        of: what a set metric compares, "images" or "features".
        factor: by which tables multiply the value.
        equal_numbers: whether values depend on the number of images, so that sets are compared at
            equal numbers.
        prepare: what is done once to the sets, before they are resampled:
            (list of sets, real) -> the same.
        resampled: a set metric of many subsets at once: (set, real, weights of the set [S, N] and
            of the real one [S, M], 0 or 1) -> Tensor [S].
        resamples: half samples behind the interval of a set metric.
    """

    name: str
    title: str
    kind: Literal["pair", "set"]
    function: Callable
    better: Literal["lower", "higher"] = "lower"
    of: Literal["images", "features"] = "images"
    factor: float = 1.0
    equal_numbers: bool = True
    prepare: Callable | None = None
    resampled: Callable | None = None
    resamples: Count = 50

    @property
    def __wrapped__(self) -> Callable:
        """The function, by whose module and name messages call the entry."""
        return self.function


METRICS: Registry[Metric] = Registry(
    "metric", __name__, lambda entry: isinstance(entry, Metric) and callable(entry.function),
    "it needs to be a function that `metric` decorates")


def metric(name: str, **facts: Any) -> Callable[[Function], Function]:
    """A decorator that registers a function as a metric; `facts` are fields of `Metric`.

    >>> @metric("example", title="Example", kind="pair")
    ... def largest_difference(a, b):
    ...     return (a - b).abs().amax((1, 2, 3))
    >>> METRICS.entries.pop("example").title
    'Example'
    """
    def add(function: Function) -> Function:
        METRICS.register(name)(Metric(name=name, function=function, **facts))
        return function
    return add


def named(kind: str) -> list[str]:
    """Names of the metrics of one kind in alphabetical order, the order of columns.

    >>> named("set")
    ['fd', 'kid', 'swd']
    """
    return sorted(name for name, entry in METRICS.items() if entry.kind == kind)
