# `make` prints this help. Everything is installed into .venv from hash-pinned locks.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; break; }; done)
BIN := .venv/bin
RUN_STAMP := .venv/.installed-runtime
DEV_STAMP := .venv/.installed-dev
TESTS ?=

.PHONY: help setup demo up test check bench docs lock clean
help: ## show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Treadle needs Python 3.11 or newer; none was found on PATH. Install one, or: make PYTHON=/path/to/python3 setup" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv

$(RUN_STAMP): requirements/runtime.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): requirements/dev.lock $(RUN_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

setup: $(RUN_STAMP) ## install what Treadle needs into .venv
	@echo "Ready: $(BIN)/treadle --help"

demo: setup ## set up, then the main job end to end in a temporary sandbox
	$(BIN)/treadle demo

up: setup ## start everything, run two samples, open the portal, and keep it running
	$(BIN)/treadle up --with-samples

test: $(DEV_STAMP) ## set up, then run every test (TESTS=path to run some)
	$(BIN)/python -m pytest -n 4 --maxschedchunk 4 $(TESTS)

check: $(DEV_STAMP) ## ruff, pyright strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(DEV_STAMP) ## measure speed and memory against the straightforward way; writes bench/RESULTS.md
	$(BIN)/python -m bench

docs: setup ## write docs/reference/ and docs/states.md from the code
	$(BIN)/python docs/generate.py
	$(BIN)/python -m treadle.control.states > docs/states.md
	$(BIN)/python -m treadle.control.jobs.states > docs/job-states.md

lock: $(DEV_STAMP) ## resolve requirements/*.in again into hash-pinned locks without host names
	for name in runtime dev airflow; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-header --no-annotate requirements/$$name.in --output-file requirements/$$name.lock; done

clean: ## remove .venv and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
