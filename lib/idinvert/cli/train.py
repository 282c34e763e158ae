"""Train a generator, an encoder or a classifier.

    idinvert train --list
    idinvert train face-stylegan-layerwise --kimg 1000
    idinvert train --all --budget-minutes 60

trains models of the study, or continues them where they stopped: the log, checkpoints and samples
are in runs/NAME, the weights and their card among the models.

    idinvert train gan mine --images photos/ --resolution 32
    idinvert train encoder --generator mine --images photos/
    idinvert train classifier mine-classifier --images photos/ --labels labels.csv

train on images of your own (`idinvert train gan --help`). Several GPUs share the batches:
torchrun --nproc-per-node 4 -m idinvert train NAME.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, replace
from typing import Annotated, Literal

from pydantic import Field
from tyro.conf import Positional

from idinvert import models, processes
from idinvert.models import roles, store
from idinvert.nn.architecture import NETWORKS
from idinvert.settings import Count, Positive, Seed, settings
from idinvert.training import classifier, encoder, gan, runs, train, zoo
from idinvert.training.discriminators import PROJECTED, mirror, own_or_new
from idinvert.training.entries import Entry
from idinvert.training.images import OwnImages

from . import UsageError, check_writable, given, read_options, shown

Side = Annotated[int, Field(ge=1, le=store.LIMITS["resolution"])]  # of images, px


@settings
class Budget:
    """How long to train, and where."""

    _: KW_ONLY
    # for all models together: stop cleanly after this; the same command continues
    budget_minutes: Positive | None = None
    checkpoint_kimg: Positive = 10.0  # thousand images between two checkpoints
    device: str = "auto"  # cuda if there is one, else cpu


@settings
class Models(Budget):
    """Models of the study."""

    names: Positional[tuple[str, ...]] = ()  # models of the study, see --list
    _: KW_ONLY
    list: bool = False  # show every model and its state
    all: bool = False  # train what is missing, or was stopped before its end, in order
    kimg: Positive | None = None  # thousand images; as the study has them if not given
    # repeat a training with this seed and keep its log alone, results/logs/NAME-seedSEED.jsonl:
    # the study compares such logs where it asks what another seed gives
    seed: Seed | None = None


@settings
class OfImages(Budget):
    """What models of images of one's own share."""

    _: KW_ONLY
    images: str  # folder, zip or LMDB
    split: Literal["ffhq", "lsun", "all"] = "all"  # whose training images are used
    seed: Seed = 0  # of the first weights and of every step

    def common(self) -> dict:
        """What entries of every kind say."""
        return {"kimg": self.kimg, "seed": self.seed, "recipe": self.recipe,
                "images": OwnImages(self.images, self.split)}

    def warn_of_unused(self, projected: bool, unused: Mapping[str, str] = {}) -> None:
        """Warn of settings that are given and change nothing, for a reason each; also of those of a
        penalty that a projected discriminator does not have."""
        if projected:
            unused = dict(unused) | dict.fromkeys(
                ("r1_gamma", "r1_every"), "a projected discriminator has no penalty")
        for name in given(self.recipe):
            if name in unused:
                warnings.warn(f"--{name.replace('_', '-')} changes nothing: {unused[name]}.",
                              stacklevel=3)


@settings
class Gan(OfImages):
    """A new generator."""

    name: Positional[str]  # of the new generator
    _: KW_ONLY
    kimg: Positive = 1000  # thousand images; more continues
    architecture: Literal["stylegan", "stylegan2"] = "stylegan2"  # of the generator
    resolution: Side = 64  # px, a power of two
    layerwise: bool = False  # one code per layer (section 6.2)
    channel_base: Count = 1024  # a layer at r px has base / r channels
    channel_max: Count = 128  # most channels of a layer
    dimensions: Count = 64  # of a layer's code
    # a discriminator with the features of VGG-16: convincing samples after a tenth of the images;
    # else, and for images of 8 px, one that mirrors the generator
    projected: bool = True
    recipe: gan.Recipe = gan.Recipe(augment=True)  # how it is trained

    def entry(self) -> gan.GanEntry:
        """What is to be trained."""
        architecture = f"{self.architecture}.Generator"
        size = {"resolution": self.resolution, "z_dim": self.dimensions, "w_dim": self.dimensions,
                "channel_base": self.channel_base, "channel_max": self.channel_max,
                "layerwise": self.layerwise}
        self.warn_of_unused(self.projected, {"teacher_weight": "there is no teacher"})
        judge = {} if self.projected else {"discriminator": mirror(architecture)}
        return gan.GanEntry(architecture, size, name=self.name, **judge, **self.common())


@settings
class EncoderRecipe(encoder.Recipe):
    """As `encoder.Recipe`, whose batch depends on the generator unless told."""

    batch: Count | None = None  # images of a step; 16, of photographs 4 if not given


@settings
class Encoder(OfImages):
    """A new domain-guided encoder for a generator of the registry."""

    _: KW_ONLY
    generator: str  # of the registry
    name: str | None = None  # of the new encoder, GENERATOR-base unless told
    kimg: Positive = 100  # thousand images; more continues
    average: bool = False  # predict the offset from the average code (section 5.2)
    # its network: encoder.Encoder, for photographs pooled.Encoder if not given; also
    # backbones.ResNet or one of a plug-in
    backbone: str | None = None
    # channels of the first layer, of networks that have this setting; 32 if not given
    channel_base: Count | None = None
    channel_max: Count | None = None  # most channels of a layer, likewise; 64 if not given
    recipe: encoder.Recipe = EncoderRecipe()  # how it is trained

    def entry(self) -> encoder.DomainGuidedEntry:
        """What is to be trained."""
        of_photographs = models.advice(self.generator).get("backbone")
        backbone = self.backbone or of_photographs or encoder.EncoderEntry.architecture
        size = {"channel_base": self.channel_base, "channel_max": self.channel_max}
        size = {name: value for name, value in size.items() if value is not None}
        for name in size:
            if name not in inspect.signature(NETWORKS[backbone]).parameters:
                raise UsageError(f"{backbone} does not use --{name.replace('_', '-')}: leave it "
                                 "out.")
        if backbone == encoder.EncoderEntry.architecture:
            size = {"channel_base": 32, "channel_max": 64} | size
        self.warn_of_unused(own_or_new(self.generator)[1] == PROJECTED)
        batch = self.recipe.batch or (4 if of_photographs else 16)  # 16 at 1024 px would take 20 GB
        return encoder.DomainGuidedEntry(
            self.generator, backbone, size, self.average or backbone == of_photographs,
            name=self.name or models.companion_name(self.generator, "encoder"),
            **self.common() | {"recipe": replace(self.recipe, batch=batch)})


@settings
class Classifier(OfImages):
    """A new attribute classifier, which judges edits."""

    name: Positional[str]  # of the new classifier; that of a generator is GENERATOR-classifier
    _: KW_ONLY
    labels: str  # CSV: a column `image`, and one of 0 and 1 for each attribute
    sided: tuple[str, ...] = ()  # attributes that a mirror image reverses, as a pose to the right
    kimg: Positive = 300  # thousand images; more continues
    resolution: Side = 64  # px, that of the generator
    recipe: classifier.Recipe = classifier.Recipe()  # how it is trained

    def entry(self) -> classifier.ClassifierEntry:
        """What is to be trained."""
        self.warn_of_size()
        images = OwnImages(self.images, self.split, self.labels, self.sided)
        return classifier.ClassifierEntry(
            name=self.name, settings={"resolution": self.resolution},
            **self.common() | {"images": images})

    def warn_of_size(self) -> None:
        """Warn if the classifier of a generator would judge images of another size."""
        generator = self.name.removesuffix(roles.ENDINGS["classifier"])
        if generator == self.name or not models.exists(generator):
            return
        described = models.card(generator)
        sizes = [part.get("resolution") for part in (
            described.get("settings", {}), described.get("inversion", {}))]
        if sizes[0] and self.resolution not in sizes:
            warnings.warn(f"{self.name} learns to judge images of {self.resolution} px, but "
                          f"{generator} renders {sizes[0]}: take --resolution {sizes[0]}.",
                          stacklevel=2)


OWN = {"gan": Gan, "encoder": Encoder, "classifier": Classifier}
DEFAULTS = ("--projected", "--augment")  # flags that say what holds without them


def state(entry: Entry) -> str:
    """One line on a model: trained or not, what was spent, last figures, or what is damaged."""
    try:
        return sound_state(entry)
    except (ValueError, OSError, OverflowError) as error:
        return f"{entry.name:40} {shown(str(error))}"


def sound_state(entry: Entry) -> str:
    """As `state`; ValueError and OSError: a file cannot be read. OverflowError: a number in it."""
    name = entry.name
    if not models.exists(name):
        return f"{name:40} not trained"
    if entry.role == "boundaries":
        fitted = models.load_boundaries(entry.generator).values()
        return f"{name:40} accuracy  " + shown(
            " ".join(f"{b.name}={b.accuracy:.3f}" for b in fitted))
    card = models.card(name)
    if not train.is_same(entry):
        return f"{name:40} another model of this name"
    figures = " ".join(f"{k}={v:.4g}" for k, v in card.get("evaluation", {}).items()
                       if isinstance(v, int | float))
    return (f"{name:40} {card.get('kimg', 0):8.0f} kimg {card.get('seconds', 0) / 60:7.0f} min  "
            f"{shown(figures)}")


def unfinished(entry: Entry, kimg: float | None) -> bool:
    """Whether a model is missing, or was published by a run that stopped before its end."""
    return not models.exists(entry.name) or (
        runs.begun(entry.name) and models.card(entry.name).get("kimg", 0) < (kimg or entry.kimg))


def train_one(entry: Entry, kimg: float | None, seed: int | None, budget: Budget,
              share: processes.Share) -> bool:
    """Train one model and publish it, also where it was stopped early, or repeat its training with
    a seed; True if finished."""
    wanted = entry.kimg if kimg is None else kimg
    done = seed is None and train.is_finished(entry.lasting(wanted))
    card = train.train_entry(entry, kimg=kimg, seed=seed, share=share, device=budget.device,
                             budget_minutes=budget.budget_minutes,
                             checkpoint_kimg=budget.checkpoint_kimg)
    if done:
        report = f"{state(entry)}  (--kimg above {card['kimg']:g} trains on)"
    elif seed is not None:
        report = (f"{entry.name}, seed {seed}: {card['kimg']:g} kimg, {card['seconds'] / 60:.1f} "
                  f"minutes, log in {runs.log_folder()}")
    elif entry.role == "boundaries":
        report = state(entry)
    else:
        report = (f"{entry.name}: {card['kimg']:g} kimg, {card['parameters'] / 1e6:.2f} M "
                  f"parameters, {card['seconds'] / 60:.1f} minutes, saved in {models.folder()}")
    if share.first:
        print(report)
    return entry.role == "boundaries" or card["kimg"] >= wanted


def main(arguments: list[str]) -> None:
    """Train what is asked for; KeyboardInterrupt where a budget ended it before it was finished."""
    share = processes.share()
    if arguments and arguments[0] in OWN:
        kind, kimg = OWN[arguments[0]], None
        seed = None  # that of the entry
        words = [word for word in arguments[1:] if kind is not Gan or word not in DEFAULTS]
        options = read_options(kind, words, f"train {arguments[0]}", kind.__doc__)
        device, entries = share.device(options.device), [options.entry()]
    else:
        options = read_options(Models, arguments, __name__, __doc__)
        if options.list:
            print("\n".join(map(state, zoo.entries().values())))
            return
        if not options.names and not options.all:
            raise UsageError("name at least one model, or use --all or --list.")
        if options.names and options.all:
            raise UsageError("name models, or take --all, which trains every one that is missing "
                             "or unfinished.")
        if options.all and options.seed is not None:
            raise UsageError("name the models whose training is to be repeated with another seed: "
                             "--all trains what is missing or unfinished.")
        for kind in OWN.keys() & set(options.names):
            raise UsageError(f"{kind} comes first: idinvert train {kind}, then its options.")
        kimg, seed = options.kimg, options.seed
        device = share.device(options.device)
        names = options.names or [name for name, entry in zoo.entries(device).items()
                                  if unfinished(entry, kimg)]
        if not names and share.first:
            print("Every model of the study is trained.")
        entries = [zoo.entry(name, device) for name in names]
    processes.warn_if_crowded(share, device)
    check_writable(models.folder(), runs.log_folder())
    processes.connect(share, device)
    begun = time.monotonic()
    try:
        for entry in entries:
            left = options.budget_minutes and max(  # a step is taken in any case
                options.budget_minutes - (time.monotonic() - begun) / 60, 1e-9)
            if not train_one(entry, kimg, seed, replace(options, budget_minutes=left), share):
                raise KeyboardInterrupt
    finally:
        processes.disconnect()
