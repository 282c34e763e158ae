"""data -> models -> notebooks -> book, as one graph: book/graph.md describes it.

A step runs if its result is missing or its inputs changed in content. What is committed counts as
made: models are trained only if they are missing, notebooks are executed only if `chapters.stale`
names a reason.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, "lib")
from idinvert.publish import chapters
from idinvert.training import zoo

ZOO = zoo.entries()
NOTEBOOKS = chapters.sources()
EXECUTE = str(config.get("execute", "yes")) == "yes"  # no: take the executed notebooks as they are
CORES = int(config.get("cores", os.cpu_count()))  # of the machine that a step runs on
ALSO = f"--also {config['also']}" if "also" in config else ""  # on the live page
KIMG = f"--kimg {config['kimg']}" if "kimg" in config else ""  # thousand images, for a rehearsal
PYTHON = f"PYTHONPATH=lib {sys.executable}"
BOOK = "build/book/_build/html/index.html"


def present(*patterns):
    """The files of the checkout that match, sorted."""
    return sorted(str(p) for pattern in patterns for p in Path().glob(pattern) if p.is_file())


def reason(wildcards):
    """If the executed notebook is out of date, a file that is newer, which holds the reason."""
    found = chapters.stale(wildcards.name) if EXECUTE else None
    if not found:
        return []
    path = Path("build/stale", wildcards.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{found}\n")
    return str(path)


def is_made(wildcards):
    """Whether a model is there: then it is not trained again, whatever comes of what it is from."""
    return Path(f"results/weights/{wildcards.name}.safetensors").exists()


def made_from(wildcards):
    """Other models that a model of the zoo is trained from."""
    if is_made(wildcards):
        return []
    return [f"results/weights/{name}.safetensors" for name in ZOO[wildcards.name].needs().values()]


def trained_on(wildcards):
    """The rendered set that a model is trained on; boundaries are fitted to samples alone."""
    if ZOO[wildcards.name].kind == "boundaries" or is_made(wildcards):
        return []
    return [f"build/data/{ZOO[wildcards.name].domain}.done"]


def loaded_by(wildcards):
    """Models that the notebook loaded when it was last executed, as a compiler notes headers."""
    found = chapters.noted(wildcards.name).get("models", {}) if EXECUTE else {}
    return [f"results/weights/{name}.safetensors" for name in found]


localrules: all, vendor, live


rule all:
    input: BOOK


rule data:
    output: touch("build/data/{domain}.done")
    threads: CORES
    resources: mem_mb=4000, runtime=240
    shell: PYTHON + " -m idinvert data render {wildcards.domain}"


rule train:
    input: ancient(made_from), ancient(trained_on)
    output: "results/weights/{name}.safetensors"
    wildcard_constraints: name="|".join(ZOO)
    threads: CORES
    resources: mem_mb=8000, runtime=1440
    shell: PYTHON + " -m idinvert train {wildcards.name} " + KIMG


rule notebook:
    input: ancient(loaded_by), reason
    output: update("results/notebooks/{name}.ipynb")
    wildcard_constraints: name="|".join(NOTEBOOKS)
    threads: CORES
    resources: mem_mb=8000, runtime=120
    shell: PYTHON + " -m idinvert run {wildcards.name} --profile reference"


rule rehearse:
    output: "build/{profile}/{name}.ipynb"
    wildcard_constraints: name="|".join(NOTEBOOKS), profile="smoke|embedded"
    threads: CORES
    resources: mem_mb=8000, runtime=60
    shell: PYTHON + " -m idinvert run {wildcards.name} --profile {wildcards.profile}"


rule vendor:
    input: "tools/vendor.py"
    output: directory("build/vendor")
    shell: PYTHON + " {input} {output}"


rule live:
    input:
        "build/vendor",
        ancient(present("results/weights/face-*")),
        present("lib/idinvert/publish/live/*", "lib/idinvert/publish/live.py",
                "lib/idinvert/publish/export.py", "lib/idinvert/publish/compact.py",
                "lib/idinvert/publish/preview.py", "lib/idinvert/publish/finders.py"),
    output: directory("build/live")
    resources: mem_mb=4000, runtime=20
    shell: PYTHON + " -m idinvert.publish.live {output} --vendor build/vendor --optional " + ALSO


rule book:
    input:
        "build/vendor", "build/live",
        expand("results/notebooks/{name}.ipynb", name=NOTEBOOKS) if EXECUTE else [],
        present("book/*", "book/_style/*", "notebooks/*.py", "lib/idinvert/publish/*.py",
                "lib/idinvert/publish/live/page.*", "results/*/*.csv", "results/*/*.png", "results/*/*.json", "results/*/*.ipynb"),
    output: BOOK
    resources: mem_mb=4000, runtime=20
    shell: PYTHON + " -m idinvert book build/book --vendor build/vendor --live build/live"
