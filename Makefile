# amalia_mm: `make` lists the targets. ARGS is handed on: make quickstart ARGS="--smoke --output runs/smoke"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test check format bench soak clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := train,corpora,voice,int8,demo,serve,archive,dev
ARGS ?=
SUITE ?=

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Make .venv with every extra, at the tested versions
	@printf 'Ready. Activate it with:  source %s/activate\n' '$(CURDIR)/$(BIN)'

quickstart: $(INSTALLED) ## Set up, then build the model, measure it and write runs/quickstart/report.html
	@$(BIN)/amalia quickstart $(ARGS)

test: $(INSTALLED) ## Set up, then run the tests (a CPU is enough; 7 to 11 minutes on two cores)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "not gpu and not benchmark and not soak" --durations=10 $(ARGS)

check: $(INSTALLED) ## Set up, then check format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright

format: $(INSTALLED) ## Format the code and mend what ruff can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(INSTALLED) ## Measure ours beside a peer, in one run: runs/bench/bench.json; SUITE=decoder for one suite
	@$(BIN)/python -m pytest -m benchmark --benchmark-group-by=group --benchmark-columns=median,iqr,rounds $(ARGS) tests/benchmarks/$(SUITE)

soak: $(INSTALLED) ## Set up, then run the tests of load and size: hours of audio, memory at 1.7B (long; not part of `make test`)
	@$(BIN)/python -m pytest -m soak $(ARGS)

clean: ## Remove what tools leave behind; runs/ and .venv stay
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .benchmarks
	@find amalia_mm tests configs recipes -name __pycache__ -prune -exec rm -rf {} +

# Packages are installed again when what they are written in changes.
$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
	  echo "$(PYTHON) is missing: install Python 3.11 or later (Debian, Ubuntu: apt-get install python3 python3-venv)"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$$($(PYTHON) --version) is too old: 3.11 or later is needed (make PYTHON=python3.12 ...)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
	  echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the packages of constraints.txt into $(VENV) (several GB the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@
