"""Executed notebooks as chapters: numbering, tables, and whether they are out of date."""

import base64
import copy
import json
import re

import jupytext
import nbformat
import pandas as pd
import pytest
from idinvert.publish import chapters
from idinvert.study import profiles, run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SOURCE = """# %% [markdown]
# # Title

# %% tags=["parameters"]
profile = "embedded"

# %% [markdown]
# ## Table 1: errors

# %%
made.table("table" + str(1), frame)

# %% [markdown]
# ## Figure 10: what it costs

# %%
made.table("fig10", frame)
made.figure(name, figure)

# %%
made.figure("extra", figure)
"""
FRAME = new_output("execute_result", {"text/html": "<table>"})
STDERR = new_output("stream", name="stderr", text="bar")


def table_mark(name):
    """What `Run.table` shows: see test_study."""
    return new_output("display_data", {"text/html": ""}, metadata={"kind": "table", "name": name})


def figure(name, mime="image/png"):
    """What a notebook keeps of the picture that `Run.figure` returns."""
    return new_output("display_data", {mime: "x"}, metadata={mime: {"kind": "figure",
                                                                    "name": name}})


OUTPUTS = ([], [STDERR, table_mark("table1"), FRAME],
           [STDERR, table_mark("fig10"), figure("fig10")], [figure("extra")])


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one executed notebook, 04_demo, that loaded one model."""
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(profiles, "PROFILES", tmp_path)
    monkeypatch.setattr(chapters.models, "digest", lambda name: "abc")
    monkeypatch.setattr(profiles.NOTEBOOKS, "entries", {"04_demo": profiles.Noise})
    for folder in ("notebooks", "results/notebooks", "tables"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "reference.yml").write_text("04_demo: {num_images: 5}\n")
    for name in ("table1", "fig10"):
        pd.DataFrame({"x": [1]}).to_csv(tmp_path / "tables" / f"{name}.csv", index=False)
    source = jupytext.reads(SOURCE, "py:percent")
    write_source(tmp_path, SOURCE)
    note = {"settings": {"num_images": 5}, "models": {"gan": "abc"}, "judge": run.judge(),
            "code": run.code_of("04_demo") | {"idinvert.losses": "a1"}}
    monkeypatch.setattr(run.provenance, "code_hashes",
                        lambda modules, without: {"idinvert.losses": "a1"})
    (tmp_path / "results" / "settings").mkdir()
    (tmp_path / "results" / "settings" / "04_demo.json").write_text(json.dumps(note))
    for cell, outputs in zip([c for c in source.cells if c.cell_type == "code"], OUTPUTS):
        cell.outputs = copy.deepcopy(outputs)
    injected = new_code_cell("profile = 'reference'", metadata={"tags": ["injected-parameters"]})
    source.cells.insert(2, injected)
    nbformat.write(source, tmp_path / "results" / "notebooks" / "04_demo.ipynb")
    return tmp_path


def write_source(checkout, text):
    """Write both forms of the notebook."""
    path = checkout / "notebooks" / "04_demo.py"
    path.write_text(text)
    nbformat.write(jupytext.reads(text, "py:percent"), path.with_suffix(".ipynb"))


def edit(checkout, old, new):
    write_source(checkout, (checkout / "notebooks" / "04_demo.py").read_text().replace(old, new))


def test_unchanged_notebook_is_not_stale(checkout):
    assert chapters.stale("04_demo") is None


def test_prose_and_layout_may_change(checkout):
    edit(checkout, "# # Title", "# # Another title")
    edit(checkout, 'made.figure("extra", figure)', 'made.figure("extra",\n    figure)  # why')
    assert chapters.stale("04_demo") is None


@pytest.mark.parametrize("old, new, reason", [
    ("frame)", "frame, 2)", "the code of the notebook changed"),
    ('"embedded"', '"smoke"', "the code of the notebook changed"),
])  # fmt: skip
def test_changed_notebook_is_stale(checkout, old, new, reason):
    edit(checkout, old, new)
    assert chapters.stale("04_demo") == reason


def test_changed_inputs_are_named(checkout, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(chapters.models, "digest", lambda name: None)
        assert chapters.stale("04_demo") == "the weights of gan changed"
    with monkeypatch.context() as patch:
        patch.setenv("IDINVERT_INCEPTION", "file")
        assert chapters.stale("04_demo") == "the judge was EfficientNet-Lite0 and is Inception"
    with monkeypatch.context() as patch:
        patch.setattr(run.provenance, "code_hashes", lambda modules, without: {
            "idinvert.losses": "b2", "idinvert.metrics.kid": "c3"})
        reason = "the code of idinvert.losses and of 1 more module changed"
        assert chapters.stale("04_demo") == reason
    (checkout / "reference.yml").write_text("04_demo: {num_images: 6}\n")
    assert chapters.stale("04_demo") == "the setting num_images was 5 and is 6"
    chapters.executed_path("04_demo").unlink()
    assert chapters.stale("04_demo") == "it was never executed"


def test_tables_beside_the_notebook_of_another_run_are_stale(checkout):
    path = chapters.executed_path("04_demo")
    path.write_text(path.read_text().replace("made.figure(name, figure)", "made.figure(other)"))
    assert chapters.stale("04_demo") == "its tables are those of another run"


def test_every_module_that_a_result_depends_on_counts():
    code = run.code_of("02_reconstruction")
    assert {"idinvert.losses", "idinvert.codes", "idinvert.metrics.kid", "idinvert.nn.stylegan",
            "idinvert.study.sections.reconstruction", "idinvert.study.scores"} <= set(code)
    assert "idinvert.study.sections.noise" not in code  # another notebook's


def test_chapter_out_of_date_is_as_it_was_executed_and_says_so(checkout):
    edit(checkout, "frame)", "frame, 2)")
    cells = chapters.chapter("04_demo", checkout / "tables").cells
    assert "earlier run (the code of the notebook changed)" in cells[1].source
    text = "".join(c.source for c in cells)
    assert "frame, 2" not in text and 'made.table("fig10", frame)' in text
    assert "reference" not in text


def test_results_keep_the_numbers_of_the_paper_however_their_names_are_written(checkout):
    assert [(r.anchor, r.caption) for r in chapters.results("04_demo")] == [
        ("table-table1", "**Table 1.** Errors"),
        ("figure-fig10", "**Figure 10.** What it costs"),
        ("table-fig10", "**Table 4-A.** The values of Figure 10"),
        ("figure-extra", "**Figure 4-A.** What it costs"),
    ]


def test_chapter_has_new_prose_old_outputs_and_tables_of_the_book(checkout):
    edit(checkout, "# # Title", "# # Another title")
    cells = chapters.chapter("04_demo", checkout / "tables").cells
    assert cells[0].source == "# Another title"
    assert not [c for c in cells if "injected" in c.source or "reference" in c.source]
    code = next(c for c in cells if "str(1)" in c.source)
    assert code.outputs == [] and "hide-input" in code.metadata["tags"]
    before, after, links = (cells[cells.index(code) + i] for i in (-1, 1, 2))
    assert after.source.startswith(":::{table} **Table 1.** Errors\n:name: table-table1\n")
    (anchor,) = re.findall(r'<span id="(.+)"></span>', before.source)
    assert f'href="#{anchor}"' in links.source
    data = re.search(r'download="table1.csv" href="data:text/csv;base64,(.+?)"', links.source)[1]
    assert base64.b64decode(data).decode() == "x\n1\n"
    shown, last = cells[-2:]
    assert shown.metadata["mystnb"]["figure"]["name"] == "figure-extra"
    assert shown.metadata["mystnb"]["image"]["alt"] == "Figure 4-A: What it costs"
    assert "download" not in last.source  # no table has its name
    assert [o.data for o in shown.outputs] == [{"image/png": "x"}]


def test_data_of_a_figure_are_the_table_that_its_name_begins_with(tmp_path):
    (tmp_path / "fig16.csv").write_text("x")
    result = chapters.Result("figure", "fig16_curves", "Figure 16", "text")
    assert 'download="fig16.csv"' in chapters.links(result, tmp_path, "code-1")
    other = chapters.Result("figure", "fig1", "Figure 1", "text")
    assert "download" not in chapters.links(other, tmp_path, "code-1")


def test_figures_are_described_by_the_longest_beginning_of_their_names():
    def described(name):
        return chapters.description(chapters.Result("figure", name, "Figure 2", "Errors"))

    assert described("fig02_errors") != described("fig02_face") == described("fig02_tower")
    assert described("unknown") == "Figure 2: Errors"


def test_table_joins_values_and_intervals():
    frame = pd.DataFrame({"method": ["a|b"], "mse": [0.012345], "mse_low": [0.01],
                          "mse_high": [0.2], "below": [float("nan")], "below_low": [float("nan")],
                          "below_high": [float("nan")], "images": [1000]})
    lines = chapters.table(frame, "Caption").splitlines()
    assert lines[0] == ":::{table} Caption"
    assert lines[2] == "| method | mse | below | images |"
    assert lines[4] == r"| a\|b | 0.0123<br><small>[0.01, 0.2]</small> | – | 1000 |"


def test_outputs_of_cells_without_results_stay(tmp_path):
    cells = [new_markdown_cell("# T"), new_code_cell("1 + 1", outputs=[copy.deepcopy(FRAME)])]
    made = list(chapters.numbered(new_notebook(cells=cells).cells, "explore", tmp_path))
    assert len(made) == 2 and made[1].outputs == [FRAME]


def test_pictures_of_a_loop_share_a_number_and_are_named_by_what_stands_before_them(tmp_path):
    printed = new_output("stream", name="stdout", text="x")
    named = new_output("display_data", {"text/markdown": "**towers**"})
    outputs = [figure("fig04_face"), named, figure("fig04_tower", "image/jpeg"), named, printed]
    cell = new_code_cell("loop()", outputs=copy.deepcopy(outputs))
    later = new_code_cell("once()", outputs=[figure("fig04_curves")])
    cells = [new_markdown_cell("## Figure 4: ways"), cell, later]
    made = list(chapters.numbered(cells, "04_demo", tmp_path))
    assert made[2].outputs == [named, printed]  # no picture follows that one
    figures = [c.metadata["mystnb"]["figure"] for c in made if "mystnb" in c.metadata]
    assert figures == [
        {"name": "figure-fig04_face", "caption": "**Figure 4 (1 of 2).** Ways"},
        {"name": "figure-fig04_tower", "caption": "**Figure 4 (2 of 2).** Ways: **towers**"},
        {"name": "figure-fig04_curves", "caption": "**Figure 4-A.** Ways"},
    ]


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
    for name in filter(lambda n: not chapters.stale(n), chapters.sources()):
        for result in chapters.results(name):
            assert not re.match(r"(Figure|Table)s? \d", result.text), result
