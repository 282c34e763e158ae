"""Beyond the paper: what every way of inversion reconstructs, and how well it can be edited.

A `Way` is an inversion method with its settings. `try_out` inverts images in one way and switches
every attribute in them by growing steps; `table` measures that, and `claims_of_front` compares
ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from idinvert import models as weights
from idinvert.codes import encode_with_noise, manipulate, render_with_noise
from idinvert.inversion import METHODS, Conventional, Image2StyleGAN, InDomain, PivotalTuning
from idinvert.inversion.cache import cached_along, cached_codes, cached_tuning
from idinvert.metrics import METRICS, bootstrap, pixel
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims, scores
from idinvert.study.networks import StudyModel
from idinvert.study.scores import ImageSet

FACTORS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.5)  # steps of edits, in calibrated steps
USUAL = FACTORS.index(1.0)
COPY, DOMAIN, WEIGHT = METHODS["image2stylegan"].title, METHODS["in-domain"].title, "weight"
QUICK, QUICK_RATE = "In-domain, quick", 0.05  # half the steps, five times as long: book/speed.md
TUNING, ENCODERS, NOISE = METHODS["pivotal-tuning"].title, "Encoders", "Encoders with noise maps"
VARIANTS = {"base": "domain-guided", "resnet18": "ResNet-18", "resnet34": "ResNet-34",
            "resnet50": "ResNet-50", "mobilenet": "MobileNet", "base-no-average": "no average",
            "e4e": "e4e", **{f"b{k}": f"B-{k}" for k in range(1, 6)}}
MEASURES = {"mse": "lower", "ssim": "higher", "success": "higher", "kid": "lower",
            "return_mse": "lower"}  # column -> the better side


# --- ways of inversion -----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Inverted:
    """Codes [N, L, D] of N images, and what renders them, edited ones too: codes -> images."""

    codes: Tensor
    render: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Way:
    """One method with its settings: its family, its setting in words, what is swept, how often the
    code or the weights are changed, and how it inverts images [N, 3, H, W]."""

    family: str
    setting: str
    value: float
    steps: int
    invert: Callable[[Tensor], Inverted]

    @property
    def name(self) -> str:
        """Family and setting."""
        return f"{self.family}, {self.setting}"


def optimised(model: StudyModel, settings: Any) -> list[Way]:
    """Image2StyleGAN over steps, in-domain inversion over steps of two lengths and over lambda_dom,
    and pivotal tuning over steps: those whose networks there are, longest first. settings:
    `profiles.Beyond`.
    """
    available, ways = model.available(), []

    def by_steps(method, steps: Sequence[int], images: Tensor) -> Inverted:
        return Inverted(cached_along(model, method, images, steps)[steps[0]], model.render)

    for name, family, method, steps in (
            ("image2stylegan", COPY, Image2StyleGAN(bf16=True), settings.image2stylegan),
            ("in-domain", DOMAIN, InDomain(bf16=True), settings.in_domain),
            ("in-domain", QUICK, InDomain(bf16=True, learning_rate=QUICK_RATE), settings.quick)):
        if name in available:
            ordered = sorted(steps, reverse=True)  # the longest run has the codes of the others
            ways += [Way(family, f"{n} steps", n, n, partial(by_steps, method, ordered[i:]))
                     for i, n in enumerate(ordered)]
    if "in-domain" in available:
        for weight in sorted(settings.lambdas):
            method = InDomain(iterations=settings.iterations, lambda_dom=weight, bf16=True)
            ways.append(Way(f"{DOMAIN}, {WEIGHT}", f"lambda {weight:g}", weight,
                            settings.iterations, partial(from_codes, model, method)))
    if "pivotal-tuning" in available:
        for count in sorted(settings.pivotal_tuning, reverse=True):
            method = PivotalTuning(iterations=count, pivot_iterations=settings.iterations,
                                   bf16=True)
            ways.append(Way(TUNING, f"{count} steps", count, count + settings.iterations,
                            partial(tuned, model, method)))
    return ways


def from_codes(model: StudyModel, method: Any, images: Tensor) -> Inverted:
    """Images inverted by a method that leaves the generator as it is."""
    return Inverted(cached_codes(model, method, images, progress=False), model.render)


def tuned(model: StudyModel, method: PivotalTuning, images: Tensor) -> Inverted:
    """Images inverted by pivotal tuning."""
    found = cached_tuning(model, method, images)
    return Inverted(found.codes, found.render)


def encoders(model: StudyModel) -> list[Way]:
    """Every trained encoder of the generator, those that predict noise maps in a family apart."""
    ways = []
    if model.has("conventional"):
        ways.append(Way(ENCODERS, "conventional", 0, 0, partial(from_codes, model, Conventional())))
    trained = weights.companions(model.name, "encoder")
    for variant in (v for v in VARIANTS if v in trained):
        family = NOISE if VARIANTS[variant].startswith("B-") else ENCODERS
        encoder = weights.load(trained[variant], model.device)
        ways.append(Way(family, VARIANTS[variant], len(ways), 0, partial(encoded, model, encoder)))
    return ways


def encoded(model: StudyModel, encoder: torch.nn.Module, images: Tensor) -> Inverted:
    """Images inverted by one pass of an encoder; edits keep the noise maps that it predicts."""
    codes, noise = encode_with_noise(encoder, images)

    def rendered(codes: Tensor) -> Tensor:
        return render_with_noise(model.generator, codes, noise)
    return Inverted(codes, rendered)


# --- what comes of it ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one way made of N images.

    images: reconstructions [N, 3, H, W]. success, kept [N, S]: for each of FACTORS the share of the
    attributes that are switched, and, of all others, that the classifier still reads as they are,
    by the exact labels. edited: all edits at the usual step as one set. returned [M]: MSE between
    the inversion and what is left of it after an edit is inverted and taken back.
    """

    way: Way
    images: Tensor
    success: np.ndarray
    kept: np.ndarray
    edited: ImageSet
    returned: np.ndarray


def try_out(model: StudyModel, way: Way, images: Tensor, labels: pd.DataFrame,
            steps: Mapping[str, float], returned: int) -> Outcome:
    """Invert images [N, 3, H, W], switch every attribute of `steps` in them, and measure.

    labels: 1 where an image has an attribute. steps: the calibrated step along each boundary.
    returned: how many images are edited, inverted again and edited back.
    """
    found = way.invert(images)
    success, kept, sets = [], [], []
    columns = [model.column(a) for a in labels]
    truth = torch.tensor(labels.to_numpy() == 1, device=images.device)
    for factor in FACTORS:
        right = []
        for attribute, step in steps.items():
            seen = found.render(moved(model, found.codes, labels, attribute, factor * step))
            right.append((model.probabilities(seen)[:, columns] > 0.5) == truth)
            if factor == FACTORS[USUAL]:
                sets.append(scores.image_set(model, seen))
        wrong, others = switched(torch.stack(right, 1), [*labels].index, list(steps))
        success.append(wrong)
        kept.append(others)
    return Outcome(way, found.render(found.codes), np.stack(success, 1), np.stack(kept, 1),
                   scores.concatenated(sets),
                   return_errors(model, way, images[:returned], labels[:returned], steps))


def moved(model: StudyModel, codes: Tensor, labels: pd.DataFrame, attribute: str, step: float
          ) -> Tensor:
    """Codes [N, L, D] moved by a step to the side of a boundary on which their images are not."""
    way = torch.tensor(1 - 2 * labels[attribute].to_numpy(), dtype=codes.dtype)
    return manipulate(codes, model.boundaries[attribute].direction, step * way.to(codes.device))


def switched(right: Tensor, column: Callable[[str], int], attributes: Sequence[str]
             ) -> tuple[np.ndarray, np.ndarray]:
    """Share of attributes switched, and of others kept, [N] each, means over the edits.

    right [N, E, A]: whether attribute a is read by its label after edit e.
    """
    right = right.double().cpu().numpy()
    edited = np.array([column(a) for a in attributes])
    own = right[:, np.arange(len(edited)), edited]
    others = (right.sum(2) - own) / max(right.shape[2] - 1, 1)
    return 1 - own.mean(1), others.mean(1)


def return_errors(model: StudyModel, way: Way, images: Tensor, labels: pd.DataFrame,
                  steps: Mapping[str, float]) -> np.ndarray:
    """Latent editing consistency (Tov et al. 2021), here in images: an edit of the inversion is
    inverted itself and taken back; MSE [M] to the inversion. Image i has the edit i modulo A."""
    names = list(steps)
    chosen = np.array([names[i % len(names)] for i in range(len(images))])
    first = way.invert(images)

    def all_moved(codes: Tensor, sign: int) -> Tensor:
        for name in names:
            part = moved(model, codes, labels, name, sign * steps[name])
            mine = torch.from_numpy(chosen == name).to(codes.device)[:, None, None]
            codes = torch.where(mine, part, codes)
        return codes
    again = way.invert(first.render(all_moved(first.codes, 1)).clamp(-1, 1))
    back = again.render(all_moved(again.codes, -1))
    return pixel.mse(back, first.render(first.codes)).cpu().numpy()


def success_at(kept: float, success: np.ndarray, others: np.ndarray) -> float:
    """Share of edits that succeed [N, S], by the step at which the share `kept` of the other
    attributes [N, S] is kept, on the line between two steps; 0 if even the inversion keeps fewer.

    >>> steps = np.array([[0.0, 0.4, 1.0]]), np.array([[1.0, 0.9, 0.7]])
    >>> [round(success_at(kept, *steps), 3) for kept in (0.8, 0.95)]
    [0.7, 0.2]
    >>> success_at(1.0, steps[0], 0.9 * steps[1])
    0.0
    """
    level = np.minimum.accumulate(others.mean(0))
    if level[0] < kept:
        return 0.0
    return float(np.interp(-kept, -level, success.mean(0)))


def table(outcomes: Sequence[Outcome], targets: Tensor, real: ImageSet, kept: float
          ) -> pd.DataFrame:
    """One row per way: its measures, each with its interval over target images, and for each plane
    of a reconstruction and an editing measure whether the way is on the front."""
    rows = []
    for one in outcomes:
        figures = {m: scores.per_image(METRICS[m].function(one.images, targets))
                   for m in ("mse", "ssim")}
        figures |= {
            "success": bootstrap.interval(partial(success_at, kept), one.success, one.kept),
            "kid": scores.score("kid", one.edited, real, paired=False),
            "return_mse": scores.per_image(one.returned)}
        rows.append({"method": one.way.family, "setting": one.way.setting, "steps": one.way.steps,
                     "images": len(targets), **scores.spread(figures)})
    frame = pd.DataFrame(rows)
    for edit in ("success", "kid", "return_mse"):
        frame[f"front_{edit}"] = on_front(frame, "mse", edit)
    return frame


def on_front(frame: pd.DataFrame, *columns: str) -> np.ndarray:
    """Which rows no other row beats: none is better in one of the columns and as good in the rest.

    >>> on_front(pd.DataFrame({"mse": [1, 2, 3], "kid": [3, 1, 2]}), "mse", "kid").tolist()
    [True, True, False]
    """
    values = np.stack([frame[c] * (1 if MEASURES[c] == "lower" else -1) for c in columns], 1)
    as_good = (values[:, None] <= values[None]).all(2)  # [i, j]: i is as good as j in all
    better = (values[:, None] < values[None]).any(2)
    return ~(as_good & better).any(0)


def picked(outcomes: Sequence[Outcome], targets: Tensor) -> list[Outcome]:
    """Of each family the outcome that reconstructs best, from the best family to the worst."""
    best: dict[str, tuple[float, Outcome]] = {}
    for one in outcomes:
        error = float(pixel.mse(one.images, targets).mean())
        if error < best.get(one.way.family, (np.inf, one))[0]:
            best[one.way.family] = error, one
    return [one for _, one in sorted(best.values(), key=lambda pair: pair[0])]


def pictures(shown: Sequence[Outcome], targets: Tensor, steps: Mapping[str, float], count: int
             ) -> tuple[list[Tensor], list[str]]:
    """Rows of images with their labels: targets, then of each outcome the first `count` inversions,
    each followed by one edit of it; image i has the edit i modulo A."""
    rows, labels = [targets[:count].cpu().repeat_interleave(2, 0)], ["target"]
    rows[0][1::2] = 1.0
    for one in shown:
        edited = torch.stack([one.edited.images[i % len(steps) * len(targets) + i]
                              for i in range(min(count, len(targets)))])
        rows.append(torch.stack([one.images[:count].cpu(), edited], 1).flatten(0, 1))
        labels.append(one.way.name.replace(", ", "\n"))
    return rows, labels


# --- what follows ----------------------------------------------------------------------------


def advice(frame: pd.DataFrame) -> str:
    """One sentence: which way is best for which purpose, by the table."""
    purposes = {
        "for the closest copy": ("mse", "MSE", frame),
        "for edits": ("success", "of edits succeed", frame),
        "for edits that look real": ("kid", "KID x 1e3 of edits", frame),
        "for edits of edits": ("return_mse", "MSE after there and back", frame),
        "in a single pass": ("success", "of edits succeed", frame[frame["steps"] == 0]),
    }
    parts = []
    for purpose, (column, word, rows) in purposes.items():
        if len(rows):
            pick = rows[column].idxmin() if MEASURES[column] == "lower" else rows[column].idxmax()
            best = rows.loc[pick]
            value = f"{best[column]:.0%} {word}" if column == "success" else \
                f"{word} {best[column]:.3g}"
            parts.append(f"{purpose}, {best['method']} ({best['setting']}; {value})")
    return f"Take, {'; '.join(parts)}."


def at_equal_error(outcomes: Sequence[Outcome], family: str, like: Outcome, targets: Tensor
                   ) -> Outcome:
    """That of a family's outcomes whose mean MSE is nearest to another's."""
    def error(one: Outcome) -> float:
        return float(pixel.mse(one.images, targets).mean())
    return min((o for o in outcomes if o.way.family == family),
               key=lambda o: abs(error(o) - error(like)))


def comparisons(a: Outcome, b: Outcome, targets: Tensor, real: ImageSet, kept: float
                ) -> dict[str, tuple[str, Estimate]]:
    """By how much one way is better than another, by each measure: (in words, estimate)."""
    def success_gain(sa, ka, sb, kb):
        return success_at(kept, sa, ka) - success_at(kept, sb, kb)
    errors = {m: METRICS[m].function(a.images, targets) - METRICS[m].function(b.images, targets)
              for m in ("mse", "ssim")}
    return {
        "mse": ("MSE", scores.per_image(-errors["mse"])),
        "ssim": ("SSIM", scores.per_image(errors["ssim"])),
        "success": (f"success of edits that keep {kept:.0%} of the other attributes",
                    bootstrap.interval(success_gain, a.success, a.kept, b.success, b.kept)),
        "kid": ("KID x 1e3 of edits",
                scores.advantage("kid", a.edited, b.edited, real, paired=False)),
        "return_mse": ("MSE after an edit there and back",
                       scores.per_image(b.returned - a.returned)),
    }


def trends(family: Sequence[Outcome], targets: Tensor, real: ImageSet, kept: float
           ) -> dict[str, Estimate]:
    """Rank correlation of a family's swept value with each measure, in the direction in which it
    gets better."""
    values = [o.way.value for o in family]

    def better(*arrays: np.ndarray) -> float:
        found = [success_at(kept, *pair) for pair in zip(arrays[::2], arrays[1::2])]
        return float(scores.rank_correlations(values, np.array([found]))[0])
    arrays = [array for o in family for array in (o.success, o.kept)]
    errors = torch.stack([pixel.mse(o.images, targets) for o in family], 1)
    return {
        "mse": scores.scaled(scores.trend(values, errors), -1),
        "success": bootstrap.interval(better, *arrays),
        "kid": scores.scaled(scores.kid_trend(values, [o.edited for o in family], real), -1),
    }


def claims_of_front(outcomes: Sequence[Outcome], targets: Tensor, real: ImageSet, kept: float,
                    usual: float) -> list[dict]:
    """What the front says of the paper's claims, and beyond them ("-").

    usual: the lambda_dom of the method that stands for in-domain inversion.
    """
    families: dict[str, list[Outcome]] = {}
    for one in outcomes:
        families.setdefault(one.way.family, []).append(one)
    weighted, rows = families.get(f"{DOMAIN}, {WEIGHT}", []), []

    def compare(claim: str, a: Outcome, b: Outcome, measures: Sequence[str]) -> None:
        found = comparisons(a, b, targets, real, kept)
        rows.extend(claims.row(claim, f"{a.way.name} against {b.way.name}: {found[m][0]}",
                               "not measured", found[m][1]) for m in measures)
    usual_one = next((o for o in weighted if o.way.value == usual), None)
    copies = families.get(COPY, [])
    if usual_one and copies:
        compare("C2", copies[0], usual_one, ("mse", "ssim"))
        same = at_equal_error(outcomes, COPY, usual_one, targets)
        compare("C8", usual_one, same, ("success", "kid"))
        compare("C8", usual_one, copies[0], ("success", "kid"))
        compare("-", usual_one, copies[0], ("return_mse",))
    if usual_one and QUICK in families:
        compare("-", families[QUICK][0], usual_one, ("mse", "success", "kid", "return_mse"))
    if usual_one and TUNING in families:
        compare("-", families[TUNING][0], usual_one, ("mse", "success", "kid", "return_mse"))
    signs = {"C19": (weighted, "lambda_dom", {"mse": -1, "success": 1, "kid": 1}),
             "C24": (families.get(NOISE, []), "each block of noise maps",
                     {"success": -1, "kid": -1})}
    words = {"mse": "MSE", "success": "success of edits", "kid": "KID of edits"}
    for claim, (family, what, directions) in signs.items():
        if len(family) > 2:
            found = trends(family, targets, real, kept)
            rows += [claims.row(claim, f"{what}: {words[m]} gets {'better' if s > 0 else 'worse'}",
                                "not measured", scores.scaled(found[m], s))
                     for m, s in directions.items()]
    return rows
