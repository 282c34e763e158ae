"""Section 4.3: interpolation, manipulation and semantic diffusion (Table 2, Figures 4 to 6, 16)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from idinvert.codes import interpolate, manipulate, mix, render
from idinvert.inversion import METHODS, Settings, diffuse, stitch
from idinvert.metrics import attributes
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims, scores
from idinvert.study.networks import StudyModel
from idinvert.study.scores import REALISM, ImageSet

WORDS = {"interpolation": "C7", "manipulation": "C8"}


# --- interpolation ---------------------------------------------------------------------------


def strip(model: StudyModel, codes: Tensor, images: Tensor, a: int, b: int, steps: int = 5
          ) -> Tensor:
    """Figure 4, one row: image a, its inversion, the inner steps, inversion of b, image b."""
    between = interpolate(codes[[a]], codes[[b]], steps + 2, ends=True)[0]
    return torch.cat([images[[a]], render(model.generator, between), images[[b]]]).cpu()


# --- manipulation ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Edit:
    """One attribute switched in all N images: the results, and what the classifier says of them.

    success [N]: NaN where it misread the target already. others_moved [N]: mean absolute change of
    the other attributes' probabilities.
    """

    images: ImageSet
    success: np.ndarray
    others_moved: np.ndarray


def switch(model: StudyModel, codes: Tensor, attribute: str, step: float, labels: np.ndarray,
           targets: Tensor) -> Edit:
    """Move each code by `step` along the boundary, to the side on which its image is not.

    labels: 1 where the image [N, 3, H, W] has the attribute.
    """
    direction = torch.as_tensor(1 - 2 * labels, dtype=codes.dtype, device=codes.device)
    moved = manipulate(codes, model.boundaries[attribute].direction, step * direction)
    images = render(model.generator, moved)
    before, after = model.probabilities(targets), model.probabilities(images)
    column = model.column(attribute)
    success = np.full(len(codes), np.nan)
    others = np.full(len(codes), np.nan)
    for sign in (1, -1):
        chosen = direction.cpu().numpy() == sign
        if chosen.any():
            effect = attributes.edit_effect(before[chosen], after[chosen], column, sign)
            success[chosen] = effect.success
            others[chosen] = np.nanmean(effect.absolute_change, 1)
    return Edit(scores.image_set(model, images), success, others)


def switch_all(model: StudyModel, codes: dict[str, Tensor], steps: dict[str, float],
               labels: pd.DataFrame, targets: Tensor) -> dict[str, dict[str, Edit]]:
    """Every attribute of `steps` switched in the codes of every method: {method: {attribute: ..}}.
    """
    edited = {}
    for method, w in codes.items():
        edited[method] = {a: switch(model, w, a, step, labels[a].to_numpy(), targets)
                          for a, step in steps.items()}
    return edited


def edit_table(domain: str, edits: dict[str, dict[str, Edit]], steps: dict[str, float]
               ) -> pd.DataFrame:
    """One row per method and attribute: how often the edit is seen, how much else moved."""
    return pd.DataFrame([
        {"domain": domain, "method": method, "attribute": attribute, "step": steps[attribute],
         **scores.spread({"success": scores.per_image(edit.success),
                          "others_moved": scores.per_image(edit.others_moved)})}
        for method, by_attribute in edits.items() for attribute, edit in by_attribute.items()
    ])


def pooled(edits: dict[str, dict[str, Edit]]) -> dict[str, ImageSet]:
    """All edited images of each method as one set, in which the edits of an image are one unit."""
    return {method: scores.concatenated([edit.images for edit in by_attribute.values()])
            for method, by_attribute in edits.items()}


# --- Table 2 and its claims ------------------------------------------------------------------


def table2(domain: str, tasks: dict[str, dict[str, ImageSet]], real: ImageSet) -> pd.DataFrame:
    """One row per task and method: distances to real images that were not inverted.

    images: how many FD and SWD compare on either side; of more edited images these are all edits of
    as many target images as there is room for. edited, real: how many KID compares.
    """
    rows = []
    for task, by_method in tasks.items():
        for method, images in by_method.items():
            figures = {m: scores.score(m, images, real, paired=False)
                       for m in scores.set_metrics()}
            rows.append({"domain": domain, "task": task, "method": method,
                         "images": int(scores.equal_share(images, real).sum()),
                         "edited": len(images), "real": len(real), **scores.spread(figures)})
    return pd.DataFrame(rows)


def editing_claims(domain: str, tasks: dict[str, dict[str, ImageSet]], real: ImageSet,
                   edits: dict[str, dict[str, Edit]], paper: pd.DataFrame) -> list[dict]:
    """Verdicts on C7 and C8: in-domain inversion against Image2StyleGAN; the unit is the target."""
    rows = []
    better, worse = "in-domain", "image2stylegan"
    for task, by_method in tasks.items():
        rows += [claims.nearer(WORDS[task], f"{domain}: {task} stays nearer to real images",
                               claims.paper_gain(paper, domain, better, worse, metric, task),
                               metric, by_method[better], by_method[worse], real, paired=False)
                 for metric in REALISM]
    for text, figure, sign in (("edits are seen more often", "success", 1),
                               ("edits move other attributes less", "others_moved", -1)):
        values = [np.stack([getattr(edit, figure) for edit in edits[method].values()])
                  for method in (better, worse)]
        gain = sign * (values[0] - values[1])  # [A, N]
        units = np.broadcast_to(np.arange(gain.shape[1]), gain.shape)
        rows.append(claims.row("C8", f"{domain}: {text}", "not measured",
                               scores.per_image(gain.ravel(), units.ravel())))
    return rows


# --- semantic diffusion ----------------------------------------------------------------------


def centre(size: int, crop: int) -> tuple[int, int, int, int]:
    """The box of the central crop x crop pixels of an image."""
    start = (size - crop) // 2
    return start, start, start + crop, start + crop


@dataclass(frozen=True, eq=False)
class Diffusion:
    """Targets' central crops in contexts: pasted, and diffused by masked inversion [N, 3, H, W]."""

    crop: int
    mask: Tensor
    pasted: Tensor
    images: Tensor


def diffusion(model: StudyModel, targets: Tensor, contexts: Tensor, crop: int, iterations: int
              ) -> Diffusion:
    """Paste the central crop of each target into its context and invert the crop alone."""
    pasted, mask = stitch(targets, contexts, centre(targets.shape[-1], crop))
    settings = Settings(iterations=iterations, bf16=True)
    found = diffuse(model, pasted, mask, settings, progress=True)
    return Diffusion(crop, mask, pasted, found.images)


def inside(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error [N] of images within a mask, clipped to what a picture can show."""
    squares = (a.clamp(-1, 1) - b.clamp(-1, 1)).square() * mask
    return squares.mean((1, 2, 3)) / mask.mean()


def agreement(model: StudyModel, images: Tensor, others: Tensor) -> Tensor:
    """1 - mean absolute difference of the attribute probabilities, per image: [N] in [0, 1]."""
    difference = model.probabilities(images) - model.probabilities(others)
    return 1 - difference.abs().mean(1)


def crop_table(model: StudyModel, results: Sequence[Diffusion], targets: Tensor, contexts: Tensor
               ) -> pd.DataFrame:
    """Figure 16 in numbers: one row per crop size, with intervals.

    Agreement of the result's attributes with the target's and the context's; MSE inside the crop to
    the target and outside to the context.
    """
    rows = []
    for r in results:
        figures = {
            "target_agreement": agreement(model, r.images, targets),
            "context_agreement": agreement(model, r.images, contexts),
            "inside_mse": inside(r.images, targets, r.mask),
            "outside_mse": inside(r.images, contexts, 1 - r.mask),
        }
        rows.append({"crop": r.crop, "images": len(targets), **scores.spread(
            {name: scores.per_image(values.cpu()) for name, values in figures.items()})})
    return pd.DataFrame(rows)


def crop_trend(model: StudyModel, results: Sequence[Diffusion], others: Tensor) -> Estimate:
    """Rank correlation of crop size and agreement with `others`."""
    agreed = torch.stack([agreement(model, r.images, others) for r in results], 1).cpu()
    return scores.trend([r.crop for r in results], agreed)


def diffusion_claims(model: StudyModel, result: Diffusion, results: Sequence[Diffusion],
                     targets: Tensor, contexts: Tensor, real: ImageSet) -> list[dict]:
    """Verdicts on C9 (at one crop size) and C10 (over the sizes)."""
    kept = inside(contexts, targets, result.mask) - inside(result.images, targets, result.mask)
    sets = [scores.image_set(model, x) for x in (result.images, result.pasted)]
    return [
        claims.row("C9", "the crop of the result is nearer to the target's than the context's is, "
                   "MSE", "shown (Fig. 6)", scores.per_image(kept.cpu())),
        *(claims.nearer("C9", "results are more realistic than pasted images", "shown (Fig. 6)",
                        metric, *sets, real, paired=False) for metric in ("kid", "fd")),
        claims.row("C10", "larger crops keep more of the target's attributes", "shown (Fig. 16)",
                   crop_trend(model, results, targets)),
        claims.row("C10", "larger crops lose the context's attributes", "shown (Fig. 16)",
                   scores.scaled(crop_trend(model, results, contexts), -1)),
    ]


# --- style mixing ----------------------------------------------------------------------------


def mixing_grid(model: StudyModel, codes: Tensor, contents: Sequence[int], styles: Sequence[int]
                ) -> list[Tensor]:
    """Rows of images: the styles on top, then each content alone and in every style.

    The style replaces the last four layers, as in the published code (layers 10 to 13 at 256 px),
    which hold colours and light.
    """
    layers = range(codes.shape[1] - 4, codes.shape[1])
    blank = torch.ones(1, 3, model.generator.resolution, model.generator.resolution)
    rows = [torch.cat([blank, render(model.generator, codes[list(styles)]).cpu()])]
    for content in contents:
        repeated = codes[[content] * len(styles)]
        mixed = mix(repeated, codes[list(styles)], layers)
        both = torch.cat([codes[[content]], mixed])
        rows.append(render(model.generator, both).cpu())
    return rows


def method_rows(model: StudyModel, codes: dict[str, Tensor], images: Tensor, pairs
                ) -> tuple[list[Tensor], list[str]]:
    """Figure 4: one strip per pair and method, with the rows' labels."""
    rows, labels = [], []
    for a, b in pairs:
        for name in ("image2stylegan", "in-domain"):
            rows.append(strip(model, codes[name], images, a, b))
            labels.append(METHODS[name].title)
    return rows, labels
