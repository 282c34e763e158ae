"""Section 6.2 and A3: generators of one code against layer-wise ones (Tables 5 and 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from idinvert import models as weights
from idinvert.codes import render, sample_codes
from idinvert.study import claims, encoding, figures, logs, scores
from idinvert.study.edits import partners
from idinvert.study.encoding import Encoded
from idinvert.study.networks import StudyModel
from idinvert.study.run import Run
from idinvert.study.scores import PIXELS, ImageSet, image_set
from idinvert.study.subjects import SubjectError, ready

GENERATORS = {"stylegan": "StyleGAN, one code", "stylegan-layerwise": "StyleGAN, layer-wise",
              "stylegan2": "StyleGAN2, one code", "stylegan2-layerwise": "StyleGAN2, layer-wise"}
# (better, worse) at reconstruction, by the paper; at interpolation the other way round
RETRAINED = (("stylegan-layerwise", "stylegan"), ("stylegan2-layerwise", "stylegan2"))
SECOND = (("stylegan2", "stylegan"), ("stylegan2-layerwise", "stylegan-layerwise"))
COLUMNS = (*(("reconstruction", metric) for metric in (*PIXELS, "kid", "swd")),
           *(("interpolation", metric) for metric in ("kid", "swd")))


def load_generators(run: Run, domain: str, names: Mapping[str, str]) -> dict[str, StudyModel]:
    """The models of the generators {one of GENERATORS: name} of a domain; one that is not trained,
    or has no encoder, is left out with a line that says so."""
    return ready(names, lambda kind: encoding.load_generator(run, domain, names[kind]))


def encode_by_all(run: Run, domain: str
                  ) -> tuple[dict[str, StudyModel], dict[str, Encoded], ImageSet, ImageSet]:
    """What the base encoder of each generator that the run's settings name makes of the first test
    images of a domain: models, images, the targets, and as many other real images.

    SubjectError: the settings name no generator of the domain.
    """
    names = run.settings.generators.get(domain)
    if not names:
        raise SubjectError(f"The profile {run.profile!r} names no generators of {domain!r} for "
                           f"{run.notebook!r}.")
    subject, count = run.subject(domain), run.settings.num_images
    models = load_generators(run, domain, names)
    first = next(iter(models.values()))
    size = first.generator.resolution
    targets, others = (image_set(first, subject.photos(size, **part).to(run.device))
                       for part in ({"stop": count}, {"start": -count}))
    photos = targets.images.to(run.device)
    encoded = {}
    for kind, model in models.items():
        variant = encoding.base_variant(names[kind])
        encoded[kind] = encoding.encode_all(model, names[kind], [variant], photos)[variant]
    return models, encoded, targets, others


def table(domain: str, models: dict[str, StudyModel], encoded: dict[str, Encoded], real: ImageSet,
          others: ImageSet, seed: int = 0) -> pd.DataFrame:
    """Tables 5 and 7: `encoding.encoder_table` with the name of each generator, the images that it
    has seen, how many numbers a sampled code has, and the KID of as many samples to `others`."""
    rows = []
    for model in models.values():
        card, generator = weights.card(model.name), model.generator
        layers = generator.num_layers if card["settings"].get("layerwise") else 1
        samples = image_set(model, render(generator, sample_codes(generator, len(others), seed)))
        rows.append({"generator": model.name, "generator_images": card.get("kimg"),
                     "numbers_of_a_code": layers * generator.w_dim,
                     **scores.spread({"samples_kid": scores.score("kid", samples, others,
                                                                  paired=False)})})
    measured = encoding.encoder_table(domain, encoded, real, others)
    return pd.concat([measured.rename(columns={"encoder": "kind"}), pd.DataFrame(rows)], axis=1)


def between_pictures(targets: Tensor, encoded: dict[str, Encoded], count: int = 10) -> Figure:
    """Targets, the partner of each, and what each generator renders halfway between the two."""
    other, _ = partners(len(targets))
    rows = [targets[:count], targets[other][:count]]
    rows += [one.between.images[:count] for one in encoded.values()]
    titles = (GENERATORS[kind].replace(" ", "\n", 1) for kind in encoded)
    return figures.image_grid(rows, ["target", "partner", *titles])


def tradeoff_figure(table: pd.DataFrame) -> Figure:
    """MSE of reconstructions against KID of interpolations, with a line from the generator of one
    code to the layer-wise one of each family."""
    families = table["kind"].str.removesuffix("-layerwise")
    titles = GENERATORS | {family: GENERATORS[family].split(",")[0] for family in families}
    return figures.plane(table.assign(family=families.map(titles),
                                      kind=table["kind"].map(GENERATORS)),
                         ("mse", "MSE of reconstructions"),
                         ("between_kid", "KID x 1e3 of interpolations"), "family", "kind")


# --- claims ----------------------------------------------------------------------------------


def paper_numbers(number: int) -> pd.DataFrame:
    """The paper's Table 5 or 7, its methods called as GENERATORS are."""
    found = claims.paper_table(number)
    ends = found["method"].map({"with_retraining": "-layerwise", "without_retraining": ""})
    return found.assign(method=found["generator"] + ends)


def comparisons(claim: str, domain: str, pairs: Iterable[tuple[str, str]], known: Iterable[str],
                number: int) -> list[tuple]:
    """Every column of every pair that is known: (better at it, worse at it, task, metric, claim,
    text, the paper's numbers), `better` by what the paper says."""
    paper, known, found = paper_numbers(number), set(known), []
    for pair, (task, metric) in product([p for p in pairs if set(p) <= known], COLUMNS):
        better, worse = pair if task == "reconstruction" else pair[::-1]
        text = (f"{domain}: {GENERATORS[better]} better than {GENERATORS[worse]} at {task}, "
                f"{scores.title(metric)}")
        theirs = claims.paper_gain(paper, domain, better, worse, metric, task)
        found.append((better, worse, task, metric, claim, text, theirs))
    return found


def image_claims(found: list[tuple], encoded: dict[str, Encoded], real: ImageSet, others: ImageSet
                 ) -> list[dict]:
    """The rows of `comparisons`, by intervals over images."""
    rows = []
    for better, worse, task, metric, claim, text, paper in found:
        same = task == "reconstruction"
        sets = [x.images if same else x.between for x in (encoded[better], encoded[worse])]
        gain = scores.advantage(metric, *sets, real if same else others, paired=same)
        rows.append(claims.row(claim, text, paper, gain))
    return rows


def seed_claims(found: list[tuple], repeated: dict[str, str]) -> list[dict]:
    """The rows of `comparisons` of encoders {one of GENERATORS: name} that were trained with
    several seeds, by intervals over those trainings."""
    rows = []
    for better, worse, task, metric, claim, text, paper in found:
        if {better, worse} <= set(repeated):
            gain = logs.advantage(metric, repeated[better], repeated[worse], task)
            rows.append(claims.row(claim, f"{text}, over trainings", paper, gain))
    return rows
