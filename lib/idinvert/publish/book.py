"""Builds the book: hand-written pages, chapters, and the pages made of results.

    idinvert book build/book

takes whatever chapters `results/notebooks` has; what is not there yet is listed as such. Jupyter
Book then makes build/book/_build/html of it; `make book` does all of that and what it needs.
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

from idinvert import data
from idinvert import models as weights
from idinvert.settings import digest
from idinvert.study import claims as statistics
from idinvert.study.claims import PAPER_TABLES, VERDICTS
from idinvert.study.run import ROOT
from idinvert.training import zoo

from . import chapters, drawings
from .chapters import table

PAGES = ROOT / "book"
RESULTS = ROOT / "results"
NOT_MEASURED = "not measured yet"
TASKS = ("reconstruction", "interpolation", "manipulation")
# What no page read from a disk needs: fonts asked for ahead of time, which browsers refuse there,
# and scripts that would fetch a kernel from elsewhere.
UNWANTED = re.compile(r'<link rel="preload" as="font"[^>]*>|<script>const THEBE_JS_URL.*?</script>'
                      r'|<script[^>]*sphinx-thebe[^>]*></script>')


def build(target: Path) -> int:
    """Run Jupyter Book, warnings being errors; returns its exit status."""
    program = Path(sys.executable).with_name("jupyter-book")
    command = [program, "build", target, "-W", "-n", "--keep-going", "-q"]
    status = subprocess.run(command).returncode
    for page in (target / "_build" / "html").rglob("*.html"):
        text = page.read_text()
        page.write_text(UNWANTED.sub("", text))
    return status


def assemble(target: Path, vendor: Path) -> None:
    """Write the sources of the book into `target`, whose former sources are removed.

    What Jupyter Book built there stays, so that only changed pages are built again.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        if path.name != "_build":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(PAGES, target, dirs_exist_ok=True)
    shutil.copytree(vendor, target / "_vendor")

    names = [name for name in chapters.sources() if chapters.executed_path(name).exists()]
    for name in names:
        nbformat.write(chapters.chapter(name, RESULTS / "tables"), target / f"{name}.ipynb")
    drawings.draw(target / "drawings")
    contact_sheets(target / "sheets")
    shutil.copytree(RESULTS / "figures", target / "figures")
    verdicts, claims = read_verdicts(RESULTS / "tables"), pd.read_csv(PAGES / "claims.csv")
    generated = {
        "_toc.yml": toc(names),
        "title.md": title(names, claims, verdicts),
        "paper_and_ours.md": paper_and_ours(names, claims, verdicts),
        "models.md": models(),
        "settings.md": settings(names),
    }
    for file, text in generated.items():
        (target / file).write_text(text)


def toc(names: list[str]) -> str:
    """The table of contents, as Jupyter Book reads it."""
    explorer = ["explore"] if "explore" in names else []
    parts = {
        "The paper": ["method"],
        "Results": [name for name in names if name != "explore"] + explorer,
        "Evidence": ["paper_and_ours", "deviations", "settings"],
        "Use it": ["data", "models", "your_own_generator", "where", "graph"],
        "About": ["cite", "references"],
    }
    listed = [{"caption": caption, "chapters": [{"file": page} for page in pages]}
              for caption, pages in parts.items()]
    return yaml.safe_dump({"format": "jb-book", "root": "intro", "parts": listed}, sort_keys=False)


def read_verdicts(tables: Path) -> pd.DataFrame:
    """The rows of every "Paper and ours", as `claims.read_verdicts` gives them, each with the name
    of its notebook."""
    rows = statistics.read_verdicts(tables)
    numbers = rows["notebook"].astype(str).str.extract(r"^(\d+)")[0]
    known = {name.split("_")[0]: name for name in chapters.sources()}
    return rows.assign(notebook=numbers.map(known).fillna(rows["notebook"]))


def counted(rows: pd.DataFrame, column: str) -> str:
    """How many rows have each verdict in a column."""
    return ", ".join(f"**{(rows[column] == v).sum()}** {v}" for v in VERDICTS)


def counts(claims: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """A sentence on the comparisons that belong to a claim, before and after the correction."""
    measured = claims["id"].isin(verdicts["claim"])
    rows = verdicts[verdicts["claim"].isin(claims["id"])]
    return (f"{measured.sum()} of the paper's {len(claims)} claims, in {len(rows)} comparisons, of "
            f"which {counted(rows, 'verdict')}; after Holm's correction for the number of "
            f"comparisons {counted(rows, 'after Holm')}.")


def standing(claim: str, verdicts: pd.DataFrame) -> str:
    """The verdict on a claim, or where they differ how many there are of each."""
    found = verdicts.loc[verdicts["claim"] == claim, "verdict"].value_counts()
    if found.empty:
        return NOT_MEASURED
    if len(found) == 1:
        return found.index[0]
    return ", ".join(f"{found[v]} {v}" for v in VERDICTS if v in found)


def title(names: list[str], claims: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """What the title page says of the results: counts, and one line for each chapter."""
    measured = claims["id"].isin(verdicts["claim"])
    text = [f"Measured so far: {counts(claims, verdicts)} What is still open is listed with the "
            "rest on the page [Paper and ours](paper_and_ours.md).\n"]
    rows = [{"claim": claim.id, "the paper says": claim.claim,
             "we find": badge(standing(claim.id, verdicts)), "where": link(claim.notebook, names)}
            for claim in claims[measured].itertuples()]
    if rows:
        text.append(table(pd.DataFrame(rows), "What has been measured so far."))
    picture = "explore" if (RESULTS / "figures" / "explore.jpg").exists() else "fig11"
    for name in names:
        for result in chapters.results(name):
            if (result.kind, result.name) == ("figure", picture):
                text.append(f":::{{figure}} figures/{picture}.jpg\n:alt: {result.text}\n\n"
                            f"{result.text} ({{doc}}`{result.label} <{name}>`).\n:::\n")
    return "\n".join(text)


def link(name: str, names: list[str]) -> str:
    """Link to a chapter, or its name where it does not exist yet."""
    words = name.replace("_", " ")
    return f"[{words}]({name}.ipynb)" if name in names else words


def badge(found: str) -> str:
    """The finding in the colour of its verdict."""
    kinds = {"reproduced": "good", "contradicted": "bad", NOT_MEASURED: "open"}
    return f'<span class="verdict {kinds.get(found, "mixed")}">{found}</span>'


def paper_and_ours(names: list[str], claims: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """The page with every claim and every table."""
    rows = [{"claim": c.id, "the paper says": c.claim, "in": f"{c.section}, {c.source}",
             "chapter": link(c.notebook, names), "we find": badge(standing(c.id, verdicts))}
            for c in claims.itertuples()]
    text = [(PAGES / "paper_and_ours.md").read_text(), f"Measured are {counts(claims, verdicts)}\n",
            "## The claims\n",
            table(pd.DataFrame(rows), "Every claim of the paper and what was found.", "claims"),
            "## The comparisons\n"]
    for name, part in verdicts.groupby("notebook", sort=True):
        badges = {name: part[name].map(badge) for name in ("verdict", "after Holm")}
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
        path = RESULTS / "tables" / f"table{number}.csv"
        if path.exists():
            text.append(table(pd.read_csv(path), f"Our Table {number}."))
        else:
            text.append("Ours: not measured yet.\n")
    return "\n".join(text)


def paper_tables(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A table of the paper from its rows in paper_tables.csv: one frame for each task."""
    index = [c for c in ("dataset", "generator", "method") if rows[c].nunique() > 1]
    frames = []
    for task in TASKS:
        part = rows[rows["task"] == task]
        if len(part):
            keys = {c: pd.Categorical(part[c], part[c].unique()) for c in index}
            metrics = pd.Categorical(part["metric"], part["metric"].unique())
            wide = part.assign(**keys, metric=metrics).pivot_table(
                index=index, columns="metric", values="value", aggfunc="first", observed=True
            ).reset_index()
            wide.columns = [c.upper() if c in ("fid", "swd", "ssim", "mse") else c for c in wide]
            wide[index] = wide[index].astype(str).replace("_", " ", regex=True)
            frames.append((task, wide))
    return frames


def models() -> str:
    """The page of model cards."""
    text = [(PAGES / "models.md").read_text()]
    rows, details = [], []
    for name in weights.names():
        card = weights.card(name)
        seconds = card.get("seconds")
        rows.append({
            "model": f"[{name}](model-{name})",
            "trained as": card.get("kind", "").replace("_", " "),
            "images seen": f"{1000 * card['kimg']:,.0f}" if "kimg" in card else "–",
            "time": f"{seconds / 60:.0f} min" if seconds else "–",
            "parameters": f"{card['parameters'] / 1e6:.2f} M",
        })
        shown = yaml.safe_dump(card, sort_keys=False, allow_unicode=True)
        details.append(f"(model-{name})=\n### {name}\n\n```yaml\n{shown}```\n")
    text += [table(pd.DataFrame(rows), "The models in `results/weights`."), missing_models(),
             "## Cards\n", *details]
    return "\n".join(text)


def missing_models() -> str:
    """A sentence on the models that are declared but not trained."""
    missing = [f"`{name}`" for name in zoo.entries() if not weights.exists(name)]
    return f"Declared but not trained yet: {', '.join(missing)}.\n" if missing else ""


def settings(names: list[str]) -> str:
    """The page with the settings, versions and time of each executed notebook."""
    text = [(PAGES / "settings.md").read_text()]
    for name in names:
        noted = chapters.noted(name)
        if "models" in noted:
            noted["models"] = {model: sha256[:12] for model, sha256 in noted["models"].items()}
        noted["code"] = digest(noted.get("code"))
        noted.pop("files", None)
        shown = yaml.safe_dump(noted, sort_keys=False)
        text.append(f"## {link(name, names)}\n\n```yaml\n{shown}```\n")
    return "\n".join(text)


def contact_sheets(folder: Path, columns: int = 12, rows: int = 4) -> None:
    """One sheet of test images for each embedded domain, as lossy WebP."""
    folder.mkdir(parents=True, exist_ok=True)
    for domain in data.DOMAINS:
        images = data.load(domain, "test", columns * rows).images
        sheet = data.to_uint8(data.grid(data.to_float(images), columns))
        Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(folder / f"{domain}.webp", quality=90)

