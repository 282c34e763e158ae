"""The README quotes the committed tables and cards; a new reference run must change both."""

import pandas as pd
from idinvert import models
from idinvert.study.run import ROOT

README = (ROOT / "README.md").read_text()


def quoted(value, digits):
    return f"{value:.{digits}f}" in README


def test_figures_of_the_tables_are_quoted():
    table = pd.read_csv(ROOT / "results" / "tables" / "fig10.csv")
    first, last = table.iloc[0], table.iloc[-1]
    assert (first["lambda_dom"], last["lambda_dom"]) == (0, 40)
    for row in (first, last):
        assert quoted(row["mse"], 3) and quoted(row["kid"], 0) and quoted(row["success"], 2)
    verdicts = pd.read_csv(ROOT / "results" / "tables" / "06_paper_and_ours.csv")
    kid = verdicts[verdicts["what"].str.contains("KID")].iloc[0]
    assert quoted(kid["ours"], 2) and quoted(kid["low"], 2) and quoted(kid["high"], 2)


def test_figures_of_the_cards_are_quoted():
    for name in ("face-stylegan", "face-stylegan-layerwise"):
        assert quoted(models.card(name)["evaluation"]["kid_x1e3"], 0)


def test_files_that_are_named_exist():
    import re

    paths = re.findall(r"`((?:lib|results|notebooks)/[\w./-]+)`", README)
    paths += re.findall(r"\]\((results/[\w./-]+)\)", README)
    assert len(paths) > 12
    assert not [path for path in paths if not (ROOT / path).exists()]
