"""Executed notebooks as chapters of the book, and whether they are out of date.

A chapter takes its prose from the source and its outputs from the executed notebook in
results/notebooks, so that prose can be corrected without executing anything. `Run.figure` and
`Run.table` mark outputs with the name of the figure or table. "fig10" and "table1" keep the number
of the paper; others are numbered by chapter and letter ("6-A").
"""

from __future__ import annotations

import base64
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

from idinvert import models
from idinvert.provenance import syntax_hash
from idinvert.settings import resolved
from idinvert.study import profiles, run
from idinvert.study.profiles import ROOT

PAPER_NUMBER = re.compile(r"(?:fig|table)0*(\d+[a-z]?)(?=_|$)")
DESCRIPTIONS = ROOT / "book" / "descriptions.yml"  # of figures, by the beginning of their names
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
    """Why the executed notebook is out of date, or None if a run would make the same.

    The settings, weights, judge and code that the last run noted are compared by content, so that a
    fresh checkout need not execute anything. Prose does not count.
    """
    note = noted(name)
    if not executed_path(name).exists() or not note:
        return "it was never executed"
    if differing := changes(note.get("code", {}), run.code_of(name)):
        first, *others = differing
        more = f" and of {len(others)} more module{'s'[:len(others) - 1]}" if others else ""
        return f"the code of {'the notebook' if first == 'notebook' else first}{more} changed"
    executed = code(nbformat.read(executed_path(name), 4))
    if syntax_hash("\n".join(cell.source for cell in executed))[:16] != note["code"]["notebook"]:
        return "its tables are those of another run"
    wanted = resolved(profiles.load("reference").settings(name))
    if differing := changes(note["settings"], wanted):
        first = differing[0]
        return f"the setting {first} was {note['settings'].get(first)} and is {wanted.get(first)}"
    if differing := [m for m, sha256 in note["models"].items() if models.digest(m) != sha256]:
        return f"the weights of {' and '.join(differing)} changed"
    if note["judge"] != run.judge():
        return f"the judge was {note['judge']} and is {run.judge()}"
    return None


def changes(old: dict, new: dict) -> list[str]:
    """Names whose values differ between two mappings: "notebook" first, others alphabetically."""
    found = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return sorted(found, key=lambda name: (name != "notebook", name))


def noted(name: str) -> dict:
    """What the last run of a notebook noted of itself; empty if it has not run."""
    return run.read_note(ROOT / "results", name)


def chapter(name: str, tables: Path) -> NotebookNode:
    """The chapter of a notebook: figures and tables numbered and captioned, code folded away; a
    chapter that is out of date says so.

    tables: folder of the CSV files that the notebook wrote.
    """
    made = joined(name)
    for cell in code(made):  # without progress bars and warnings
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    made.cells = list(numbered(made.cells, name, tables))
    if reason := stale(name):
        note = f":::{{warning}}\nThese are results of an earlier run ({reason}).\n:::"
        made.cells.insert(1, nbformat.v4.new_markdown_cell(note))
    return made


def joined(name: str) -> NotebookNode:
    """The prose of the source with the outputs of the executed notebook; if their code differs, the
    executed notebook with its own prose."""
    source = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    executed = nbformat.read(executed_path(name), 4)
    cells, done = code(source), code(executed)
    if [c.source for c in cells] == [c.source for c in done]:
        for cell, same in zip(cells, done):
            cell.outputs, cell.execution_count = same.outputs, same.execution_count
    else:
        source.cells = [c for c in executed.cells if c.cell_type != "code" or c in done]
    source.metadata = executed.metadata
    return source


@dataclass(frozen=True)
class Result:
    """A figure or table that a notebook saved, with its number in the book."""

    kind: str  # "figure" or "table"
    name: str  # of its file
    label: str  # "Figure 10", "Figure 4 (1 of 3)"
    text: str  # of the caption

    @property
    def anchor(self) -> str:
        """Its label for cross-references."""
        return f"{self.kind}-{self.name}"

    @property
    def caption(self) -> str:
        """Number and text."""
        return f"**{self.label}.** {self.text}"


def marks(output: NotebookNode) -> dict[str, str]:
    """{"kind": "figure" or "table", "name": ..} of an output that `Run` made; else empty."""
    data, metadata = output.get("data", {}), output.get("metadata", {})
    for found in (metadata, *(metadata.get(kind, {}) for kind in data)):
        if found.get("kind") in ("figure", "table"):
            return found
    return {}


def labelled(cells: list[NotebookNode], name: str
             ) -> Iterator[tuple[NotebookNode, list[tuple[NotebookNode, Result]]]]:
    """Each cell with those of its outputs that are figures or tables, and their numbers.

    A caption takes the text of the last heading before the cell. The figures of one cell share a
    number.
    """
    heading, letters = name, {"figure": iter(ascii_uppercase), "table": iter(ascii_uppercase)}
    chapter_number = name.split("_")[0].lstrip("0") if name[0].isdigit() else "E"
    taken: set[str] = set()
    for cell in cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.M) or [heading])[-1]
        found = []
        for kind, outputs in groups(cell.get("outputs", [])):
            text, first = OWN_HEADING.sub("", heading), marks(outputs[0])["name"]
            number = PAPER_NUMBER.match(first)
            if number and not first.startswith(kind[:3]):  # a table named after a figure
                number, text = None, f"The values of Figure {number[1]}"
            label = f"{kind.capitalize()} {number[1]}" if number else ""
            if not label or label in taken:
                label = f"{kind.capitalize()} {chapter_number}-{next(letters[kind])}"
            taken.add(label)
            for count, output in enumerate(outputs, 1):
                which = f" ({count} of {len(outputs)})" if len(outputs) > 1 else ""
                found.append((output, Result(kind, marks(output)["name"], label + which,
                                             text[:1].upper() + text[1:])))
        yield cell, found


def groups(outputs: list[NotebookNode]) -> list[tuple[str, list[NotebookNode]]]:
    """The outputs of a cell that share a number: its figures together, each table by itself."""
    figures = [output for output in outputs if marks(output).get("kind") == "figure"]
    tables = [output for output in outputs if marks(output).get("kind") == "table"]
    return [("figure", figures)][:len(figures)] + [("table", [output]) for output in tables]


def results(name: str) -> list[Result]:
    """The figures and tables of a chapter."""
    return [result for _, found in labelled(joined(name).cells, name) for _, result in found]


def numbered(cells: list[NotebookNode], name: str, tables: Path) -> Iterator[NotebookNode]:
    """The cells, each followed by a cell for each of its figures and tables, with its caption; what
    has figures or tables has an anchor, to which they link."""
    for number, (cell, found) in enumerate(labelled(cells, name)):
        added, anchor = [], f"code-{number}"
        if cell.cell_type == "code":
            if "parameters" not in cell.metadata.get("tags", []):
                cell.metadata.setdefault("tags", []).append("hide-input")
            added = split_off(cell, {id(output): result for output, result in found}, tables,
                              anchor)
        if added:
            yield nbformat.v4.new_markdown_cell(f'<span id="{anchor}"></span>')
        yield from [cell, *added]


def split_off(cell: NotebookNode, found: dict[int, Result], tables: Path, anchor: str
              ) -> list[NotebookNode]:
    """Take the figures and tables out of a cell; returns cells with a caption and links for each.

    found: results by the id of their output. anchor: of the code. Markdown displayed right before
    a figure goes into its caption. A table of the book replaces the frame displayed right after the
    mark of a table.
    """
    left, cells = [], []
    for before, output in pairwise([{}, *cell.outputs]):
        result = found.get(id(output))
        if result and result.kind == "figure":
            name = before.get("data", {}).get("text/markdown")
            left = left[:-1] if name else left
            figure = {"name": result.anchor,
                      "caption": f"{result.caption}: {name}" if name else result.caption}
            alt = f"{description(result)} ({name})" if name else description(result)
            metadata = {"tags": ["remove-input"],
                        "mystnb": {"figure": figure, "image": {"alt": alt.replace("*", "")}}}
            # Jupyter Book leaves out a cell without code, and its outputs with it.
            cells.append(nbformat.v4.new_code_cell("picture", outputs=[output], metadata=metadata))
            cells.append(nbformat.v4.new_markdown_cell(links(result, tables, anchor)))
        elif result:
            frame = pd.read_csv(tables / f"{result.name}.csv")
            shown = table(frame, result.caption, result.anchor)
            cells.append(nbformat.v4.new_markdown_cell(shown))
            cells.append(nbformat.v4.new_markdown_cell(links(result, tables, anchor)))
        elif marks(before).get("kind") != "table" or "text/html" not in output.get("data", {}):
            left.append(output)
    cell.outputs = left
    return cells


def description(result: Result) -> str:
    """What is to be seen in a figure, for those who do not see it; its caption if that is not
    written down."""
    known = yaml.safe_load(DESCRIPTIONS.read_text()) if DESCRIPTIONS.exists() else {}
    fitting = [start for start in known if result.name.startswith(start)]
    return known[max(fitting, key=len)] if fitting else f"{result.label}: {result.text}"


def links(result: Result, tables: Path, anchor: str) -> str:
    """Where the code of a figure or table stands, and its numbers, as a link that needs no file."""
    parts = [f'<a href="#{anchor}">Code of this {result.kind}</a>']
    words = result.name.split("_")
    names = ["_".join(words[:end]) for end in range(len(words), 0, -1)]
    if path := next(filter(Path.exists, (tables / f"{name}.csv" for name in names)), None):
        content = base64.b64encode(path.read_bytes()).decode()
        parts.append(f'<a download="{path.name}" href="data:text/csv;base64,{content}">Its data '
                     "(CSV)</a>")
    return f'<p class="made-by">{" · ".join(parts)}</p>'


def table(frame: pd.DataFrame, text: str, anchor: str = "") -> str:
    """A frame as a table of the book; columns NAME, NAME_low and NAME_high become one."""
    frame = with_intervals(frame)
    rows = [[str(c).replace("_", " ") for c in frame.columns], ["---"] * len(frame.columns)]
    rows += [[cell_text(v) for v in row] for row in frame.itertuples(index=False)]
    lines = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    name = f":name: {anchor}\n" if anchor else ""
    return f":::{{table}} {text}\n{name}\n{lines}\n:::\n"


def with_intervals(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with each value and its interval below it in one column."""
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
    """A value as text in a table's cell: a number with three significant digits; a command as code,
    in whose options a page would make dashes of hyphens."""
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    text = str(value).replace("|", r"\|").replace("\n", " ")
    return f"`{text}`" if " --" in text else text
