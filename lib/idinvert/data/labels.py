"""Binary labels of the embedded domains, as used for boundaries and precision-recall curves."""

from __future__ import annotations

import pandas as pd

# domain -> label -> (attribute, its positive value)
POSITIVE_CLASSES = {
    "face": {
        "gender": ("gender", "male"),
        "age": ("age", "old"),
        "eyeglasses": ("eyeglasses", "presence"),
        "pose": ("pose", "right"),
        "smile": ("expression", "smile"),
    },
    "bedroom": {
        name: (f"{name}_label", "presence")
        for name in ("indoor_lighting", "wood", "cluttered_space")
    },
}
POSITIVE_CLASSES |= {
    domain: {name: (f"{name}_label", "presence") for name in ("clouds", "sunny", "vegetation")}
    for domain in ("tower", "church")
}


def binary_labels(labels: pd.DataFrame, domain: str) -> pd.DataFrame:
    """0/1 columns of a domain, with the index of `labels` (N rows, as in `Split.labels`).

    face: `gender` (1: male), `age` (1: old, from 47 years), `eyeglasses` (1: present, sunglasses
    too), `pose` (1: the nose points to the right of the image), `smile` (1: smiling).
    tower, church: `clouds`, `sunny`, `vegetation`; bedroom: `indoor_lighting`, `wood`,
    `cluttered_space`: 1 where the fraction of that name is above one half.

    The worlds draw these labels independently of each other. ValueError: unknown domain.
    """
    if domain not in POSITIVE_CLASSES:
        raise ValueError(f"Unknown domain {domain!r}: expected one of "
                         f"{', '.join(POSITIVE_CLASSES)}.")
    return pd.DataFrame({name: (labels[attribute] == positive).astype("int64")
                         for name, (attribute, positive) in POSITIVE_CLASSES[domain].items()})
