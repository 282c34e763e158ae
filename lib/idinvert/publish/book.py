"""Builds the book: hand-written pages, chapters, and the pages made of results.

    idinvert book build/book

takes the chapters that `results/notebooks` has; the pages list what has no chapter yet. Jupyter
Book then makes build/book/_build/html of them; `make book` does all of that and what it needs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import yaml
from PIL import Image

from idinvert import data, models
from idinvert.settings import digest
from idinvert.study import claims
from idinvert.study.claims import PAPER_TABLES, VERDICTS
from idinvert.study.run import ROOT
from idinvert.study.sections import generators
from idinvert.training import zoo

from . import chapters, drawings, live
from .chapters import table
from .folders import emptied

PAGES = ROOT / "book"
CLAIMS = PAGES / "claims.csv"
FIGURES = PAGES / "figures.csv"
RESULTS = ROOT / "results"
TABLES = RESULTS / "tables"
NOT_MEASURED = "not measured yet"
TASKS = ("reconstruction", "interpolation", "manipulation")
# What no page read from a disk needs: fonts asked for ahead of time, which browsers refuse there,
# and scripts that would fetch a kernel from elsewhere.
UNWANTED = re.compile(r'<link rel="preload" as="font"[^>]*>|<script>const THEBE_JS_URL.*?</script>'
                      r'|<script[^>]*sphinx-thebe[^>]*></script>')


def build(target: Path) -> int:
    """Run Jupyter Book, warnings being errors; returns its exit status. ModuleNotFoundError: it is
    not installed."""
    program = Path(sys.executable).with_name("jupyter-book")
    if not program.exists():
        raise ModuleNotFoundError(name="jupyter_book")
    command = [program, "build", target, "-W", "-n", "--keep-going", "-q"]
    status = subprocess.run(command).returncode
    for page in (target / "_build" / "html").rglob("*.html"):
        page.write_text(UNWANTED.sub("", page.read_text()))
    return status


def assemble(target: Path, vendor: Path, live_files: Path) -> None:
    """Write the sources of the book into `target`, whose former sources are removed.

    vendor: folder of the scripts that the book serves. live_files: folder that `live` made; without
    it, the book has no such page. What Jupyter Book built in `target` stays, so that only changed
    pages are built again.
    FileNotFoundError: there are no scripts. ValueError: the folder holds something else.
    """
    if not vendor.is_dir():
        raise FileNotFoundError(f"There is no folder {vendor}: `python tools/vendor.py {vendor}` "
                                "fetches the scripts that the book serves.")
    emptied(target, kept=["_build"], signs=["paper_and_ours.md", "deviations.md"])
    shutil.copytree(PAGES, target, dirs_exist_ok=True)
    shutil.copytree(vendor, target / "_vendor",
                    ignore=shutil.ignore_patterns(live.RUNTIME, live.FINDERS))
    shutil.copytree(RESULTS / "figures", target / "figures")
    drawings.draw(target / "drawings")
    draw_contact_sheets(target / "sheets")

    names = [name for name in chapters.sources() if chapters.executed_path(name).exists()]
    for name in names:
        nbformat.write(chapters.chapter(name, TABLES), target / f"{name}.ipynb")
    live_page = live.page(live_files)
    if live_page:
        shutil.copytree(live_files, target / "_vendor" / "live")
        (target / "live.md").write_text(live_page)
    generated = {
        "_toc.yml": contents(names, ["live"] if live_page else []),
        "title.md": (live.INVITATION if live_page else "") + title_page(names, TABLES),
        "paper_and_ours.md": comparison_page(names, TABLES),
        "models.md": models_page(),
        "trainings.md": trainings_page(),
        "speed.md": speed_page(TABLES),
        "your_own_photographs.md": photographs_page(TABLES),
        "settings.md": settings_page(names),
    }
    for file, text in generated.items():
        (target / file).write_text(text)


def draw_contact_sheets(folder: Path, columns: int = 12, rows: int = 4) -> None:
    """One sheet of test images for each embedded domain, as lossy WebP."""
    folder.mkdir(parents=True, exist_ok=True)
    for domain in data.DOMAINS:
        images = data.load(domain, "test", columns * rows).images
        sheet = data.to_uint8(data.grid(data.to_float(images), columns))
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(folder / f"{domain}.webp", quality=90)


# --- pages ----------------------------------------------------------------------------------------
# names: of the notebooks that have a chapter. tables: the folder of the CSV files of all notebooks.


def contents(names: list[str], live_pages: list[str]) -> str:
    """The table of contents, as Jupyter Book reads it."""
    parts = {
        "The paper": ["method", *live_pages],
        "Results": sorted(names, key=lambda name: (name == "explore", name)),
        "Evidence": ["paper_and_ours", "deviations", "settings", "tested"],
        "Use it": ["data", "models", "trainings", "speed", "your_own_photographs",
                   "your_own_generator", "where", "graph"],
        "About": ["cite", "references"],
    }
    listed = [{"caption": caption, "chapters": [{"file": page} for page in pages]}
              for caption, pages in parts.items()]
    return yaml.safe_dump({"format": "jb-book", "root": "intro", "parts": listed}, sort_keys=False)


def title_page(names: list[str], tables: Path) -> str:
    """What the title page says of the results: counts, a line for each claim, and a picture."""
    text = [f"{claims.summary(tables, CLAIMS)} The page [Paper and ours](paper_and_ours.md) lists "
            "them all, and the claims that are not measured yet.\n"]
    rows = claim_rows(names, read_verdicts(tables))
    rows = rows.loc[rows["we find"] != badge(NOT_MEASURED), ["claim", "the paper says", "we find",
                                                             "chapter"]]
    if len(rows):
        text.append(table(rows, "What has been measured so far."))
    picture = "explore" if (RESULTS / "figures" / "explore.jpg").exists() else "fig11"
    for name in names:
        for result in chapters.results(name):
            if (result.kind, result.name) == ("figure", picture):
                text.append(f":::{{figure}} figures/{picture}.jpg\n:alt: {result.text}\n\n"
                            f"{result.text} ({{doc}}`{result.label} <{name}>`).\n:::\n")
    return "\n".join(text)


def comparison_page(names: list[str], tables: Path) -> str:
    """The page with every claim, every comparison and every table."""
    verdicts = read_verdicts(tables)
    text = [(PAGES / "paper_and_ours.md").read_text(), f"{claims.summary(tables, CLAIMS)}\n",
            "## The claims\n",
            table(claim_rows(names, verdicts), "Every claim of the paper and what was found.",
                  "claims"),
            "## The comparisons\n"]
    for name, part in verdicts.groupby("notebook", sort=True):
        badges = {column: part[column].map(badge) for column in ("verdict", "after Holm")}
        shown = part.drop(columns="notebook").assign(**badges)
        text.append(f"### {link(name, names)}\n\n" + table(shown, "Comparisons of this chapter."))
    if verdicts.empty:
        text.append("No notebook has been executed yet.\n")
    text.append("## The tables\n\nThe paper's figures as it prints them; where a notebook has "
                "made the same table, ours follows.\n")
    numbers = pd.read_csv(PAPER_TABLES, dtype={"value": str})  # digits as printed
    for number, part in numbers.groupby("table"):
        text.append(f"### Table {number}\n")
        text += [table(frame, f"The paper's Table {number}: {task}.")
                 for task, frame in paper_tables(part)]
        path = tables / f"table{number}.csv"
        text.append(table(pd.read_csv(path), f"Our Table {number}.") if path.exists()
                    else "Ours: not measured yet.\n")
    text += ["## The figures\n", table(figure_rows(names), "Every figure of the paper and ours.")]
    return "\n".join(text)


def figure_rows(names: list[str]) -> pd.DataFrame:
    """A row for each figure of the paper: what it shows, and where ours is. It may be redrawn on a
    page, or be part of another figure."""
    made: dict[str, dict[str, None]] = {}  # links by the paper's number, in order
    for name in names:
        for found in chapters.results(name):
            if found.kind == "figure" and (number := re.match(r"Figure (\d+)[ab]?(?= |$)",
                                                              found.label)):
                link = f"{{doc}}`{number[0]} <{name}>`"
                made.setdefault(number[1], {})[link] = None
    rows = []
    for f in pd.read_csv(FIGURES, dtype=str, keep_default_na=False).itertuples():
        links = [f"{{doc}}`redrawn <{f.ours}>`"] if f.ours == "method" else \
            made.get(f.ours or f.figure, [NOT_MEASURED])
        rows.append({"figure": f.figure, "in": f.section, "the paper shows": f.shows,
                     "ours": ", ".join(links)})
    return pd.DataFrame(rows)


def claim_rows(names: list[str], verdicts: pd.DataFrame) -> pd.DataFrame:
    """A row for each claim of the paper: what it says, where, what we find, and why where a
    contradiction has a cause that was measured."""
    rows = []
    for c in pd.read_csv(CLAIMS, keep_default_na=False).itertuples():
        found = standing(c.id, verdicts)
        rows.append({"claim": c.id, "the paper says": c.claim, "in": f"{c.section}, {c.source}",
                     "chapter": link(c.notebook, names), "we find": badge(found),
                     "cause": c.cause if "contradicted" in found else ""})
    return pd.DataFrame(rows)


def read_verdicts(tables: Path) -> pd.DataFrame:
    """The rows of every "Paper and ours", as `claims.read_verdicts` gives them, each with the name
    of its notebook."""
    rows = claims.read_verdicts(tables)
    numbers = rows["notebook"].astype(str).str.extract(r"^(\d+)")[0]
    known = {name.split("_")[0]: name for name in chapters.sources()}
    return rows.assign(notebook=numbers.map(known).fillna(rows["notebook"]))


def standing(claim: str, verdicts: pd.DataFrame) -> str:
    """The verdict on a claim; if its comparisons differ, how many have each verdict."""
    found = verdicts.loc[verdicts["claim"] == claim, "verdict"].value_counts()
    if len(found) < 2:
        return found.index[0] if len(found) else NOT_MEASURED
    return ", ".join(f"{found[v]} {v}" for v in VERDICTS if v in found)


def badge(found: str) -> str:
    """The finding in the colour of its verdict."""
    kinds = {"reproduced": "good", "contradicted": "bad", NOT_MEASURED: "open"}
    return f'<span class="verdict {kinds.get(found, "mixed")}">{found}</span>'


def link(name: str, names: list[str]) -> str:
    """Link to a chapter, or its name where it does not exist yet."""
    words = name.replace("_", " ")
    return f"[{words}]({name}.ipynb)" if name in names else words


def paper_tables(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A table of the paper from its rows in paper_tables.csv: one frame for each task."""
    index = [c for c in ("dataset", "generator", "method") if rows[c].nunique() > 1]
    frames = []
    for task in TASKS:
        part = rows[rows["task"] == task]
        if len(part):
            in_order = {c: pd.Categorical(part[c], part[c].unique()) for c in (*index, "metric")}
            wide = part.assign(**in_order).pivot_table(
                index=index, columns="metric", values="value", aggfunc="first", observed=True
            ).reset_index()
            wide.columns = [c.upper() if c in ("fid", "swd", "ssim", "mse") else c for c in wide]
            wide[index] = wide[index].astype(str).replace("_", " ", regex=True)
            frames.append((task, wide))
    return frames


def models_page() -> str:
    """The page of model cards."""
    cards = models.sound()
    rows = pd.DataFrame([{
        "model": f"[{name}](model-{name})",
        "trained as": card.get("kind", "").replace("_", " "),
        "images seen": f"{1000 * card['kimg']:,.0f}" if "kimg" in card else "–",
        "time": f"{card['seconds'] / 60:.0f} min" if card.get("seconds") else "–",
        "parameters": f"{card['parameters'] / 1e6:.2f} M",
    } for name, card in cards.items()])
    missing = ", ".join(f"`{name}`" for name in zoo.entries() if not models.exists(name))
    return "\n".join([
        (PAGES / "models.md").read_text(), table(rows, "The models in `results/weights`."),
        f"Declared but not trained yet: {missing}.\n" if missing else "", "## Cards\n",
        *(f"(model-{name})=\n### {name}\n\n{as_yaml(card)}" for name, card in cards.items())])


def trainings_page() -> str:
    """The page on training small generators: what each training cost and brought, and the notes on
    how it was led."""
    entries = zoo.entries()
    rows = generators.trainings(entries)
    notes = [f"- **{name}**: {entries[name].notes}" for name in rows["generator"]
             if entries[name].notes]
    return "\n".join([
        (PAGES / "trainings.md").read_text(),
        table(rows, "What the training of each generator cost, and what it brought."),
        "## Notes on single trainings\n", *notes, ""])


def speed_page(tables: Path) -> str:
    """The page on what inversion costs, how soon other ways of optimising reach the loss of the
    published one, and how far rounding leads from it."""
    text = [(PAGES / "speed.md").read_text(), *bench_tables(tables / "bench.csv")]
    for name, heading, title in (
            ("steps", "Less time to the same quality", "Ways of optimising Eq. (4), and when their "
             "mean loss is as low as after 100 steps of the first."),
            ("rounding", "What rounding does", "Losses after 100 steps against those of float32.")):
        if (path := tables / f"{name}.csv").exists():
            text += [f"## {heading}\n", table(pd.read_csv(path), title)]
    return "\n".join(text)


def bench_tables(path: Path) -> list[str]:
    """What `idinvert bench` wrote: two tables for each machine and each set of networks."""
    if not path.exists():
        return [f"{NOT_MEASURED.capitalize()}.", ""]
    text, found = [], pd.read_csv(path)
    for (network, machine), rows in found.groupby(["network", "machine"], sort=False):
        first = rows.iloc[0]
        text.append(f"## {network}, on {machine}\n\n{first['threads']} threads, PyTorch "
                    f"{first['torch']}.\n")
        for inverts, title in ((True, "A step of in-domain inversion."),
                               (False, "Networks there and back to the gradient of their input, "
                                       "the encoder alone, training steps; products in GFLOP, "
                                       "and a second.")):
            part = rows[(rows["part"] == "step of inversion") == inverts].dropna(axis=1, how="all")
            text.append(table(part.drop(columns=["network", "machine", "threads", "torch", "load"]),
                              title))
    return text


def photographs_page(tables: Path) -> str:
    """The page for who has photographs: commands, and how near inversions come in which time."""
    text = [(PAGES / "your_own_photographs.md").read_text()]
    for name, title in (("identity", "Encoders, and in-domain inversion."),
                        ("optimisation", "Ways of optimising a code, step by step.")):
        text.append(table(pd.read_csv(tables / f"ffhq_{name}.csv"), title))
    return "\n".join(text)


def settings_page(names: list[str]) -> str:
    """The page with the settings, versions and time of each executed notebook."""
    text = [(PAGES / "settings.md").read_text()]
    for name in names:
        noted = chapters.noted(name)
        noted.pop("files", None)
        hashes = noted.get("models", {})
        noted |= {"models": {model: sha256[:12] for model, sha256 in hashes.items()},
                  "code": digest(noted.get("code"))}
        text.append(f"## {link(name, names)}\n\n{as_yaml(noted)}")
    return "\n".join(text)


def as_yaml(values: dict) -> str:
    """Values as a listing in YAML."""
    return f"```yaml\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}```\n"
