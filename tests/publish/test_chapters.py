"""Executed notebooks as chapters: numbering, tables, and whether they are out of date."""

import json
import re

import nbformat
import pandas as pd
import pytest
from idinvert.publish import chapters
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SOURCE = """# %% [markdown]
# # Title

# %% tags=["parameters"]
profile = "embedded"

# %% [markdown]
# ## Table 1: errors

# %%
run.table("table1", frame)

# %% [markdown]
# ## Figure 10: what it costs

# %%
run.table("fig10", frame)
run.figure("fig10", figure)

# %%
run.figure("extra", figure)
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one executed notebook, 04_demo, that loaded one model."""
    import jupytext

    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(chapters, "PROFILES", tmp_path)
    monkeypatch.setattr(chapters.weights, "digest", lambda name: "abc")
    for folder in ("notebooks", "results/notebooks", "results/settings", "tables"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "reference.yml").write_text("04_demo: {num_images: 3}\n")
    (tmp_path / "notebooks" / "04_demo.py").write_text(SOURCE)
    noted = {"settings": {"num_images": 3}, "models": {"gan": "abc"}}
    (tmp_path / "results" / "settings" / "04_demo.json").write_text(json.dumps(noted))
    executed = jupytext.reads(SOURCE, "py:percent")
    for cell in executed.cells:
        if cell.cell_type == "code":
            cell.outputs = [new_output("stream", name="stderr", text="bar"),
                            new_output("execute_result", {"text/html": "<table>"})]
    injected = new_code_cell("profile = 'reference'", metadata={"tags": ["injected-parameters"]})
    executed.cells.insert(2, injected)
    nbformat.write(executed, tmp_path / "results" / "notebooks" / "04_demo.ipynb")
    return tmp_path


def edit(checkout, old, new):
    path = checkout / "notebooks" / "04_demo.py"
    path.write_text(path.read_text().replace(old, new))


def test_unchanged_notebook_is_not_stale(checkout):
    assert chapters.stale("04_demo") is None


def test_prose_may_change_but_code_settings_and_weights_may_not(checkout, monkeypatch):
    edit(checkout, "# # Title", "# # Another title")
    assert chapters.stale("04_demo") is None
    (checkout / "reference.yml").write_text("04_demo: {num_images: 4}\n")
    assert chapters.stale("04_demo") == "other settings"
    (checkout / "reference.yml").write_text("04_demo: {num_images: 3}\n")
    monkeypatch.setattr(chapters.weights, "digest", lambda name: None)
    assert chapters.stale("04_demo") == "other weights: gan"
    edit(checkout, "frame)", "frame, 2)")
    assert chapters.stale("04_demo") == "other code"
    chapters.executed_path("04_demo").unlink()
    assert chapters.stale("04_demo") == "never executed"


def test_chapter_out_of_date_is_as_it_was_executed_and_says_so(checkout):
    edit(checkout, "frame)", "frame, 2)")
    cells = chapters.chapter("04_demo", checkout / "tables").cells
    assert "earlier run (other code since)" in cells[1].source
    text = "".join(c.source for c in cells)
    assert "frame, 2" not in text and 'run.table("table1", frame)' in text
    assert "reference" not in text


def test_results_keep_the_numbers_of_the_paper(checkout):
    assert [(r.anchor, r.caption) for r in chapters.results("04_demo")] == [
        ("table-table1", "**Table 1.** Errors"),
        ("table-fig10", "**Table 4-A.** The values of Figure 10"),
        ("figure-fig10", "**Figure 10.** What it costs"),
        ("figure-extra", "**Figure 4-A.** What it costs"),
    ]


def test_chapter_has_new_prose_old_outputs_and_tables_of_the_book(checkout):
    edit(checkout, "# # Title", "# # Another title")
    pd.DataFrame({"x": [1]}).to_csv(checkout / "tables" / "table1.csv", index=False)
    cells = chapters.chapter("04_demo", checkout / "tables").cells
    assert cells[0].source == "# Another title"
    assert not [c for c in cells if "injected" in c.source or "reference" in c.source]
    made = next(c for c in cells if "table1" in c.source and c.cell_type == "code")
    assert made.outputs == [] and "hide-input" in made.metadata["tags"]
    after = cells[cells.index(made) + 1]
    assert after.source.startswith(":::{table} **Table 1.** Errors\n:name: table-table1\n")
    figure = next(c for c in cells if "extra" in c.source)
    assert figure.metadata["mystnb"]["figure"]["name"] == "figure-extra"
    assert [o.data for o in figure.outputs] == [{"text/html": "<table>"}]


def test_table_joins_values_and_intervals():
    frame = pd.DataFrame({"method": ["a|b"], "mse": [0.012345], "mse_low": [0.01],
                          "mse_high": [0.2], "below": [float("nan")], "below_low": [float("nan")],
                          "below_high": [float("nan")], "images": [1000]})
    lines = chapters.table(frame, "Caption").splitlines()
    assert lines[0] == ":::{table} Caption"
    assert lines[2] == "| method | mse | below | images |"
    assert lines[4] == r"| a\|b | 0.0123<br><small>[0.01, 0.2]</small> | – | 1000 |"


def test_outputs_of_cells_without_results_stay():
    cells = [new_markdown_cell("# T"), new_code_cell("1 + 1")]
    (_, found), (_, none) = chapters.labelled(new_notebook(cells=cells).cells, "explore")
    assert found == none == []


def test_pictures_of_a_loop_are_numbered_apart_and_named_by_what_stands_before_them(tmp_path):
    images = [new_output("display_data", {f"image/{kind}": "x"}) for kind in ("png", "jpeg")]
    printed = new_output("stream", name="stdout", text="x")
    named = new_output("display_data", {"text/markdown": "**towers**"})
    outputs = [images[0], named, images[1], named, printed]
    cell = new_code_cell('display(run.figure(f"fig04_{d}", f))', outputs=outputs)
    cells = [new_markdown_cell("## Figure 4: ways"), cell]
    made = list(chapters.numbered(cells, "04_demo", tmp_path))
    assert made[1].outputs == [named, printed]  # no picture follows that one
    figures = [c.metadata["mystnb"]["figure"] for c in made[2:]]
    captions = "**Figure 4 (1 of 2).** Ways", "**Figure 4 (2 of 2).** Ways: **towers**"
    assert figures == [{"name": f"figure-fig04-{i}", "caption": caption}
                       for i, caption in enumerate(captions, 1)]


@pytest.mark.parametrize("heading, text", [
    ("Figures 4 and 19: from one to another", "from one to another"),
    ("Figure 16: the size", "the size"),
    ("Table 2: distances", "distances"),
    ("Figure 14b: the same", "the same"),
    ("Truncation", "Truncation"),
])  # fmt: skip
def test_numbers_of_the_paper_are_left_out_of_captions(heading, text):
    assert chapters.OWN_HEADING.sub("", heading) == text


def test_no_caption_repeats_its_number():
    for name in chapters.sources():
        for result in chapters.results(name):
            assert not re.match(r"(Figure|Table)s? \d", result.text), result
