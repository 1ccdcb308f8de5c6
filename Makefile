# phase4: `make run` rehearses a rollout on recorded traffic, `make test` runs every check.
# Both set everything up by themselves on a machine with python3 >= 3.11 and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PORT ?= 3001
# make before 4.0 cannot keep the lines of two processes apart, and runs them all the same
BY_LINE := $(if $(filter output-sync,$(.FEATURES)),--output-sync=line)
export PYTHONDONTWRITEBYTECODE ?=
# numpy's own threads fight with the sweep's processes for the same cores
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1

.PHONY: help install run test unit unit-judge unit-product integration crash shipped browser notebooks lint types imports bench mutants soak lock lab demo dashboard clean

help: ## Show this list
	@grep -E '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): bootstrap.lock requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "phase4 needs python3 >= 3.11, found: $$($(PYTHON) --version 2>&1)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "python3 lacks the venv module. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Setting up $(VENV) (once, about half a minute) ..."
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r bootstrap.lock 2>&1 | { grep -v '^WARNING: Location' || true; }
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $(STAMP)

install: $(STAMP) ## Set up .venv from the hashed locks (free when nothing changed)

run: $(STAMP) ## Rehearse a rollout on recorded traffic and print what the plan would do
	@$(BIN)/phase4 simulate sweep sims/first_run.toml

test: $(STAMP) lint types imports unit integration browser notebooks ## Run every check CI runs
	@echo "make test: all checks passed"

unit: $(STAMP) ## Unit, property and docs tests, with the doctests, in two processes at once
	@$(MAKE) --no-print-directory --jobs 2 $(BY_LINE) unit-judge unit-product

JUDGE := tests/unit/analysis tests/unit/rollout tests/unit/sim

unit-judge: $(STAMP)
	$(BIN)/python -m pytest -q $(JUDGE) tests/properties phase4

unit-product: $(STAMP)
	$(BIN)/python -m pytest -q tests/unit tests/docs $(addprefix --ignore=,$(JUDGE))

integration: $(STAMP) ## Whole-program, crash and contract tests and all that ships, in two processes at once
	@$(MAKE) --no-print-directory --jobs 2 $(BY_LINE) crash shipped

crash: $(STAMP)
	$(BIN)/python -m pytest -q tests/integration

shipped: $(STAMP)
	$(BIN)/python -m pytest -q tests/contract tests/shipped

browser: $(STAMP) ## The dashboard in a real browser (skipped, with the reason, where there is none)
	$(BIN)/python -m pytest -q tests/browser

notebooks: $(STAMP) ## Execute every notebook and check its verdict
	$(BIN)/python -m pytest -q -o addopts="" -p nbval --nbval-lax --nbval-current-env --nbval-cell-timeout 120 \
	  --nbval-kernel-startup-timeout 120 notebooks

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP) ## mypy --strict
	@$(BIN)/mypy

imports: $(STAMP) ## Who may import whom
	@$(BIN)/lint-imports

bench: $(STAMP) ## Measure the speed figures as ratios in one run (docs/benchmarks.md)
	$(BIN)/python -m tests.benchmarks

mutants: $(STAMP) ## Half an hour of small changes to the statistics; the tests must notice them
	$(BIN)/python -m tests.mutants

soak: $(STAMP) ## The slow proofs: full calibration, hundreds of kill -9, a hundred million events
	$(BIN)/python -m pytest -q -m slow tests
	$(BIN)/python -m tests.benchmarks events_large

lab: $(STAMP) ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

demo: $(STAMP) ## A real rollout that breaks and rolls back by itself, in a minute (DEFECT=none: it completes)
	@$(BIN)/python sims/demo.py

dashboard: $(STAMP) ## Show saved rehearsals in the browser (PORT=3001)
	$(BIN)/python -m panel serve dashboards/simulation.py --address 127.0.0.1 --port $(PORT) --show

lock: $(STAMP) ## Rebuild both lock files from pyproject.toml
	echo 'uv' | $(BIN)/uv pip compile - --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o bootstrap.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.lock
	@if grep -nE 'https?://|file://' bootstrap.lock requirements.lock; then echo "a lock names a URL"; exit 1; fi

clean: ## Remove the environment and caches (never PHASE4_HOME)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
