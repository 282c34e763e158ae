"""What can be trained: the registry of tasks, and what an entry of the list of models says.

A task is one file of this package, or of a plug-in, with one class for its entries: a subclass of
`Entry` decorated with `@task(KIND)`. Its fields are the settings; it makes its networks ready for
training, and says which of them are published.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from idinvert import data, models
from idinvert.models import store
from idinvert.nn.architecture import NETWORKS, build
from idinvert.nn.protocols import missing
from idinvert.processes import ALONE, Share
from idinvert.registry import Registry, nearest
from idinvert.settings import Bits, NotNegative, Seed, adapters, fitting, settings

from .images import OwnImages
from .steps import NetworkTask

Kind = TypeVar("Kind", bound="Entry")


@dataclass(frozen=True)
class Published:
    """A network of a task that is published, and the bits in which its weights are stored.

    Generators show more of what is rounded away: in 5 bits images of the same codes differ by an
    MSE of 3e-3, in 8 by 5e-5. By 4.5 bits encoders lose 1 % of MSE (MobileNet 3 %; two of churches
    would lose 3 and 5 %, and have `Entry.bits` of their own). By 6 classifiers lose up to 0.007 of
    accuracy, and discriminators tell real from painted faces by 4 as by all (AUC 0.990 and 0.991).
    """

    network: str  # its name in the task
    bits: float
    difference_bits: float  # of the difference from another model, which is smaller than the whole
    role: str = ""  # that of a companion, if it is not the model itself


@settings
class Entry:
    """What every entry of the list of models says.

    An entry trains either on a rendered domain, or on images of one's own. Models that it needs are
    named by their role: parent, teacher, generator, classifier.
    """

    _: KW_ONLY
    name: str
    kimg: NotNegative  # length of the training in thousand images
    seed: Seed = 0
    domain: str | None = None
    images: OwnImages | None = None
    relative_to: str | None = None  # a model from which the difference is stored
    bits: Bits | None = None  # in which its weights are stored; as `published` has it unless told
    notes: str = ""

    kind: ClassVar[str]
    role: ClassVar[str]  # what the model is to its generator
    published: ClassVar[tuple[Published, ...]] = ()
    several_processes: ClassVar[bool] = False  # whether several can share its batches

    def __post_init__(self) -> None:
        """ValueError: the settings do not fit one another, or the network that they are for."""
        if hasattr(self, "architecture"):
            check_network(self.architecture, self.settings)

    def lasting(self: Kind, kimg: float) -> Kind:
        """The entry, trained for so many thousand images. In a longer run a learning rate that
        decays goes on as the entry has it."""
        return replace(self, kimg=kimg)

    def scheduled_recipe(self, **changes: Any) -> Any:
        """The recipe, its schedule as long as the run unless told otherwise."""
        schedule = self.recipe.schedule_kimg or self.kimg or None
        return replace(self.recipe, schedule_kimg=schedule, **changes)

    def make_task(self, device: str = "cpu", share: Share = ALONE) -> NetworkTask:
        """The task of this entry, its networks initialised by the seed or from their parents, the
        training images loaded."""
        raise NotImplementedError

    def adopt(self, task: NetworkTask) -> None:
        """Let a task begin with the weights under which this entry is published."""
        getattr(task, self.published[0].network).load_state_dict(
            models.load(self.name).state_dict())

    def made_for(self) -> dict:
        """What a run of it fits, of the models that it needs, as they are now."""
        return {}

    def fixed(self, task: NetworkTask) -> dict:
        """What a run depends on beyond the settings, and may not change while it goes on."""
        return {"images of the hash": content(task.images)} | self.made_for()

    def facts(self, task: NetworkTask) -> dict:
        """What the card says beyond what every card does."""
        return {}

    def needs(self) -> dict[str, str]:
        """Names of the models from which this one is trained, by what they are to it."""
        named = {part: getattr(self, part, None)
                 for part in ("parent", "teacher", "generator", "classifier")}
        return {part: name for part, name in named.items() if name}

    def training_images(self, size: int, share: Share = ALONE) -> Tensor:
        """uint8 images [N, 3, size, size] to train on."""
        if self.images:
            return self.images.load(size, self.seed, share)[0]
        return data.load(self.domain, "train").images.contiguous()


def content(tensor: Tensor) -> str:
    """16 hexadecimal digits that name a tensor by its content."""
    return hashlib.sha256(tensor.cpu().contiguous().numpy()).hexdigest()[:16]


TASKS: Registry[type[Entry]] = Registry(
    "training task", "idinvert.training",
    lambda kind: isinstance(kind, type) and issubclass(kind, Entry),
    "it needs to be a class of entries")


def task(kind: str) -> Callable[[type[Kind]], type[Kind]]:
    """A decorator that registers the class of the entries of a kind, whose settings are checked."""
    def add(entry: type[Kind]) -> type[Kind]:
        entry.kind = kind
        return TASKS.register(kind)(settings(entry))
    return add


def check_network(architecture: str, settings: Mapping[str, Any]) -> None:
    """ValueError unless there is such a network, and it has these settings, of their types."""
    kind = NETWORKS[architecture]
    known = inspect.signature(kind).parameters
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"{architecture} has no setting {name!r}: {nearest(name, known)}")
        if name in adapters(kind.__init__):
            fitting(kind.__init__, name, value, architecture, strict=True)


def untrained(architecture: str, settings: Mapping[str, Any], protocol: type) -> nn.Module:
    """A new network with the members of a protocol; ValueError: it lacks one, or the settings fit
    none, or only one larger than a model can be."""
    try:
        store.check_size({"architecture": architecture, "settings": settings})
    except MemoryError:
        raise
    except Exception as error:  # constructors raise many types on settings that do not fit
        raise ValueError(f"A {architecture} of this size cannot be trained: "
                         f"{str(error).rstrip('.')}.") from error
    network = build(architecture, settings)
    if lacking := missing(network, protocol):
        raise ValueError(f"{architecture} is no {protocol.__name__.lower()}, for it has no "
                         f"{lacking[0]}: name another network.")
    return network
