"""Section 5.1: backbones of the encoder (Table 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from torch import Tensor

from idinvert import models as weights
from idinvert.codes import encode_with_noise, render_with_noise
from idinvert.metrics import pixel
from idinvert.metrics.bootstrap import Estimate
from idinvert.study import claims, encoding, logs, scores
from idinvert.study.encoding import Encoded
from idinvert.study.networks import StudyModel
from idinvert.study.scores import PIXELS, ImageSet

BACKBONES = {"base": "base", "base-alike": "base, trained alike", "resnet18": "ResNet-18",
             "resnet34": "ResNet-34", "resnet50": "ResNet-50", "mobilenet": "MobileNet"}
DEEPER = ("base", "base-alike", "resnet18", "resnet34", "resnet50")  # from shallow to deep


def of_generator(generator: str) -> list[str]:
    """The backbones of a generator's encoders. Where its base encoder was trained as the others,
    there is no second one that was."""
    alike = encoding.base_variant(generator)
    return [name for name in BACKBONES if name != "base-alike" or name == alike]


def equally_long(encoded: dict[str, Encoded]) -> list[str]:
    """The largest part of the encoders that were trained on as many images as one another: what the
    others reach says nothing of their backbone."""
    spent = {name: weights.card(one.name)["kimg"] for name, one in encoded.items()}
    usual = Counter(spent.values()).most_common(1)[0][0]
    return [name for name, kimg in spent.items() if kimg == usual]


def compared(known: Iterable[str]) -> list[tuple[str, str, str]]:
    """(claim, worse, better) of backbones that were trained alike, by what the paper says: each
    beats the next shallower one (C11), and the shallowest beats MobileNet (C13)."""
    deep = [name for name in DEEPER if name in known]
    pairs = [("C11", *pair) for pair in pairwise(deep)]
    return pairs + ([("C13", "mobilenet", deep[0])] if "mobilenet" in known and deep else [])


def beats(domain: str, better: str, worse: str, metric: str) -> tuple[str, str]:
    """What a row of C11 or C13 says, and the paper's numbers."""
    paper = claims.paper_gain(claims.paper_table(3), domain, *(
        name.removesuffix("-alike") for name in (better, worse)), metric)
    return f"{domain}: {BACKBONES[better]} beats {BACKBONES[worse]}", paper


def quality_claims(domain: str, encoded: dict[str, Encoded], real: ImageSet) -> list[dict]:
    """C11 and C13 by MSE and SSIM, of backbones that were trained for equally long."""
    return [claims.nearer(claim, *beats(domain, better, worse, metric), metric,
                          encoded[better].images, encoded[worse].images, real)
            for claim, worse, better in compared(equally_long(encoded)) for metric in PIXELS]


def seed_claims(domain: str, repeated: dict[str, str]) -> list[dict]:
    """C11 and C13 by MSE and SSIM over the repetitions of encoders {backbone: name}."""
    rows = []
    for claim, worse, better in compared(repeated):
        for metric in PIXELS:
            text, paper = beats(domain, better, worse, metric)
            gain = logs.advantage(metric, repeated[better], repeated[worse])
            rows.append(claims.row(claim, f"{text}, {scores.title(metric)}, over trainings", paper,
                                   gain))
    return rows


def time_claims(domain: str, times: dict[str, Estimate]) -> list[dict]:
    """C12 and C13 by the seconds per image: each backbone takes longer than the next shallower one,
    and MobileNet longer than the base encoder."""
    paper, rows = claims.paper_table(3), []
    deep = [name for name in DEEPER if name in times and name != "base-alike"]
    pairs = [("C12", *pair) for pair in pairwise(deep)]
    pairs += [("C13", "base", "mobilenet")] if {"base", "mobilenet"} <= set(times) else []
    for claim, fast, slow in pairs:
        theirs = claims.paper_gain(paper, domain, slow, fast, "seconds_per_image")
        text = f"{domain}: {BACKBONES[slow]} takes so many times as long as {BACKBONES[fast]}"
        longer = scores.ratio(times[slow], times[fast])
        rows.append(claims.row(claim, text, theirs, longer, equal=1.0))
    return rows


def training_claim(domain: str, model: StudyModel, encoded: dict[str, Encoded], real: ImageSet,
                   targets: Tensor) -> list[dict]:
    """C14: from the conventional to the domain-guided base encoder the MSE falls by more than it
    differs between the best and the worst backbone of equally long training; no row where there is
    no conventional one."""
    if not model.has("conventional") or "base" not in encoded:
        return []
    codes, noise = encode_with_noise(model.conventional, targets)
    conventional = pixel.mse(render_with_noise(model.generator, codes, noise).cpu(), real.images)
    guided = pixel.mse(encoded["base"].images.images, real.images)
    errors = [pixel.mse(encoded[name].images.images, real.images) for name in equally_long(encoded)]
    best, worst = (pick(errors, key=lambda e: e.mean()) for pick in (min, max))
    gain = scores.per_image((conventional - guided) - (worst - best))
    text = f"{domain}: the way of training moves the MSE by more than the backbone does"
    return [claims.row("C14", text, "0.393 > 0.014" if domain == "face" else "not given", gain)]
