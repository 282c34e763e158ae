"""Section 4 and 6.1 on photographs of faces, through a generator of photographs.

Without a folder of photographs, `data.standins` take their place: people who do not exist, in
another light, crop and sharpness than any code renders; and the astronaut of scikit-image. Who
somebody is and how they look is judged by networks that packages bring: `training.faces`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from idinvert.codes import interpolate, manipulate, mix, render
from idinvert.data import ImageError, open_source, standins, to_float
from idinvert.inversion import METHODS, InDomain, Method, Settings, diffuse, stitch
from idinvert.inversion.cache import cached_codes
from idinvert.metrics import pixel
from idinvert.models import ModelsError, pretrained
from idinvert.photographs import Photographs, align, find_faces
from idinvert.photographs.source import as_tensor
from idinvert.study import claims, edits, networks, scores
from idinvert.study.networks import StudyModel
from idinvert.study.run import Run
from idinvert.study.scores import PIXELS, ImageSet, image_set
from idinvert.study.subjects import Subject
from idinvert.training import faces

SPLIT = "test"  # of the stand-ins
FEWEST = 4  # images that a distance with an interval takes
STRENGTH = 3.0  # of the edits
SEEN = 1.0  # standard deviations of an attribute by which an edit that is seen moves it
PAIR = ("in-domain", "image2stylegan")
NAMES = ("conventional", "domain-guided", "image2stylegan", "in-domain")


@dataclass(frozen=True, eq=False)
class Faces:
    """What the notebook works on.

    targets: [N, 3, r, r] in [-1, 1], which are inverted. real: others, which are not. attributes:
    those that are edited.
    """

    model: StudyModel
    targets: Tensor
    real: ImageSet
    attributes: list[str]

    @cached_property
    def judged(self) -> bool:
        """Whether identity and attributes can be scored; a line says what is missing."""
        try:
            faces.scores(self.targets[:1]), faces.descriptors(self.targets[:1])
        except (ImportError, pretrained.PretrainedError) as error:
            print(f"Identity and attributes are left out: {error}")
            return False
        return True

    @cached_property
    def descriptors(self) -> Tensor:
        """Those of the targets, [N, 128]."""
        return faces.descriptors(self.targets)

    @cached_property
    def scores(self) -> Tensor:
        """Attributes of the targets, [N, 5], in standard deviations from the median of `real`."""
        return self.score(self.targets)

    def score(self, images: Tensor) -> Tensor:
        """Attributes of images in the same units."""
        median, spread = self.scale
        return (faces.scores(images) - median) / spread

    @cached_property
    def scale(self) -> tuple[Tensor, Tensor]:
        """Median and standard deviation of each attribute among `real`."""
        found = faces.scores(self.real.images)
        return found.median(0).values, found.std(0).clamp_min(1e-6)

    def identity(self, images: Tensor) -> Tensor:
        """Distance [N] of descriptors between images and their targets; below 0.6 it is the same
        person."""
        return (faces.descriptors(images) - self.descriptors).norm(dim=1)


def begin(run: Run, generator: str, photos: str | None) -> list[Faces]:
    """The faces that a run works on; none, with a line that says why, where the generator cannot be
    had. photos: a folder of photographs."""
    try:
        model = StudyModel(Subject(generator=generator, domain="photograph"), run.device)
        count, others = run.settings.num_images, run.settings.num_real
        if photos is None:
            targets = torch.cat([astronaut(model), stand_ins(model, range(1, 2 * count, 2))])
            targets, real = targets[:count], stand_ins(model, range(2 * count + 1, 2 * (
                count + others) + 1, 2))
        else:
            found = photographs(model, Path(photos))
            targets, real = found[:count], found[count:]
            if len(real) < FEWEST:
                real = stand_ins(model, range(1, 2 * others, 2))
    except (ModelsError, pretrained.PretrainedError) as error:
        print(f"Photographs are left out: {error}")
        return []
    attributes = [name for name in faces.ATTRIBUTES if name in model.boundaries]
    return [Faces(model, targets, image_set(model, real), attributes)]


def stand_ins(model: StudyModel, index: Sequence[int]) -> Tensor:
    """Stand-ins [N, 3, r, r]; the odd ones are beyond W."""
    return to_float(standins.make(model.whole, SPLIT, index)).to(model.device)


def astronaut(model: StudyModel) -> Tensor:
    """Eileen Collins as scikit-image has her (NASA, public domain), aligned, [1, 3, r, r]; [0, ..]
    with a line where scikit-image or dlib is missing."""
    size = model.generator.resolution
    try:
        from skimage import data

        image = Image.fromarray(data.astronaut())
        face, *_ = find_faces(image)
    except ImportError as error:
        print(f"The astronaut is left out: {error}.")
        return torch.empty(0, 3, size, size, device=model.device)
    return as_tensor(align(face).crop(image, size))[None].to(model.device)


def photographs(model: StudyModel, folder: Path) -> Tensor:
    """The aligned faces [N, 3, r, r] of a folder; lines name those that are left out."""
    source = Photographs(**vars(open_source(folder)))
    images = []
    for name in source.names:
        try:
            images.append(source.read(name, model.generator.resolution))
        except ImageError as error:
            print(f"left out: {error}")
    return torch.stack(images).to(model.device)


# --- reconstruction --------------------------------------------------------------------------


def reconstruct(of: Faces, settings: Mapping[str, Method]) -> dict[str, tuple[Tensor, ImageSet]]:
    """Codes [N, L, D] and reconstructions of the targets by each method that has its networks."""
    codes = networks.invert(of.model, of.targets, settings, NAMES)
    return {name: (w, image_set(of.model, render(of.model.generator, w)))
            for name, w in codes.items()}


def seconds(of: Faces, method: Method) -> float:
    """Processor time of the inversion of one image, from runs of one step and of three."""
    def spent(chosen: Method) -> float:
        start = time.process_time()
        chosen.invert(of.model, of.targets[:1])
        return time.process_time() - start
    spent(replace(method, iterations=1) if hasattr(method, "iterations") else method)
    if not hasattr(method, "iterations"):
        return spent(method)
    one, three = (spent(replace(method, iterations=n)) for n in (1, 3))
    return one + (method.iterations - 1) * (three - one) / 2


# --- edits -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Edit:
    """One attribute moved in all N images: the results; where they can be judged, success [N]
    (whether the attribute moved by SEEN, the way it should), others_moved [N] (mean absolute change
    of the other attributes, in standard deviations), identity [N] (distance to the target)."""

    images: ImageSet
    success: np.ndarray
    others_moved: np.ndarray
    identity: np.ndarray


def ways(of: Faces, attribute: str) -> Tensor:
    """Where to move each image, [N]: towards the attribute if it has less than the median."""
    if not of.judged:
        return torch.ones(len(of.targets))
    return torch.where(of.scores[:, faces.ATTRIBUTES.index(attribute)] < 0, 1.0, -1.0)


def edit(of: Faces, codes: Tensor, attribute: str) -> Edit:
    """Move each code [N, L, D] by STRENGTH to the side on which its image is not."""
    sign, column = ways(of, attribute), faces.ATTRIBUTES.index(attribute)
    direction = of.model.boundaries[attribute].direction
    images = render(of.model.generator, manipulate(codes, direction, STRENGTH * sign))
    nothing = np.full(len(codes), np.nan)
    if not of.judged:
        return Edit(image_set(of.model, images), nothing, nothing, nothing)
    change = of.score(images) - of.scores
    others = [i for i in range(change.shape[1]) if i != column]
    return Edit(image_set(of.model, images), (change[:, column] * sign > SEEN).double().numpy(),
                change[:, others].abs().mean(1).numpy(), of.identity(images).numpy())


def edit_all(of: Faces, codes: Tensor) -> dict[str, Edit]:
    """Every attribute moved in the codes of one method."""
    return {name: edit(of, codes, name) for name in of.attributes}


def pooled(edited: Mapping[str, Edit]) -> ImageSet:
    """All edited images of a method; the edits of one image are one unit."""
    return scores.concatenated([one.images for one in edited.values()])


def figure_of(edited: Mapping[str, Edit], name: str) -> tuple[np.ndarray, np.ndarray]:
    """A figure of all edits of a method [A N], and the target of each."""
    values = np.stack([getattr(one, name) for one in edited.values()])
    return values.ravel(), np.broadcast_to(np.arange(values.shape[1]), values.shape).ravel()


# --- the table -------------------------------------------------------------------------------


def table(of: Faces, found: Mapping[str, tuple[Tensor, ImageSet]],
          edited: Mapping[str, Mapping[str, Edit]], settings: Mapping[str, Method]) -> pd.DataFrame:
    """One row per method: reconstruction, processor time of an image, and edits; with intervals."""
    rows, targets = [], image_set(of.model, of.targets)
    for name, (_, images) in found.items():
        figures = {metric: scores.score(metric, images, targets) for metric in ("mse", "ssim")}
        if of.judged:
            figures["identity"] = scores.per_image(of.identity(images.images))
        if edited[name]:
            if len(of.targets) >= FEWEST:
                figures["kid_edited"] = scores.score("kid", pooled(edited[name]), of.real,
                                                     paired=False)
            if of.judged:
                for ours, theirs in (("success", "success"), ("others_moved", "others_moved"),
                                     ("identity", "identity_edited")):
                    figures[theirs] = scores.per_image(*figure_of(edited[name], ours))
        rows.append({"method": name, "images": len(of.targets),
                     "cpu_seconds": seconds(of, settings[name]), **scores.spread(figures)})
    return pd.DataFrame(rows)


# --- the trade-off ---------------------------------------------------------------------------


def sweep(of: Faces, lambdas: Sequence[float], method: InDomain, attribute: str
          ) -> dict[float, tuple[ImageSet, Edit]]:
    """For each lambda_dom the reconstructions, and the same codes with an attribute moved."""
    outcomes = {}
    for value in lambdas:
        codes = cached_codes(of.model, replace(method, lambda_dom=value), of.targets)
        images = image_set(of.model, render(of.model.generator, codes))
        outcomes[value] = images, edit(of, codes, attribute)
    return outcomes


def sweep_table(of: Faces, outcomes: Mapping[float, tuple[ImageSet, Edit]]) -> pd.DataFrame:
    """One row per lambda_dom, with intervals."""
    rows = []
    for value, (images, edited) in outcomes.items():
        figures = {"mse": scores.per_image(pixel.mse(images.images, of.targets.cpu()))}
        if of.judged:
            figures |= {"identity": scores.per_image(of.identity(images.images)),
                        "success": scores.per_image(edited.success),
                        "identity_edited": scores.per_image(edited.identity)}
        rows.append({"lambda_dom": value, "images": len(of.targets), **scores.spread(figures)})
    return pd.DataFrame(rows)


# --- pictures --------------------------------------------------------------------------------


def edit_rows(of: Faces, codes: Tensor, edited: Mapping[str, Edit], count: int) -> list[Tensor]:
    """Figure 5: a row per face, its target, its inversion and each edit."""
    plain = render(of.model.generator, codes[:count]).cpu()
    return [torch.stack([of.targets[i].cpu(), plain[i],
                         *(one.images.images[i] for one in edited.values())])
            for i in range(len(plain))]


def between(of: Faces, codes: Tensor, a: int, b: int, steps: int = 5) -> Tensor:
    """Figure 4, one row: target a, its inversion, the inner steps, inversion of b, target b."""
    way = interpolate(codes[[a]], codes[[b]], steps + 2, ends=True)[0]
    return torch.cat([of.targets[[a]], render(of.model.generator, way), of.targets[[b]]]).cpu()


def diffused(of: Faces, pairs: Sequence[tuple[int, int]], share: float, method: Method) -> Tensor:
    """Rows of Figures 6 and 16, [P, 4, 3, r, r]: target, context, what is pasted, what comes of it.

    share: of the side, that of the square in the middle of the target that is pasted.
    """
    size = of.targets.shape[-1]
    crop = round(share * size)
    left, top = (size - crop) // 2, round(0.57 * size - crop / 2)  # around nose and mouth
    a, b = (of.targets[list(index)] for index in zip(*pairs))
    pasted, mask = stitch(a, b, (left, top, left + crop, top + crop))
    settings = Settings(iterations=method.iterations, learning_rate=method.learning_rate,
                        bf16=method.bf16)
    found = diffuse(of.model, pasted, mask, settings, progress=True, batch=1)
    return torch.stack([a, b, pasted, found.images], 1).cpu()


def mixed(of: Faces, codes: Tensor, contents: Sequence[int], styles: Sequence[int]
          ) -> list[Tensor]:
    """Rows of images: styles on top, then each content alone and with the fine half of the layers
    of every style."""
    layers = range(codes.shape[1] // 2, codes.shape[1])
    blank = torch.ones_like(of.targets[:1])
    rows = [torch.cat([blank, render(of.model.generator, codes[list(styles)])]).cpu()]
    for content in contents:
        both = mix(codes[[content] * len(styles)], codes[list(styles)], layers)
        rows.append(render(of.model.generator, torch.cat([codes[[content]], both])).cpu())
    return rows


# --- verdicts --------------------------------------------------------------------------------


def reconstruction_claims(of: Faces, found: Mapping[str, tuple[Tensor, ImageSet]]) -> list[dict]:
    """C1 to C4, as far as there are the methods."""
    targets, rows = image_set(of.model, of.targets), []
    if len(of.targets) < FEWEST:
        return rows
    for claim, better, worse, text in (
            ("C1", "domain-guided", "conventional", "domain-guided encoder beats conventional"),
            ("C2", "image2stylegan", "in-domain", "Image2StyleGAN beats in-domain in pixels"),
            ("C3", "in-domain", "domain-guided", "optimisation improves on its encoder")):
        if {better, worse} <= set(found):
            sets = found[better][1], found[worse][1]
            rows += [claims.nearer(claim, f"photographs: {text}", "shown (Table 1)", metric, *sets,
                                   targets) for metric in PIXELS]
            if of.judged and claim != "C2":
                gain = of.identity(sets[1].images) - of.identity(sets[0].images)
                rows.append(claims.row(claim, f"photographs: {text}, distance of identity",
                                       "not measured", scores.per_image(gain)))
    if set(PAIR) <= set(found):
        rows.append(claims.nearer(
            "C4", "photographs: in-domain more realistic than Image2StyleGAN", "FID (Table 1)",
            "kid", *(found[name][1] for name in PAIR), of.real, paired=False))
    return rows


def editing_claims(of: Faces, found: Mapping[str, tuple[Tensor, ImageSet]],
                   edited: Mapping[str, Mapping[str, Edit]]) -> list[dict]:
    """C7 and C8, in-domain inversion against Image2StyleGAN."""
    if not set(PAIR) <= set(found) or len(of.targets) < FEWEST:
        return []
    rows = []
    if len(of.targets) >= 2 * edits.RING:
        halves = [edits.halfway(of.model, found[name][0]) for name in PAIR]
        rows.append(claims.nearer("C7", "photographs: interpolation stays nearer to real images",
                                  "FID (Table 2)", "kid", *halves, of.real, paired=False))
    if of.attributes:
        rows.append(claims.nearer(
            "C8", "photographs: manipulation stays nearer to real images", "FID (Table 2)", "kid",
            *(pooled(edited[name]) for name in PAIR), of.real, paired=False))
        for text, figure, sign in (("edits are seen more often", "success", 1),
                                   ("edits move other attributes less", "others_moved", -1),
                                   ("edits keep the person better", "identity", -1)):
            if of.judged:
                (a, units), (b, _) = (figure_of(edited[name], figure) for name in PAIR)
                rows.append(claims.row("C8", f"photographs: {text}", "not measured",
                                       scores.per_image(sign * (a - b), units)))
    return rows


def tradeoff_claims(of: Faces, outcomes: Mapping[float, tuple[ImageSet, Edit]]) -> list[dict]:
    """C19 on these faces."""
    if len(of.targets) < FEWEST:
        return []
    lambdas, targets = list(outcomes), of.targets.cpu()
    errors = torch.stack([pixel.mse(images.images, targets) for images, _ in outcomes.values()], 1)
    rows = [claims.row("C19", "photographs: MSE of the inversion grows with lambda_dom",
                       "grows (Fig. 10)", scores.trend(lambdas, errors))]
    edited = [one.images for _, one in outcomes.values()]
    rows.append(claims.row(
        "C19", "photographs: distance of manipulations to real images falls (KID)",
        "FID falls (Fig. 10)", scores.scaled(scores.kid_trend(lambdas, edited, of.real), -1)))
    return rows


def titles(names: Sequence[str]) -> list[str]:
    """Methods as figures call them."""
    return [METHODS[name].title.replace(" ", "\n", 1) for name in names]
