"""Training an entry: begin or continue its run, publish what it trained."""

from __future__ import annotations

from pathlib import Path

from idinvert import models, processes
from idinvert.processes import ALONE, Share
from idinvert.settings import resolved

from . import loop, runs
from .boundaries import BoundariesEntry
from .entries import Entry
from .steps import NetworkTask


def train_entry(entry: Entry, *, kimg: float | None = None, budget_minutes: float | None = None,
                device: str = "auto", checkpoint_kimg: float = 10.0, share: Share = ALONE
                ) -> dict:
    """Train a model and publish it, also where it is stopped early; returns its card.

    A run that was begun goes on, as does a published model without one, whose card then tells all
    that was spent. A model that is published at that length stays as it is. Several processes
    call this together, each with its share; the first one writes. The run is finished if the
    card's `kimg` is not below the entry's.

    Args:
        kimg: thousand images in all; those of the entry unless told.
        budget_minutes: stop cleanly after this time; None for no limit.
        device: "auto" is the GPU if there is one.

    ValueError: several processes are to train what only one can, a model of that name is not this
    one, or the run was begun with other settings.
    """
    device = share.device(device)
    if isinstance(entry, BoundariesEntry):
        if share.first:
            entry.fit(device)
        processes.wait()
        return {"name": entry.name, "kimg": 0, "seconds": 0}
    if share.world > 1 and not entry.several_processes:
        raise ValueError(f"Several processes train generators and encoders, but only one can train "
                         f"a model of the kind {entry.kind!r}: start one.")
    if kimg is not None:
        entry = entry.lasting(kimg)
    check_name(entry)
    if is_finished(entry):
        return models.card(entry.name)
    task = entry.make_task(device, share)
    if entry.images and share.first:
        runs.check_settings(entry.name, depends_on(entry))
    schedule = loop.Schedule(entry.kimg, min(2.0, entry.kimg / 10) or 2.0, checkpoint_kimg,
                             entry.seed, budget_minutes or float("inf"))
    loop.train(task, runs.run_folder(entry.name), schedule, progress=share.first,
               start=begin(entry, task, share.first), writes=share.first)
    if share.first:
        publish(entry, task)
    processes.wait()
    return models.card(entry.name)


def is_trained(entry: Entry) -> bool:
    """Whether the registry holds what an entry describes."""
    return models.exists(entry.name)


def is_finished(entry: Entry) -> bool:
    """Whether a model is published at its length, and no run of it is here to go on."""
    return (is_trained(entry) and not runs.begun(entry.name)
            and models.card(entry.name).get("kimg", 0) >= entry.kimg)


def check_name(entry: Entry) -> None:
    """ValueError if a model of images of one's own takes the name of another one."""
    models.check_name(entry.name)
    if entry.images and is_trained(entry) and not runs.begun(entry.name):
        raise ValueError(f"There is a model {entry.name!r} already: take another name.")


def depends_on(entry: Entry) -> dict:
    """What the run of an entry depends on, nested settings side by side; how long it is may
    change."""
    return {key: value for key, value in runs.flat(resolved(entry)).items()
            if key not in ("kimg", "schedule_kimg", "name", "notes")}


def begin(entry: Entry, task: NetworkTask, writes: bool = True) -> tuple[int, float]:
    """Begin where the published weights ended, if there are any and no checkpoint of the run.

    Better hardware so continues what was shipped, GANs also with more channels than that had; only
    the state of Adam starts anew. Of several processes one `writes` the log. Returns the steps and
    seconds already spent, for `loop.train`.
    """
    if not is_trained(entry) or runs.begun(entry.name):
        return 0, 0.0
    entry.adopt(task)
    card = models.card(entry.name)
    task.continue_schedule(card["recipe"].get("schedule_kimg"))
    if writes:
        runs.restore_log(entry.name)
    return round(card["kimg"] * 1000 / task.batch), card["seconds"]


def publish(entry: Entry, task: NetworkTask) -> dict:
    """Save the networks of a task in the registry, with a card of their cost, which is returned.

    The study's are stored in few bits, `relative_to` another model if their entry names one; those
    of images of one's own in float16.
    """
    name, other = entry.name, entry.relative_to
    facts = {"kind": entry.kind, "role": entry.role, "seed": entry.seed,
             "recipe": resolved(task.recipe), **runs.cost(name), **data_facts(entry, task),
             **entry.facts(task)}
    if entry.notes:
        facts["notes"] = entry.notes
    for part in reversed(entry.published):  # the model itself, which is first, at last
        stored = {}
        if not entry.images:
            stored = {"bits": part.bits, "difference_bits": part.difference_bits,
                      "relative_to": other and companion_of(other, part.role)}
        of_role = {"kind": part.role, "role": part.role, "generator": name} if part.role else {}
        saved = models.save(companion_of(name, part.role), getattr(task, part.network),
                            **stored, **facts | of_role)
    runs.keep_log(name)
    return saved


def companion_of(name: str, role: str) -> str:
    """The name of a model, or of its companion if a role is given."""
    return models.companion_name(name, role) if role else name


def data_facts(entry: Entry, task: NetworkTask) -> dict:
    """What the card says of the images."""
    if entry.images:
        return {"data": Path(entry.images.path).name, "images_used": len(task.images)}
    return {"domain": entry.domain, "data": "worlds, training split"}
