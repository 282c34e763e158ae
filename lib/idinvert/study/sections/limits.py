"""Sections 7 and A4: images from outside the domain (Figure 15), and unusual ones within it (Figure
18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from idinvert.codes import render
from idinvert.data import to_float, to_uint8
from idinvert.data.images import squared
from idinvert.metrics import bootstrap, pixel
from idinvert.study import claims, scores
from idinvert.study.networks import StudyModel
from idinvert.study.scores import ImageSet

OVERSAMPLED = 8  # drawings are so many times as large, then averaged
PHOTOGRAPHS = ("chelsea", "coffee", "rocket")  # of scikit-image, free of rights: cat, cup, rocket
TURNED = 20.0  # degrees from which a head counts as turned
RARE = 0.06  # share below which a style or colour of hair is rare
FEWEST = 3  # images of which a mean is compared


# --- images from outside (Figure 15) ---------------------------------------------------------


def cats(count: int, size: int, seed: int = 0) -> Tensor:
    """Drawings of cats' faces in random colours and proportions, [count, 3, size, size]."""
    rng = np.random.default_rng(seed)
    return torch.stack([cat(size, rng) for _ in range(count)])


def cat(size: int, rng: np.random.Generator) -> Tensor:
    """One of `cats`, [3, size, size]."""
    side = OVERSAMPLED * size
    paper, fur, inner, iris = (tuple(rng.integers(*ends, 3).tolist()) for ends in
                               ((90, 230), (40, 220), (150, 230), (60, 200)))
    sheet = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(sheet)
    wide, high = rng.uniform(0.27, 0.34), rng.uniform(0.25, 0.31)
    x, y = rng.uniform(0.45, 0.55), rng.uniform(0.53, 0.6)

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(side * (x + wide * a), side * (y + high * b)) for a, b in points]
    for sign in (-1, 1):
        draw.polygon(at((sign * 0.95, -0.35), (sign * 0.8, -1.55), (sign * 0.2, -0.9)), fill=fur)
        draw.polygon(at((sign * 0.85, -0.5), (sign * 0.75, -1.3), (sign * 0.35, -0.85)), fill=inner)
    draw.ellipse(at((-1, -1), (1, 1)), fill=fur)
    for sign in (-1, 1):
        middle = sign * 0.41
        draw.ellipse(at((middle - 0.21, -0.35), (middle + 0.21, 0.1)), fill=iris)
        draw.ellipse(at((middle - 0.07, -0.33), (middle + 0.07, 0.08)), fill=(15, 15, 15))
        for slope in (-0.1, 0.08, 0.26):
            draw.line(at((sign * 0.3, 0.42), (sign * 1.25, 0.4 + slope)), fill=(245, 245, 245),
                      width=OVERSAMPLED // 2)
    draw.polygon(at((-0.14, 0.22), (0.14, 0.22), (0, 0.4)), fill=(190, 90, 100))
    draw.arc(at((-0.3, 0.3), (0, 0.62)), 10, 170, fill=(30, 20, 20), width=OVERSAMPLED // 2)
    draw.arc(at((0, 0.3), (0.3, 0.62)), 10, 170, fill=(30, 20, 20), width=OVERSAMPLED // 2)
    return squared(sheet, "cat", size)


def photographs(size: int) -> Tensor:
    """The central squares of PHOTOGRAPHS, [N, 3, size, size]; none, with a line that says so, where
    scikit-image is missing."""
    try:
        from skimage import data
    except ImportError as error:
        print(f"photographs are left out: {error}")
        return torch.empty(0, 3, size, size)
    return torch.stack([squared(Image.fromarray(getattr(data, name)()), name, size)
                        for name in PHOTOGRAPHS])


@dataclass(frozen=True, eq=False)
class Foreign:
    """Images of one kind [N, 3, H, W] and what each method makes of them, by name."""

    kind: str
    targets: Tensor
    found: dict[str, ImageSet]


def foreign(kind: str, model: StudyModel, images: Tensor, codes: Mapping[str, Tensor]) -> Foreign:
    """What the generator renders from each method's codes [N, L, D] of images."""
    return Foreign(kind, images.cpu(), {name: scores.image_set(model, render(model.generator, w))
                                        for name, w in codes.items()})


def foreign_table(kinds: list[Foreign], real: ImageSet) -> pd.DataFrame:
    """One row per kind and method: how close the inversion is to its image, and its KID to the
    `real` images of the generator's own domain (at least four images)."""
    rows = []
    for one in kinds:
        for name, images in one.found.items():
            figures = {m: scores.per_image(scores.METRICS[m].function(images.images, one.targets))
                       for m in scores.pair_metrics()}
            if len(images) >= 4:
                figures["kid"] = scores.score("kid", images, real, paired=False)
            rows.append({"images from": one.kind, "method": name, "images": len(images),
                         **scores.spread(figures)})
    return pd.DataFrame(rows)


def foreign_claims(kinds: list[Foreign], real: ImageSet) -> list[dict]:
    """Verdicts on C26 for each kind of images from outside, and for all of them together."""
    together = Foreign("all from outside", torch.cat([one.targets for one in kinds]), {
        name: joined([one.found[name] for one in kinds]) for name in kinds[0].found})
    rows = []
    for one in [*kinds, together]:
        copy, inside = (one.found.get(name) for name in ("image2stylegan", "in-domain"))
        if copy is None or inside is None or len(copy) < 4:
            continue
        closer = pixel.mse(inside.images, one.targets) - pixel.mse(copy.images, one.targets)
        rows.append(claims.row("C26", f"{one.kind}: Image2StyleGAN copies more closely, MSE",
                               "shown (Fig. 15)", scores.per_image(closer)))
        rows.append(claims.nearer("C26", f"{one.kind}: in-domain inversion looks more like the "
                                  "domain", "shown (Fig. 15)", "kid", inside, copy, real,
                                  paired=False))
    return rows


def joined(sets: list[ImageSet]) -> ImageSet:
    """Sets of different images as one."""
    return ImageSet(torch.cat([x.images for x in sets]), torch.cat([x.features for x in sets]))


# --- unusual images of the domain (Figure 18) ------------------------------------------------


def unusual(attributes: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which faces [N] are unusual, in words: by the exact attributes of the rendered faces; empty
    where the images have others."""
    if not {"yaw", "hair_style", "hair_colour", "glasses_style"} <= set(attributes):
        return {}
    glasses = attributes["glasses_style"].to_numpy()
    return {
        f"head turned by {TURNED:g} degrees or more": attributes["yaw"].abs().to_numpy() >= TURNED,
        "rare hair": rare(attributes["hair_style"]) | rare(attributes["hair_colour"]),
        "sunglasses": glasses == "sun",
        "eyeglasses": (glasses != "none") & (glasses != "sun"),
        "open mouth": attributes["jaw_open"].to_numpy() > 0.2,
    }


def rare(values: pd.Series) -> np.ndarray:
    """Whether each value [N] is one of those that RARE of the images or fewer have."""
    return (values.map(values.value_counts(normalize=True)) <= RARE).to_numpy()


def unusual_table(groups: Mapping[str, np.ndarray], errors: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row per group and method: mean MSE of the unusual images and of all others. errors: the
    MSE of every image [N] by each method."""
    return pd.DataFrame([
        {"unusual": what, "method": method, "images": int(chosen.sum()), **scores.spread({
            "mse": scores.per_image(values[chosen]), "others_mse": scores.per_image(values[~chosen])
        })} for what, chosen in groups.items() for method, values in errors.items()
        if min(chosen.sum(), (~chosen).sum()) >= FEWEST])


def unusual_claims(groups: Mapping[str, np.ndarray], errors: Tensor, method: str) -> list[dict]:
    """Verdicts on C27: mean MSE [N] of unusual images less that of the others."""
    def difference(values: np.ndarray, chosen: np.ndarray) -> float:
        both = chosen.any() and not chosen.all()  # a resample may lack one of them
        return values[chosen].mean() - values[~chosen].mean() if both else np.nan
    return [claims.row("C27", f"{method}: {what} inverts worse, MSE", "shown (Fig. 18)",
                       bootstrap.interval(difference, errors, chosen))
            for what, chosen in groups.items() if min(chosen.sum(), (~chosen).sum()) >= FEWEST]


def altered(images: Tensor) -> dict[str, Tensor]:
    """The same images [N, 3, H, W] with what their domain lacks: earrings, a letter on the
    forehead, and cut off by the frame."""
    return {"as it is": images, "earrings": drawn_on(images, earrings),
            "letter": drawn_on(images, letter), "cut off": cut_off(images)}


def drawn_on(images: Tensor, draw: Callable[[ImageDraw.ImageDraw, int], None]) -> Tensor:
    """Every image [N, 3, H, W] with something drawn on it, smooth at its edges."""
    size, drawn = images.shape[-1], []
    for pixels in to_uint8(images).permute(0, 2, 3, 1).cpu().numpy():
        sheet = Image.fromarray(pixels).resize((OVERSAMPLED * size,) * 2, Image.Resampling.NEAREST)
        draw(ImageDraw.Draw(sheet), OVERSAMPLED * size)
        drawn.append(np.array(sheet.resize((size, size), Image.Resampling.BOX)))
    return to_float(torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)).to(images.device)


def earrings(draw: ImageDraw.ImageDraw, side: int) -> None:
    """Two golden rings below the ears."""
    for x in (0.2, 0.8):
        box = [side * (x - 0.045), side * 0.64, side * (x + 0.045), side * 0.76]
        draw.ellipse(box, outline=(245, 205, 60), width=side // 40)


def letter(draw: ImageDraw.ImageDraw, side: int) -> None:
    """A red T on a white field, on the forehead, as on a hat."""
    draw.rectangle([side * 0.38, side * 0.08, side * 0.62, side * 0.28], fill=(245, 245, 245))
    draw.rectangle([side * 0.42, side * 0.11, side * 0.58, side * 0.15], fill=(200, 30, 40))
    draw.rectangle([side * 0.48, side * 0.11, side * 0.52, side * 0.25], fill=(200, 30, 40))


def cut_off(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] moved to the left by a third; their last column fills the rest."""
    shift = images.shape[-1] // 3
    return torch.cat([images[..., shift:], images[..., -1:].expand(-1, -1, -1, shift)], -1)


def altered_claims(errors: Mapping[str, Tensor], method: str) -> list[dict]:
    """Verdicts on C27: by how much the MSE [N] of images grows by what is done to them."""
    return [claims.row("C27", f"{method}: {what} inverts worse, MSE", "shown (Fig. 18)",
                       scores.per_image(values - errors["as it is"]))
            for what, values in errors.items() if what != "as it is"]
