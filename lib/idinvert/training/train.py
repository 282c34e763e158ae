"""Training an entry: begin or continue its run, publish what it trained."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from idinvert import devices, models, processes
from idinvert.files import locked
from idinvert.models import importing
from idinvert.processes import ALONE, Share
from idinvert.settings import LARGEST, NotNegative, Positive, Seed, checked, resolved

from . import loop, runs
from .boundaries import BoundariesEntry
from .entries import Entry
from .steps import NetworkTask


@checked
def train_entry(entry: Entry, *, kimg: NotNegative | None = None, seed: Seed | None = None,
                budget_minutes: Positive | None = None, device: str | torch.device = "auto",
                checkpoint_kimg: Positive = 10.0, share: Share = ALONE) -> dict:
    """Train a model and publish it, also where it is stopped early; returns its card.

    A run that was begun goes on, as does a published model without one, whose card then tells all
    that was spent. A model that is published at that length stays as it is. Several processes
    call this together, each with its share; the first one writes. The run is finished if the
    card's `kimg` is not below the entry's.

    Args:
        kimg: thousand images in all; those of the entry unless told.
        seed: train NAME-seedSEED with this seed, a repetition of which only the log is kept: what
            another seed gives. Returns its cost instead of a card.
        budget_minutes: stop cleanly after this time; None for no limit.
        device: "auto" is the GPU if there is one.

    ValueError: several processes are to train what only one can, a model of that name is not this
    one, the run was begun with other settings, or another command trains it.
    """
    device = share.device(device)
    if isinstance(entry, BoundariesEntry):
        if seed is not None:
            raise ValueError(f"{entry.name} are boundaries, which are fitted to the same codes "
                             "always: no training of theirs can be repeated with a seed.")
        if share.first:
            entry.fit(device)
        processes.wait()
        return {"name": entry.name, "kimg": 0, "seconds": 0}
    if share.world > 1 and not entry.several_processes:
        raise ValueError(f"Several processes train generators and encoders, but only one can train "
                         f"a model of the kind {entry.kind!r}: start one.")
    if kimg is not None:
        entry = entry.lasting(kimg)
    if seed is not None:
        entry = replace(entry, name=runs.repetition(entry.name, seed), seed=seed)
    check_name(entry)
    finished = is_finished(entry)
    if entry.images:
        runs.compare_settings(entry.name, resolved(entry) | entry.made_for(), moved=not finished)
    if finished:
        return models.card(entry.name)
    place = runs.run_folder(entry.name)
    with locked(place, wait=False) if share.first else nullcontext():
        return run(entry, device, share, budget_minutes, checkpoint_kimg, seed is not None)


def run(entry: Entry, device: str, share: Share, budget_minutes: float | None,
        checkpoint_kimg: float, repeated: bool) -> dict:
    """As `train_entry`, of a process that may work in the run's folder."""
    task = entry.make_task(device, share)
    needed = getattr(entry, "generator", None)
    made_for = models.loaded.get(needed)
    fixed = entry.fixed(task) if entry.images else {}
    if not processes.same(fixed):
        raise ValueError("The processes have read different images or another generator each: see "
                         "that all find the same there, then start them again.")
    if entry.images and share.first:
        runs.check_settings(entry.name, resolved(entry) | fixed)
    schedule = loop.Schedule(entry.kimg, min(2.0, entry.kimg / 10) or 2.0, checkpoint_kimg,
                             entry.seed, budget_minutes or float("inf"))
    loop.train(task, runs.run_folder(entry.name), schedule, progress=share.first,
               start=begin(entry, task, share.first), writes=share.first)
    if share.first and not repeated:
        if made_for and models.digest(needed) != made_for:
            raise ValueError(f"{needed} was removed or replaced while {entry.name} was trained for "
                             "it: put it back, and the same command goes on.")
        check_name(entry)  # another model may have come meanwhile, as of an import
        publish(entry, task)
    elif share.first:
        runs.keep_log(entry.name)
    processes.wait()
    return runs.cost(entry.name, device) if repeated else models.card(entry.name)


def is_finished(entry: Entry) -> bool:
    """Whether a model is published at its length, and no run of it is here to go on. Boundaries,
    which have no length, are always fitted anew."""
    return (not isinstance(entry, BoundariesEntry)
            and models.exists(entry.name) and not runs.begun(entry.name)
            and models.card(entry.name).get("kimg", 0) >= entry.kimg)


def check_name(entry: Entry) -> None:
    """ValueError if a model, or what is published beside one of images of one's own, takes the name
    of another one."""
    models.check_new_name(entry.name)
    for part in entry.published if entry.images else ():
        beside = models.companion_name(entry.name, part.role) if part.role else entry.name
        models.check_name(beside)
        if beside != entry.name and models.exists(beside) and (
                models.card(beside).get("generator") != entry.name):
            raise ValueError(f"There is a model {beside!r} already, as the {part.role} of "
                             f"{entry.name!r} would be called: take another name.")
    if models.exists(entry.name) and not is_same(entry):
        raise ValueError(f"There is a model {entry.name!r} already: take another name.")


def is_same(entry: Entry) -> bool:
    """Whether the published model of an entry's name comes from such an entry: of that kind, and of
    the study or, with a run that is here, from images of one's own as this one."""
    card = models.card(entry.name)
    return card.get("kind") == entry.kind and ("images_used" in card) == bool(entry.images) and (
        not entry.images or runs.is_here(entry.name))


def begin(entry: Entry, task: NetworkTask, writes: bool = True) -> tuple[int, float]:
    """Begin where the published weights ended, if there are any and no checkpoint of the run.

    Better hardware so continues what was shipped, GANs also with more channels than that had; only
    the state of Adam starts anew. Of several processes one `writes` the log. Returns the steps and
    seconds already spent, for `loop.train`.
    """
    if runs.begun(entry.name):
        check_latest(entry, task)
        return 0, 0.0
    if not models.exists(entry.name):
        return 0, 0.0
    card = models.card(entry.name)
    try:
        entry.adopt(task)
    except (KeyError, RuntimeError, ValueError) as error:
        if isinstance(error, models.ModelsError) or devices.is_out_of_memory(error):
            raise
        raise ValueError(f"There is a model {entry.name!r} already, which this training does not "
                         f"go on from, being a {card['architecture']} with other settings: take "
                         "another name.") from error
    schedule = card.get("recipe", {}).get("schedule_kimg")
    if schedule is not None and not (isinstance(schedule, int | float) and 0 < schedule <= LARGEST):
        raise ValueError(f"The card of {entry.name} is damaged, for the schedule_kimg of its "
                         f"recipe is {schedule!r:.40}: put it right, or take another name.")
    task.continue_schedule(schedule)
    if writes:
        runs.restore_log(entry.name)
    return round(card.get("kimg", 0) * 1000 / task.batch), card.get("seconds", 0.0)


def check_latest(entry: Entry, task: NetworkTask) -> None:
    """ValueError if the published model of an entry was trained longer than the checkpoint from
    which the run goes on, and would be replaced by less."""
    published = models.card(entry.name).get("kimg", 0) if models.exists(entry.name) else 0
    path = runs.checkpoint(entry.name)
    if published and published > (here := loop.reached(path, task.batch)) + 1e-6:
        raise ValueError(f"{path} is of {here:g} thousand images, but {entry.name} has been "
                         f"trained with {published:g}, in another place: remove that file, and "
                         "the training goes on from the model.")


def publish(entry: Entry, task: NetworkTask) -> None:
    """Save the networks of a task in the registry, with a card of their cost.

    Models of the study are stored in few bits, `relative_to` another model if their entry names
    one; models of images of one's own in float16, or float32 where that is too small.
    """
    name, other = entry.name, entry.relative_to
    facts = {"kind": entry.kind, "role": entry.role, "seed": entry.seed,
             "recipe": resolved(task.recipe), **runs.cost(name, task.device),
             "domain": entry.domain, "data": "worlds, training split", **entry.needs(),
             **entry.facts(task)}
    if entry.images:
        facts |= {"data": Path(entry.images.path).resolve().name, "images_used": len(task.images)}
        del facts["domain"]
    if entry.notes:
        facts["notes"] = entry.notes
    with importing.watched(name, trained=True):
        for part in reversed(entry.published):  # the model itself, which is first, at last
            described, saved, base, bits = facts, name, other, entry.bits or part.bits
            if part.role:
                described = facts | {"kind": part.role, "role": part.role, "generator": name}
                saved = models.companion_name(name, part.role)
                base, bits = other and models.companion(other, part.role), part.bits
            stored = {} if entry.images else {
                "bits": bits, "difference_bits": part.difference_bits, "relative_to": base}
            network = getattr(task, part.network)
            models.save(saved, network, dtype=precision(network), **stored, **described)
    runs.keep_log(name)


def precision(network: nn.Module) -> torch.dtype:
    """float16, or float32 if a number of the network is too large for that, as the scale of noise
    maps for a generator that ignores its noise."""
    most = torch.finfo(torch.float16).max
    large = any(value.abs().max() > most for value in network.state_dict().values()
                if value.is_floating_point() and value.numel())
    return torch.float32 if large else torch.float16
