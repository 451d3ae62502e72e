# For GNU make 3.81 (macOS) and later. `make help` lists the targets.
#
#   make demo ARGS="--out elsewhere"     arguments of `medblip demo`
#   make test PYTEST_ARGS="-k gate"      arguments of pytest
#   make demo PYTHON=/path/to/python     another Python, 3.11 or newer
#   make demo VENV=folder                another place than .venv
#   make results FROM=results.json       an experiment's results to put in the README
#   make demo TORCH_INDEX=               torch from pip's own index, whatever it is

SHELL := /bin/sh
VENV := .venv
# Builds of torch for CPUs; used only on Linux without an NVIDIA GPU, and only if it answers.
TORCH_INDEX := https://download.pytorch.org/whl/cpu
ARGS :=
FROM :=
PYTEST_ARGS :=
BIN = $(VENV)/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint types imports unit results install install-dev clean

help:
	@echo 'make demo    from nothing to an answer about a (simulated) scan, and a report'
	@echo 'make test    style, types, import direction and all tests, as CI runs them'
	@echo 'make lint types imports unit    the four parts of make test, one by one'
	@echo 'make results FROM=results.json   the README table of an experiment, and the file it is of'
	@echo 'make install, make install-dev  only the environment in $(VENV)'
	@echo 'make clean   delete $(VENV) and caches here; demo/, runs/ and fetched weights stay'

demo: install
	@"$(BIN)/medblip" demo $(ARGS)

test: lint types imports unit

lint: install-dev
	@echo '== Style: ruff'
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .

types: install-dev
	@echo '== Types: mypy'
	@"$(BIN)/mypy"

imports: install-dev
	@echo '== Import direction: import-linter'
	@"$(BIN)/lint-imports" --no-logo

# One process a core, so each keeps to one thread.
unit: install-dev
	@echo '== Tests: pytest'
	@OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
	  "$(BIN)/python" -m pytest -n auto $(PYTEST_ARGS)

results: install
	@"$(BIN)/python" -m medblip.experiments.readme README.md docs/results/experiments.json \
	  $(if $(FROM),--from "$(FROM)")

# The first of these that runs and is new enough. Asking by running passes over names that are
# only a version manager's shims, and over Debian's Python without its venv package.
CANDIDATES = "$(PYTHON)" python3.13 python3.12 python3.11 python3
SUITABLE = import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))

define make_environment
@for python in $(CANDIDATES); do \
  if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then \
    exec "$$python" scripts/environment.py "$(VENV)" --torch-index "$(TORCH_INDEX)" $(1); \
  fi; \
done; \
echo "MedBLIP needs Python 3.11 or newer with its venv module; python3 here is" \
  "`python3 --version 2>&1 || echo absent`." >&2; \
echo "Install one (Debian, Ubuntu: apt install python3-venv), or name it:" \
  "make demo PYTHON=/path/to/python3.12" >&2; \
exit 2
endef

install:
	$(call make_environment)

install-dev:
	$(call make_environment,--dev)

# An environment is deleted only if it is one.
clean:
	@if [ -f "$(VENV)/pyvenv.cfg" ] || [ -f "$(VENV)/.unfinished" ]; then rm -rf "$(VENV)"; fi
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache build dist
	@rm -rf src/*.egg-info
	@find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo 'Kept: demo/, runs/ (delete them yourself) and the weights in the user cache.'
