"""The pages that are made of results."""

import pandas as pd
import yaml
from idinvert import models
from idinvert.cli import main
from idinvert.publish import book
from idinvert.publish.drawings import DRAWINGS, draw
from idinvert.study.claims import PAPER_TABLES
from idinvert.study.run import ROOT

CLAIMS = pd.read_csv(ROOT / "book" / "claims.csv")


def write_verdicts(folder, *rows):
    """A folder with a table of rows (claim, verdict); Holm's correction leaves the first alone."""
    names = ["claim", "what", "paper", "ours", "low", "high", "p", "verdict"]
    frame = pd.DataFrame([[c, "w", "p", 1.0, 0.5, 2.0, 0.5 if i else 1e-6, v]
                          for i, (c, v) in enumerate(rows)], columns=names)
    frame.to_csv(folder / "06_paper_and_ours.csv", index=False)
    return folder


def test_standing_counts_the_verdicts_of_a_claim(tmp_path):
    found = book.read_verdicts(write_verdicts(
        tmp_path, ("C1", "reproduced"), ("C1", "contradicted"), ("C1", "reproduced"),
        ("C2", "not resolved")))
    assert book.standing("C1", found) == "2 reproduced, 1 contradicted"
    assert book.standing("C2", found) == "not resolved"
    assert book.standing("C3", found) == "not measured yet"


def test_verdicts_name_their_notebook(tmp_path):
    found = book.read_verdicts(write_verdicts(tmp_path, ("C19", "reproduced")))
    assert found["notebook"].tolist() == ["06_tradeoff"]
    assert book.read_verdicts(tmp_path / "none").empty


def test_every_claim_is_listed_measured_or_not(tmp_path):
    tables = write_verdicts(tmp_path, ("C19", "contradicted"))
    page = book.comparison_page(["06_tradeoff"], tables)
    for claim in CLAIMS["id"]:
        assert page.count(f"| {claim} |") >= 1
    assert page.count("not measured yet") >= 26
    assert '<span class="verdict bad">contradicted</span>' in page
    assert "[06 tradeoff](06_tradeoff.ipynb)" in page
    assert "[02 reconstruction]" not in page  # no link to a chapter that is not there


def test_a_cause_is_told_only_of_a_contradiction(tmp_path):
    cause = CLAIMS.set_index("id")["cause"]["C21"]
    for verdict, times in (("contradicted", 1), ("reproduced", 0)):
        found = book.read_verdicts(write_verdicts(tmp_path, ("C21", verdict)))
        told = book.claim_rows([], found).set_index("claim")["cause"]
        assert list(told[told != ""]) == [cause] * times


def test_title_page_lists_the_claims_that_are_measured(tmp_path):
    text = book.title_page([], write_verdicts(tmp_path, ("C19", "reproduced"), ("-", "reproduced")))
    rows = [line for line in text.splitlines() if line.startswith("| C")]
    assert len(rows) == 1 and rows[0].startswith("| C19 |") and "reproduced" in rows[0]
    assert "not measured yet</span>" not in text


def test_comparisons_are_counted_before_and_after_the_correction(tmp_path):
    tables = write_verdicts(tmp_path, ("C19", "reproduced"), ("C1", "reproduced"),
                            ("C2", "contradicted"), ("-", "contradicted"))
    for page in (book.title_page([], tables), book.comparison_page([], tables)):
        assert ("3 of the paper's 27 claims are measured, in 3 comparisons: 2 reproduced, 0 not "
                "resolved, 1 contradicted; after Holm's correction for the number of comparisons: "
                "1 reproduced, 2 not resolved, 0 contradicted.") in page


def test_tables_of_the_paper_are_printed_as_they_are():
    numbers = pd.read_csv(PAPER_TABLES, dtype={"value": str})
    ((task, frame),) = book.paper_tables(numbers[numbers["table"] == 1])
    assert task == "reconstruction"
    assert list(frame.columns) == ["dataset", "method", "FID", "SWD", "SSIM", "MSE"]
    assert frame.iloc[0].tolist() == ["face", "conventional encoder", "50.11", "83.49", "0.282",
                                      "0.464"]
    shown = sum(frame.drop(columns=frame.select_dtypes("category")).size
                for _, part in numbers.groupby("table") for _, frame in book.paper_tables(part))
    assert shown > len(numbers)  # every value, and the names beside it


def test_contents_list_each_chapter_once_and_only_pages_that_exist():
    parts = yaml.safe_load(book.contents(["06_tradeoff", "explore"], []))["parts"]
    pages = [chapter["file"] for part in parts for chapter in part["chapters"]]
    assert len(pages) == len(set(pages)) and {"06_tradeoff", "explore"} <= set(pages)
    assert not [p for p in pages if p not in ("06_tradeoff", "explore")
                and not (ROOT / "book" / f"{p}.md").exists()]


def test_models_page_has_every_card():
    page = book.models_page()
    for path in (ROOT / "results" / "weights").glob("*.json"):
        assert f"(model-{path.stem})=" in page


def test_trainings_page_tells_how_each_generator_goes_on():
    page = book.trainings_page()
    kimg = models.card("tower-stylegan-layerwise")["kimg"]
    assert f"`idinvert train tower-stylegan-layerwise --kimg {kimg + 40:g}`" in page
    assert "- **tower-stylegan-layerwise**: Until 172,000 images" in page


def test_drawings_are_the_same_each_time(tmp_path):
    first, second = ([path.read_bytes() for path in draw(tmp_path / n)] for n in "ab")
    assert first == second and len(first) == len(DRAWINGS)


def test_bad_target_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["book", str(tmp_path / "file"), "--vendor", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("idinvert book: error: ") and error.count("\n") == 1


def test_a_book_without_its_package_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(book, "assemble", lambda *_: None)
    monkeypatch.setattr(book.sys, "executable", str(tmp_path / "python"))
    assert main(["book", str(tmp_path / "book")]) == 1
    error = capsys.readouterr().err
    assert "this needs the package jupyter-book: install it with pip install" in error


def test_every_figure_of_the_paper_is_listed_with_ours():
    rows = book.figure_rows(["06_tradeoff"]).set_index("figure")
    assert list(rows.index) == [str(number) for number in range(1, 21)]
    assert rows.loc["10", "ours"] == "{doc}`Figure 10 <06_tradeoff>`"
    assert rows.loc["7", "ours"] == "{doc}`redrawn <method>`"
    assert rows.loc["15", "ours"] == "not measured yet"
