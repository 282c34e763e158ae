"""The declarative list of models (zoo.yml): make the task of an entry, publish what it trained.

Runs live in `runs/NAME` (or `$IDINVERT_RUNS/NAME`): checkpoint, log and sample sheets.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import platform
import shutil
from pathlib import Path

import torch
import yaml
from torch import nn

from idinvert import boundaries, data, models
from idinvert.boundaries import svm
from idinvert.codes import render, sample_codes
from idinvert.metrics import features, frechet, kid
from idinvert.models import pretrained
from idinvert.nn import noise_encoder, projected
from idinvert.nn.e4e import LatentDiscriminator
from idinvert.processes import ALONE, Share

from . import classifier, e4e, encoder, gan, parallel
from .loop import Task
from .net2net import take_codes, wider

ZOO_FILE = Path(__file__).with_name("zoo.yml")
HELD_OUT = 200  # training images on which encoders are judged


def zoo() -> dict[str, dict]:
    """All entries, by model name, in the order in which they can be trained."""
    entries = yaml.safe_load(ZOO_FILE.read_text())
    return {name: described for name, described in entries.items() if not name.startswith(".")}


def entry(name: str, device: str = "cpu") -> dict:
    """One entry, its `gpu` part merged if that is where it runs.

    ValueError names the nearest ones if there is none.
    """
    entries = zoo()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, 3, 0.4) or list(entries)
        raise ValueError(f"Unknown model {name!r}: did you mean {', '.join(near)}?")
    described = dict(entries[name])
    faster = described.pop("gpu", {})
    if torch.device(device).type != "cuda":
        return described
    recipe = described.get("recipe", {}) | faster.get("recipe", {})
    return described | faster | {"recipe": recipe}


def domain(name: str) -> str:
    """The domain whose images a model is trained on."""
    described = entry(name)
    return described.get("domain") or domain(described["generator"])


def run_folder(name: str) -> Path:
    """Where checkpoint, log and sample sheets of a run lie."""
    registry = models.folder()
    above = registry.parent.parent  # results/weights, own/weights; but not above where we are
    beside = registry.parent in (Path.cwd(), Path(registry.anchor))
    default = (registry.parent if beside else above) / "runs"
    return Path(os.environ.get("IDINVERT_RUNS") or default) / name


def make_task(name: str, device: str = "cpu", kimg: float | None = None,
              share: Share = ALONE) -> Task:
    """The task of an entry, its networks initialised by the seed or from their parents.

    ValueError: several processes are to train what only one can.
    """
    described = entry(name, device)
    split = data.load(domain(name), "train")
    torch.manual_seed(described.get("seed", 0))
    return TASKS[described["kind"]](described, split, device, kimg or described["kimg"], share)


def gan_task(described: dict, split: data.Split, device: str, kimg: float, share: Share
             ) -> gan.GanTask:
    """A generator with its discriminator. Both begin from a parent's weights, the discriminator
    only if the parent's is of its kind. A teacher gives its codes, and its discriminator."""
    generator = models.build(f"{described['architecture']}.Generator", described["settings"])
    discriminator = new_discriminator(described, device)
    teacher = None
    if "parent" in described:
        parent = models.load(described["parent"])
        generator.load_state_dict(wider(parent.state_dict(), generator))
        go_on(discriminator, described["parent"])
    if "teacher" in described:
        teacher = models.load(described["teacher"])
        take_codes(generator, teacher)
        go_on(discriminator, described["teacher"])
    images = split.images.contiguous()
    return parallel.shared(share, gan.GanTask)(
        generator, discriminator, images, gan.Recipe(**described["recipe"]), device, teacher)


def discriminator_kind(described: dict) -> tuple[str, dict]:
    """Architecture and settings of the discriminator of a generator's entry: one that mirrors the
    generator, or with `projected` one that looks through VGG-16."""
    settings = described["settings"]
    if described.get("projected"):
        return "projected.Discriminator", {"resolution": settings["resolution"]}
    shared = ("resolution", "channel_base", "channel_max")
    return (f"{described['architecture'].split('.')[0]}.Discriminator",
            {key: settings[key] for key in shared if key in settings})


def new_discriminator(described: dict, device: str = "cpu") -> nn.Module:
    """An untrained discriminator for the generator of an entry or a card."""
    return seeing(models.build(*discriminator_kind(described)), device)


def seeing(discriminator: nn.Module, device: str) -> nn.Module:
    """A discriminator, with a VGG-16 attached if it judges features."""
    if isinstance(discriminator, projected.Discriminator):
        discriminator.attach(pretrained.load_vgg16(device))
    return discriminator


def discriminator_of(name: str, device: str = "cpu") -> nn.Module:
    """The discriminator that a generator was trained with, ready to judge images."""
    return seeing(models.load(models.companion(name, "discriminator")), device)


def go_on(discriminator: nn.Module, name: str) -> None:
    """Give a discriminator the weights of a generator's own, unless that is of another kind."""
    shipped = models.load(models.companion(name, "discriminator"))
    if type(shipped) is type(discriminator):
        discriminator.load_state_dict(wider(shipped.state_dict(), discriminator))


def encoder_task(described: dict, split: data.Split, device: str, kimg: float, share: Share
                 ) -> encoder.EncoderTask:
    """An encoder of any kind for the generator of the entry; it may begin as another encoder."""
    generator = models.load(described["generator"])
    network = new_encoder(described, generator)
    kind, images = described["kind"], split.images.contiguous()
    recipe = RECIPES[kind](**described.get("recipe", {}), kimg=kimg)
    common = {"images": images, "recipe": recipe, "device": device,
              "held_out": HELD_OUT, "judge": pretrained.load_efficientnet_lite0()}
    if kind == "conventional":
        return parallel.shared(share, encoder.ConventionalTask)(network, generator, **common)
    if kind == "e4e":
        codes = sample_codes(generator, 10_000)
        discriminator = LatentDiscriminator(codes.mean(0), codes.std(0))
        return parallel.shared(share, e4e.OffsetTask)(
            network, generator, discriminator, pretrained.load_vgg16(), **common)
    return parallel.shared(share, encoder.DomainGuidedTask)(
        network, generator, discriminator_of(described["generator"], device),
        pretrained.load_vgg16(), **common)


def new_encoder(described: dict, generator: nn.Module) -> nn.Module:
    """The encoder of an entry, fitted to the codes of its generator.

    A parent's weights are where it begins; what the parent lacks begins anew. `average` adds the
    average code (Eq. 6). Noise maps are scaled so that the generator heeds them.
    """
    network = models.build(encoder_architecture(described), encoder_settings(described, generator))
    if "parent" in described:
        parent = models.load(described["parent"]).state_dict()
        network.load_state_dict(network.state_dict() | parent)
    codes = sample_codes(generator, 10_000)
    network.w_std.copy_(codes.std(0))
    network.w_avg.copy_(codes.mean(0) if described.get("average") else torch.zeros_like(codes[0]))
    if isinstance(network, noise_encoder.NoiseEncoder):
        network.map_scale.copy_(noise_encoder.map_scales(generator)[:len(network.map_scale)])
    return network


def encoder_architecture(described: dict) -> str:
    """Name of the architecture of an encoder, the paper's base unless the entry tells."""
    return described.get("architecture", "encoder.Encoder")


def encoder_settings(described: dict, generator: nn.Module) -> dict:
    """Settings of an encoder that fits its generator."""
    return {"resolution": generator.resolution, "w_dim": generator.w_dim, **described["settings"]}


def classifier_task(described: dict, split: data.Split, device: str, kimg: float, share: Share
                    ) -> classifier.ClassifierTask:
    """An attribute classifier of the entry's domain."""
    labels = data.binary_labels(split.labels, split.domain)
    mirrored = classifier.mirrored_labels(split.labels, split.domain)
    network = models.build("classifier.Classifier",
                            {"attributes": labels.shape[1], **described.get("settings", {})})
    recipe = classifier.Recipe(**described.get("recipe", {}), kimg=kimg)
    return parallel.shared(share, classifier.ClassifierTask)(
        network, split.images, labels, mirrored, recipe, device)


# Networks of a task that the published weights of its model fill.
PARTS = {"gan": ("generator", "average"), "domain_guided": ("encoder",), "e4e": ("encoder",),
         "conventional": ("encoder",), "classifier": ("classifier", "average")}
# Bits in which the weights of each kind are stored. Generators show more of what is rounded away:
# in 5 bits images of the same codes differ by an MSE of 3e-3, in 8 by 5e-5. By 4.5 bits encoders
# lose 1 % of MSE (MobileNet 3 %), by 6 classifiers up to 0.007 of accuracy, and discriminators tell
# real from painted faces by 4 as by all (AUC 0.990 and 0.991).
BITS = {"gan": 8, "classifier": 6, "discriminator": 4, "domain_guided": 4.5, "conventional": 4.5,
        "e4e": 4.5}
# Of the difference from the model that one began as, which is smaller than the whole.
DIFFERENCE_BITS = BITS | {"gan": 6, "domain_guided": 3}
TASKS = {"gan": gan_task, "domain_guided": encoder_task, "conventional": encoder_task,
         "e4e": encoder_task, "classifier": classifier_task}
RECIPES = {"domain_guided": encoder.Recipe, "conventional": encoder.Recipe, "e4e": e4e.Recipe}


def adopt(name: str, task: Task, writes: bool = True) -> tuple[int, float]:
    """Begin where the published weights ended, if there are any and no checkpoint of the run.

    Better hardware so continues what was shipped, GANs also with more channels than that had; only
    the state of Adam starts anew. Of several processes one `writes` the log. Returns the steps and
    seconds already spent, for `loop.train`.
    """
    folder = run_folder(name)
    if not trained(name) or (folder / "checkpoint.pt").exists():
        return 0, 0.0
    state = models.load(name).state_dict()
    if entry(name)["kind"] == "gan":
        state = wider(state, task.generator)
        go_on(task.discriminator, name)
    for part in PARTS[entry(name)["kind"]]:
        getattr(task, part).load_state_dict(state)
    log = kept_log(name)
    if writes and log.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(log, folder / "log.jsonl")
    card = models.card(name)
    return round(card["kimg"] * 1000 / task.batch), card["seconds"]


def publish(name: str, task: Task) -> dict:
    """Save a task's networks in the registry, in few bits, with a card of their cost, which is
    returned. `relative_to` names the model from which they are stored as a difference."""
    described = entry(name, task.device)
    kind, other = described["kind"], described.get("relative_to")
    stored = {"bits": BITS[kind], "relative_to": other, "difference_bits": DIFFERENCE_BITS[kind]}
    facts = {"kind": kind, "domain": domain(name), "data": "worlds, training split",
             "seed": described.get("seed", 0), "recipe": described.get("recipe", {}), **cost(name)}
    kept = ("generator", "parent", "teacher", "average", "projected", "notes")
    facts |= {key: described[key] for key in kept if key in described}
    if kind == "gan":
        facts["evaluation"] = generator_figures(task.average, domain(name))
        models.save(models.companion_name(name, "discriminator"), task.discriminator,
                    *discriminator_kind(described), bits=BITS["discriminator"],
                    relative_to=other and models.companion(other, "discriminator"),
                    **facts | {"kind": "discriminator"})
        saved = models.save(name, task.average, f"{described['architecture']}.Generator",
                             described["settings"], **stored, **facts)
    elif kind == "classifier":
        facts["attributes"] = task.names
        saved = models.save(name, task.average, "classifier.Classifier",
                             {"attributes": len(task.names), **described.get("settings", {})},
                             **stored, **facts)
    else:
        saved = models.save(name, task.encoder, encoder_architecture(described),
                             encoder_settings(described, task.generator), **stored, **facts,
                             curve=curve(name))
    keep_log(name)
    return saved


@torch.no_grad()
def generator_figures(generator: nn.Module, domain: str, count: int = 1000) -> dict[str, float]:
    """KID x 1e3 and FD of `count` samples, without truncation, against as many test images."""
    device = next(generator.parameters()).device
    judge = pretrained.load_efficientnet_lite0(device)
    real = data.to_float(data.load(domain, "test", count).images)
    codes = sample_codes(generator, count, seed=1)
    seen = features.extract(render(generator, codes), judge)
    wanted = features.extract(real.to(device), judge)
    return {"kid_x1e3": 1e3 * kid.mmd2(seen, wanted), "fd": frechet.fd(seen, wanted),
            "images": count}


def fit_boundaries(name: str, device: str = "cpu") -> list[boundaries.Boundary]:
    """Fit and publish the boundaries of a generator, one per attribute of the classifier."""
    described = entry(name)
    settings = described["settings"]
    generator = models.load(described["generator"], device)
    judge = models.load(described["classifier"], device)
    codes = sample_codes(generator, settings["samples"])
    scores = svm.score(generator, judge, codes, progress=True)
    fitted = [
        svm.fit(codes.cpu(), scores[:, i], settings["share"], name=attribute)
        for i, attribute in enumerate(models.card(described["classifier"])["attributes"])
    ]
    models.save_boundaries(described["generator"], fitted)
    return fitted


def trained(name: str) -> bool:
    """Whether the registry holds what an entry describes."""
    return models.exists(name)


def keep_log(name: str) -> None:
    """Copy the log of a run to results/logs, if it took a step."""
    if read_log(name):
        kept_log(name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run_folder(name) / "log.jsonl", kept_log(name))


def kept_log(name: str) -> Path:
    """Where the log of a published model is kept; one that took no step has none."""
    return models.folder().with_name("logs") / f"{name}.jsonl"


def cost(name: str) -> dict:
    """Thousand images, seconds, hardware and last evaluation of a run, from its log; zeros if it
    took no step, as a generator that is its parent but for its codes."""
    last = (read_log(name) or [{"kimg": 0, "seconds": 0}])[-1]
    figures = {k: v for k, v in (evaluations(name) or [{}])[-1].items()
               if k not in ("step", "kimg", "seconds")}
    return {"kimg": last["kimg"], "seconds": last["seconds"], "hardware": hardware(),
            "torch": torch.__version__, "evaluation": figures}


def curve(name: str, points: int = 50) -> list[dict]:
    """The evaluations of a run from first to last, at most so many of them, without the clock."""
    lines = evaluations(name)
    every = max(1, math.ceil((len(lines) - 1) / (points - 1)))
    chosen = sorted({len(lines) - 1 - i for i in range(0, len(lines), every)})
    return [{k: v for k, v in lines[i].items() if k not in ("step", "seconds")} for i in chosen]


def evaluations(name: str) -> list[dict]:
    """The log lines of a run that hold an evaluation."""
    return [line for line in read_log(name) if "images_per_second" not in line]


def read_log(name: str) -> list[dict]:
    """The log lines of a run, none if it took no step."""
    log = run_folder(name) / "log.jsonl"
    return [json.loads(x) for x in log.read_text().splitlines()] if log.exists() else []


def hardware() -> str:
    """The processor that this process trains on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores, {platform.machine()}"
