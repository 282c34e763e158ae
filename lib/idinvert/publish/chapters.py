"""Executed notebooks as chapters of the book, and whether they are still those of the sources.

The prose of a chapter is that of the source, its outputs are those of the executed notebook in
results/notebooks: prose is corrected without executing anything. Figures and tables that have a
number in the paper keep it ("fig10", "table1"); others are numbered by chapter and letter ("6-A").
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from string import ascii_uppercase

import jupytext
import nbformat
import pandas as pd
import yaml
from nbformat import NotebookNode

from idinvert import models as weights
from idinvert.study.run import PROFILES, ROOT

RESULT = re.compile(r'run\.(figure|table)\(\s*(f?)"([\w{}-]+)"')
PAPER_NUMBER = re.compile(r"(?:fig|table)0*(\d+[a-z]?)")
OWN_HEADING = re.compile(r"(Figure|Table)s? \d+[a-z]?( and \d+)?[:.] ")


def sources() -> list[str]:
    """Names of the notebooks, in order."""
    return sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))


def executed_path(name: str) -> Path:
    """Where the executed notebook of the reference profile is kept."""
    return ROOT / "results" / "notebooks" / f"{name}.ipynb"


def code(notebook: NotebookNode) -> list[NotebookNode]:
    """Code cells, without the one in which papermill injects parameters."""
    return [c for c in notebook.cells if c.cell_type == "code"
            and "injected-parameters" not in c.metadata.get("tags", [])]


def stale(name: str) -> str | None:
    """Why the executed notebook is not that of the present inputs, or None if it is.

    Compared by content, so that a fresh checkout is not executed again: the code, the settings of
    the reference profile and, where the run noted them, the models it loaded.
    """
    if not executed_path(name).exists():
        return "never executed"
    source = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    executed = nbformat.read(executed_path(name), 4)
    if [c.source for c in code(source)] != [c.source for c in code(executed)]:
        return "other code"
    wanted = yaml.safe_load((PROFILES / "reference.yml").read_text()).get(name)
    if noted(name).get("settings", wanted) != wanted:
        return "other settings"
    changed = [m for m, seen in models(name).items() if weights.digest(m) != seen]
    return f"other weights: {', '.join(changed)}" if changed else None


def noted(name: str) -> dict:
    """What the last run of a notebook noted of itself; empty if it has not run."""
    path = ROOT / "results" / "settings" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def models(name: str) -> dict[str, str]:
    """The models that the last run of a notebook loaded, with their SHA-256."""
    return noted(name).get("models", {})


def chapter(name: str, tables: Path) -> NotebookNode:
    """The chapter of a notebook: figures and tables numbered and captioned, code folded away.

    One that is out of date is shown as it was executed, and says so. tables: folder of the CSV
    files that the notebook wrote.
    """
    source = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    executed = nbformat.read(executed_path(name), 4)
    cells, done = code(source), code(executed)
    if [c.source for c in cells] == [c.source for c in done]:
        for cell, same in zip(cells, done):
            cell.outputs, cell.execution_count = same.outputs, same.execution_count
    else:
        source.cells = [c for c in executed.cells if c.cell_type != "code" or c in done]
    for cell in code(source):
        cell.outputs = kept(cell.outputs)
    source.metadata = executed.metadata
    source.cells = list(numbered(source.cells, name, tables))
    if reason := stale(name):
        note = f":::{{warning}}\nThese are results of an earlier run ({reason} since).\n:::"
        source.cells.insert(1, nbformat.v4.new_markdown_cell(note))
    return source


def kept(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without progress bars and warnings."""
    return [o for o in outputs if o.get("name") != "stderr"]


@dataclass(frozen=True)
class Result:
    """A figure or table that a notebook saves, with its number in the book."""

    kind: str  # "figure" or "table"
    name: str  # of its file
    label: str  # "Figure 10"
    text: str  # of the caption
    many: bool = False  # one of several that a loop makes, as run.figure(f"fig04_{domain}", ...)

    @property
    def anchor(self) -> str:
        """Its label for cross-references."""
        return f"{self.kind}-{self.name}"

    @property
    def caption(self) -> str:
        """Number and text."""
        return f"**{self.label}.** {self.text}"


def labelled(cells: list[NotebookNode], name: str) -> Iterator[tuple[NotebookNode, list[Result]]]:
    """Each cell with the results it saves; a caption's text is the heading that precedes it."""
    heading, letters = name, {"figure": iter(ascii_uppercase), "table": iter(ascii_uppercase)}
    chapter_number = name.split("_")[0].lstrip("0") if name[0].isdigit() else "E"
    for cell in cells:
        found = []
        if cell.cell_type == "code":
            for kind, in_loop, result in RESULT.findall(cell.source):
                if in_loop and kind == "table":
                    continue  # shown as the notebook shows it
                result = re.sub(r"_?\{\w+\}", "", result)
                number = PAPER_NUMBER.fullmatch(result)
                text = OWN_HEADING.sub("", heading)
                if number and not result.startswith(kind[:3]):  # a table named after a figure
                    number, text = None, f"The values of Figure {number[1]}"
                label = number[1] if number else f"{chapter_number}-{next(letters[kind])}"
                text = text[:1].upper() + text[1:]
                label = f"{kind.capitalize()} {label}"
                found.append(Result(kind, result, label, text, bool(in_loop)))
        else:
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.M) or [heading])[-1]
        yield cell, found


def results(name: str) -> list[Result]:
    """The figures and tables of a chapter."""
    cells = jupytext.read(ROOT / "notebooks" / f"{name}.py").cells
    return [result for _, found in labelled(cells, name) for result in found]


def numbered(cells: list[NotebookNode], name: str, tables: Path) -> Iterator[NotebookNode]:
    """The cells with numbered figures, and a table of the book in place of each one of pandas."""
    for cell, found in labelled(cells, name):
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            cell.metadata.setdefault("tags", []).append("hide-input")
        series = []
        for result in found:
            if result.many:
                series += separate(cell, result)
            elif result.kind == "figure":
                figure = {"name": result.anchor, "caption": result.caption}
                cell.metadata["mystnb"] = {"figure": figure}
            else:
                cell.outputs = [o for o in cell.outputs if "text/html" not in o.get("data", {})]
        yield cell
        yield from series
        for result in found:
            path = tables / f"{result.name}.csv"
            if result.kind == "table" and path.exists():
                shown = table(pd.read_csv(path), result.caption, result.anchor)
                yield nbformat.v4.new_markdown_cell(shown)


def separate(cell: NotebookNode, result: Result) -> list[NotebookNode]:
    """Take the pictures of a loop out of its cell: one cell with a caption for each of them, in
    which stands the Markdown that was displayed right before it."""
    pictures, kept = [], []
    for before, output in pairwise([{}, *cell.outputs]):
        if {"image/png", "image/jpeg"} & set(output.get("data", {})):
            name = before.get("data", {}).get("text/markdown")
            pictures.append((output, f"{result.text}: {name}" if name else result.text))
            kept = kept[:-1] if name else kept
        else:
            kept.append(output)
    cell.outputs = kept
    cells = []
    for count, (output, text) in enumerate(pictures, 1):
        which = f" ({count} of {len(pictures)})" if len(pictures) > 1 else ""
        figure = {"name": f"{result.anchor}-{count}",
                  "caption": f"**{result.label}{which}.** {text}"}
        metadata = {"tags": ["remove-input"], "mystnb": {"figure": figure}}
        # Jupyter Book leaves out a cell without code, and its outputs with it.
        cells.append(nbformat.v4.new_code_cell("picture", outputs=[output], metadata=metadata))
    return cells


def table(frame: pd.DataFrame, text: str, anchor: str = "") -> str:
    """A frame as a table of the book; NAME, NAME_low and NAME_high become one column."""
    frame = with_intervals(frame)
    rows = [[str(c).replace("_", " ") for c in frame.columns], ["---"] * len(frame.columns)]
    rows += [[cell_text(v) for v in row] for row in frame.itertuples(index=False)]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    name = f":name: {anchor}\n" if anchor else ""
    return f":::{{table}} {text}\n{name}\n{lines}\n:::\n"


def with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the ends of intervals set below their value, in one column."""
    shown = {}
    for column in frame.columns:
        ends = ("low", "high") if column == "ours" else (f"{column}_low", f"{column}_high")
        if set(ends) <= set(frame.columns):
            texts = (map(cell_text, row) for row in frame[[column, *ends]].itertuples(index=False))
            shown[column] = [v if v == low == "–" else f"{v}<br><small>[{low}, {high}]</small>"
                             for v, low, high in texts]
        elif not re.search(r"(^|_)(low|high)$", column):
            shown[column] = frame[column]
    return pd.DataFrame(shown)


def cell_text(value) -> str:
    """A value with three significant digits, or text that a table's cell can hold."""
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value).replace("|", r"\|").replace("\n", " ")
