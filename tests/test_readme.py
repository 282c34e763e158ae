"""The README quotes the committed tables; a new reference run must change both."""

import importlib
import re

import pandas as pd
import pytest
from idinvert.cli.invert import read_method
from idinvert.study import claims
from idinvert.study.run import ROOT

README = " ".join((ROOT / "README.md").read_text().split())
TABLES = ROOT / "results" / "tables"
NUMBER = r"(-?\d+(?:\.\d+)?)"


def quoted(sentence):
    """The numbers of a sentence of the README, where it has # in their place."""
    pattern = re.escape(sentence).replace(r"\#", NUMBER)
    found = re.findall(pattern, README)
    assert len(found) == 1, f"README says this {len(found)} times: {sentence}"
    return [float(number) for number in found[0]]


def assert_rounded(numbers, cells, digits):
    assert numbers == pytest.approx([round(float(cell), digits) for cell in cells])


def test_verdicts_are_counted_as_in_the_book():
    assert str(claims.summary(TABLES, ROOT / "book" / "claims.csv")) in README


def test_figures_of_the_tradeoff_are_those_of_its_table():
    table = pd.read_csv(TABLES / "fig10.csv").set_index("lambda_dom")
    mse = quoted("The MSE of the inversion grows at every step of lambda_dom, from # at 0 to # at "
                 "40")
    assert_rounded(mse, table.loc[[0, 40], "mse"], 3)
    kid = quoted("the KID of the edited faces falls at every step, from # to # (x 1e3")
    assert_rounded(kid, table.loc[[0, 40], "kid"], 0)
    assert table["mse"].is_monotonic_increasing and table["kid"].is_monotonic_decreasing
    verdicts = pd.read_csv(TABLES / "06_paper_and_ours.csv")
    row = verdicts[verdicts["what"].str.contains("KID")].iloc[0]
    correlation = quoted("rank correlation #, 95 % interval # to #")
    assert_rounded(correlation, row[["ours", "low", "high"]], 2)


def test_figures_of_the_reconstructions_are_those_of_table_1():
    table = pd.read_csv(TABLES / "table1.csv")
    table = table[table["domain"] == "face"].set_index("method")
    kid = quoted("KID x 1e3 of # by in-domain inversion and # by Image2StyleGAN")
    assert_rounded(kid, table.loc[["in-domain", "image2stylegan"], "kid"], 0)
    mse = quoted("by Image2StyleGAN, MSE of # and #")
    assert_rounded(mse, table.loc[["in-domain", "image2stylegan"], "mse"], 3)


def test_files_that_are_named_exist():
    paths = [path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", README) if "build" not in path]
    paths = [path if path.startswith(("lib/", "results/", "notebooks/")) else f"lib/idinvert/{path}"
             for path in paths]
    paths += re.findall(r"\]\(([\w./-]+)\)", README)
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_guides_show_commands_that_are_understood():
    guides = [ROOT / "README.md", *(ROOT / "book").glob("your_own_*.md")]
    pattern = re.compile(r"^ *(idinvert (?:invert|edit|mix|interpolate|diffuse) .*)", re.MULTILINE)
    lines = [line.partition("#")[0] for guide in guides
             for line in pattern.findall(guide.read_text())]
    for line in lines:
        _, command, *words = line.replace(" mine", " face-stylegan-layerwise").split()
        module = importlib.import_module(f"idinvert.cli.{command}")
        read_method(module.Command, words, module.__name__, "")  # else a UsageError
    assert len(lines) > 8
