"""Training on images of one's own: `python -m idinvert.training gan NAME --images PATH` a small
generator, `encoder --generator NAME --images PATH` an encoder for any generator of the registry,
`classifier NAME --images PATH --labels CSV` a judge of edits. Runs, logs and cards are those of the
zoo's models."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from idinvert import models, processes
from idinvert.boundaries import labelled
from idinvert.data import load_images, open_source
from idinvert.data.sources import SPLITS, split
from idinvert.files import check_notes
from idinvert.models import pretrained

from . import classifier, encoder, gan, parallel, zoo
from .loop import Schedule, Task, train

FEWEST = 16  # images


def build_parser() -> argparse.ArgumentParser:
    """The command line of both commands."""
    parser = argparse.ArgumentParser(prog="idinvert.training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_gan(commands.add_parser("gan", help="train a generator"))
    add_encoder(commands.add_parser("encoder", help="train an encoder"))
    add_classifier(commands.add_parser("classifier", help="train an attribute classifier"))
    return parser


def add_shared(parser: argparse.ArgumentParser, kimg: float) -> None:
    """Options of both commands."""
    parser.add_argument("--images", required=True, help="folder, zip or LMDB")
    parser.add_argument("--split", choices=SPLITS, default="all", help="train on the training "
                        "images of the paper's split, on all unless told")
    parser.add_argument("--kimg", type=float, default=kimg,
                        help=f"thousand images, {kimg:g} unless told; more continues")
    parser.add_argument("--batch", type=int, default=16, help="of all processes together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget-minutes", type=float, default=float("inf"),
                        help="stop cleanly after this time; the same command continues")
    parser.add_argument("--checkpoint-kimg", type=float, default=10.0)
    parser.add_argument("--device", default="auto", help="cuda if there is one")


def add_gan(parser: argparse.ArgumentParser) -> None:
    """Options of a generator."""
    parser.add_argument("name", help="of the new generator")
    add_shared(parser, 1000)
    parser.add_argument("--resolution", type=int, default=64, help="px, a power of two")
    parser.add_argument("--architecture", choices=("stylegan", "stylegan2"), default="stylegan2")
    parser.add_argument("--layerwise", action="store_true", help="one code per layer (section 6.2)")
    parser.add_argument("--channel-base", type=int, default=1024, help="a layer at r px has "
                        "base / r channels")
    parser.add_argument("--channel-max", type=int, default=128)
    parser.add_argument("--dimensions", type=int, default=64, help="of a layer's code")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--projected", action=argparse.BooleanOptionalAction, default=True,
                        help="a discriminator that looks through VGG-16: convincing samples after "
                        "a tenth of the images; else one that mirrors the generator")
    parser.add_argument("--r1-gamma", type=float, default=0.1, help="with --no-projected")
    parser.add_argument("--style-mixing", type=float, default=0.3)
    parser.add_argument("--noise-limit", type=float, help="largest weight of the noise "
                        "inputs; 0.002 where samples are grainier than the images")


def add_encoder(parser: argparse.ArgumentParser) -> None:
    """Options of an encoder."""
    parser.add_argument("--generator", required=True, help="of the registry")
    parser.add_argument("--name", help="of the new encoder, GENERATOR-base unless told")
    add_shared(parser, 100)
    parser.add_argument("--average", action="store_true",
                        help="predict the offset from the average code (section 5.2)")
    parser.add_argument("--channel-base", type=int, default=32, help="channels of the first layer")
    parser.add_argument("--channel-max", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--lambda-vgg", type=float, default=encoder.Recipe.lambda_vgg,
                        help="weight of the perceptual term; 0 needs no VGG-16")
    parser.add_argument("--lambda-adv", type=float, default=encoder.Recipe.lambda_adv)
    parser.add_argument("--vgg-share", type=float, default=0.25,
                        help="share of a batch that VGG-16 looks at")
    parser.add_argument("--r1-every", type=int, default=16, help="steps between two penalties")


def add_classifier(parser: argparse.ArgumentParser) -> None:
    """Options of an attribute classifier."""
    parser.add_argument("name", help="of the new classifier; the study's is GENERATOR-classifier")
    add_shared(parser, 300)
    parser.set_defaults(batch=64)
    parser.add_argument("--labels", required=True,
                        help="CSV: a column 'image', and one of 0 and 1 for each attribute")
    parser.add_argument("--sided", nargs="+", default=[], metavar="NAME",
                        help="attributes that a mirror image reverses, as a pose to the right")
    parser.add_argument("--resolution", type=int, default=64, help="px, that of the generator")
    parser.add_argument("--learning-rate", type=float, default=classifier.Recipe.learning_rate)


def training_images(arguments: argparse.Namespace, size: int, share: processes.Share,
                    among: Callable[[list[str]], list[str]] = list) -> tuple[Tensor, list[str]]:
    """uint8 images [N, 3, size, size] and their names; unreadable ones are named and left out.

    among: picks those wanted from the names of the training images.
    """
    source = open_source(arguments.images)
    index, _ = split(len(source.names), arguments.split, arguments.seed)
    names = among([source.names[i] for i in index])
    images, kept, errors = load_images(source, size, names, progress=share.first)
    for error in errors if share.first else ():
        print(f"idinvert.training: left out: {error}", file=sys.stderr)
    if errors and share.first:
        print(f"idinvert.training: {len(errors)} images left out, {len(kept)} used",
              file=sys.stderr)
    if len(images) < FEWEST:
        raise ValueError(f"{arguments.images} has {len(images)} readable images, but at least "
                         f"{FEWEST} are needed.")
    return images, kept


def gan_task(arguments: argparse.Namespace, share: processes.Share) -> tuple[gan.GanTask, dict]:
    """A new generator with its discriminator, and the generator's settings."""
    settings = {"resolution": arguments.resolution, "z_dim": arguments.dimensions,
                "w_dim": arguments.dimensions, "channel_base": arguments.channel_base,
                "channel_max": arguments.channel_max, "layerwise": arguments.layerwise}
    recipe = gan.Recipe(batch=arguments.batch, learning_rate=arguments.learning_rate,
                        r1_gamma=arguments.r1_gamma, style_mixing=arguments.style_mixing,
                        ema_kimg=4.0, noise_limit=arguments.noise_limit)
    torch.manual_seed(arguments.seed)
    generator = models.build(f"{arguments.architecture}.Generator", settings)
    discriminator = zoo.new_discriminator(
        {"architecture": arguments.architecture, "settings": settings,
         "projected": arguments.projected}, arguments.device)
    images, _ = training_images(arguments, arguments.resolution, share)
    parts = (generator, discriminator, images, recipe, arguments.device)
    return parallel.shared(share, gan.GanTask)(*parts), settings


def encoder_task(arguments: argparse.Namespace, share: processes.Share
                 ) -> tuple[encoder.DomainGuidedTask, dict]:
    """A new encoder for the generator, and the encoder's settings."""
    generator = models.load(arguments.generator)
    described = {"average": arguments.average, "settings": {
        "channel_base": arguments.channel_base, "channel_max": arguments.channel_max}}
    torch.manual_seed(arguments.seed)
    network = zoo.new_encoder(described, generator)
    recipe = encoder.Recipe(
        batch=arguments.batch, learning_rate=arguments.learning_rate, kimg=arguments.kimg,
        lambda_vgg=arguments.lambda_vgg, lambda_adv=arguments.lambda_adv,
        r1_every=arguments.r1_every, vgg_share=arguments.vgg_share)
    features = pretrained.load_vgg16() if arguments.lambda_vgg else nn.Identity()
    images, _ = training_images(arguments, generator.resolution, share)
    discriminator = discriminator_of(arguments.generator, arguments.device)
    parts = (network, generator, discriminator, features, images, recipe, arguments.device,
             min(200, len(images) // 8))
    task = parallel.shared(share, encoder.DomainGuidedTask)(*parts)
    return task, zoo.encoder_settings(described, generator)


def classifier_task(arguments: argparse.Namespace, share: processes.Share
                    ) -> tuple[classifier.ClassifierTask, dict]:
    """A new classifier of the labels' attributes, and its settings."""
    make = parallel.shared(share, classifier.ClassifierTask)  # refuses before images are read
    labels = labelled.read_labels(arguments.labels)
    for name in arguments.sided:
        if name not in labels:
            raise ValueError(f"{arguments.labels} has no column {name!r}.")

    def shuffled(names: list[str]) -> list[str]:  # the last ones are held out: none of a kind
        names = list(labelled.match(labels, names))
        return random.Random(arguments.seed).sample(names, len(names))

    images, kept = training_images(arguments, arguments.resolution, share, shuffled)
    pairs = labelled.match(labels, kept)
    labels = labels.loc[[pairs[name] for name in kept]]
    mirrored = labels.assign(**{name: 1 - labels[name] for name in arguments.sided})
    recipe = classifier.Recipe(kimg=arguments.kimg, batch=arguments.batch,
                               learning_rate=arguments.learning_rate,
                               holdout=min(500, len(images) // 8))
    settings = {"resolution": arguments.resolution, "attributes": labels.shape[1]}
    torch.manual_seed(arguments.seed)
    network = models.build("classifier.Classifier", settings)
    return make(network, images, labels, mirrored, recipe, arguments.device), settings


TASKS = {"gan": gan_task, "encoder": encoder_task, "classifier": classifier_task}


def discriminator_of(name: str, device: str = "cpu") -> nn.Module:
    """The discriminator of a generator, or a new one where it was imported without."""
    if models.companions(name, "discriminator"):
        return zoo.discriminator_of(name, device)
    return zoo.new_discriminator(models.card(name), device)


def notes_of(arguments: argparse.Namespace) -> dict:
    """What a run depends on; how long it is and where it runs may change."""
    free = ("kimg", "budget_minutes", "checkpoint_kimg", "device", "name")
    return {key: value for key, value in vars(arguments).items() if key not in free}


def check_new(name: str) -> None:
    """ValueError if the registry has the model, unless a run of that name is continued."""
    models.check_name(name)
    if zoo.trained(name) and not (zoo.run_folder(name) / "checkpoint.pt").exists():
        raise ValueError(f"There is a model {name!r} already: take another name.")


def publish(arguments: argparse.Namespace, task: Task, settings: dict) -> dict:
    """Save what was trained, with a card of its cost."""
    name = arguments.name
    facts = {"data": Path(arguments.images).name, "images_used": len(task.images),
             "seed": arguments.seed, "recipe": asdict(task.recipe), **zoo.cost(name)}
    zoo.keep_log(name)
    if arguments.command == "encoder":
        return models.save(name, task.encoder, "encoder.Encoder", settings,
                            kind="domain_guided", generator=arguments.generator, **facts)
    if arguments.command == "classifier":
        return models.save(name, task.average, "classifier.Classifier", settings,
                            kind="classifier", attributes=task.names, **facts)
    described = {"architecture": f"{arguments.architecture}.Generator", "settings": settings,
                 "kind": "gan", "projected": arguments.projected}
    models.save(models.companion_name(name, "discriminator"), task.discriminator,
                *zoo.discriminator_kind(described), kind="discriminator", **facts)
    return models.save(name, task.average, **described, **facts)


def train_own(arguments: argparse.Namespace, share: processes.Share) -> bool:
    """Train and publish what the command line asks for; True if finished."""
    check_new(arguments.name)
    task, settings = TASKS[arguments.command](arguments, share)
    folder = zoo.run_folder(arguments.name)
    if share.first:
        check_notes(folder / "settings.json", notes_of(arguments))
    schedule = Schedule(arguments.kimg, min(2.0, arguments.kimg / 10), arguments.checkpoint_kimg,
                        arguments.seed, arguments.budget_minutes)
    finished = train(task, folder, schedule, progress=share.first, writes=share.first)
    if share.first:
        card = publish(arguments, task, settings)
        print(f"{arguments.name}: {card['kimg']:g} kimg, {card['parameters'] / 1e6:.2f} M "
              f"parameters, {card['seconds'] / 60:.1f} minutes, saved in {models.folder()}")
    return finished


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        share = processes.share()
        arguments.device = share.device(arguments.device)
        if arguments.command == "encoder":
            arguments.name = arguments.name or models.companion_name(
                arguments.generator, "encoder")
        processes.connect(share, arguments.device)
        if train_own(arguments, share):
            return 0
        print("Stopped; the same command continues.", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped; the same command continues.", file=sys.stderr)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print(f"idinvert.training: error: {error}", file=sys.stderr)
        return 1
    finally:
        processes.disconnect()
    return 130
