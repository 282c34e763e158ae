"""Photographs: what can be measured of a few faces."""

import pytest
import torch
from idinvert.study import scores
from idinvert.study.sections import photographs


def codes(count, seed):
    return torch.randn(count, 1, 4, generator=torch.Generator().manual_seed(seed)) / 2


def faces(model, count):
    """So many faces that no network judges."""
    def images(number, seed):
        return model.generator.synthesis(codes(number, seed))
    others = scores.image_set(model, images(9, 1))
    of = photographs.Faces(model, images(count, 0), others, ["smile"])
    of.__dict__["judged"] = False
    return of


@pytest.mark.parametrize("count", range(1, 9))
def test_what_few_faces_cannot_tell_is_left_out(count, shift):
    shift.boundaries = {"smile": shift.boundaries["red"]}
    of = faces(shift, count)
    found = {}
    for seed, name in enumerate(photographs.PAIR, 2):
        w = codes(count, seed)
        found[name] = w, scores.image_set(shift, shift.generator.synthesis(w))
    edited = {name: photographs.edit_all(of, w) for name, (w, _) in found.items()}
    outcomes = {value: (images, edited[name]["smile"])
                for value, (name, (_, images)) in enumerate(found.items())}
    rows = [*photographs.reconstruction_claims(of, found),
            *photographs.editing_claims(of, found, edited),
            *photographs.tradeoff_claims(of, outcomes)]
    told = {row["claim"] for row in rows}
    assert told == ({"C2", "C4", "C8", "C19"} if count >= 4 else set()) | (
        {"C7"} if count >= 6 else set())
