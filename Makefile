# Two commands do everything on a fresh machine: `make run` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test test-root check types lint imports bench clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qpu-executor needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# The main job: a hybrid workflow on an embedded manager, or on the one that QPU_MANAGER names.
run: $(STAMP)
	$(BIN)/qpu run workflows/transmitters/pipeline.yaml

test: check
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered -m "not root" --ignore=tests/benchmarks

# What needs root: other users' processes.
test-root: $(STAMP)
	$(BIN)/python -m pytest -m root

check: lint types imports

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

imports: $(STAMP)
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis
