# Two commands do everything on a fresh machine: `make run` and `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test test-faults test-emulators test-root check types lint imports bench clean
.DEFAULT_GOAL := run

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "qpu-executor needs Python 3.11 or newer; try: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

# The main job: a hybrid workflow on an embedded manager, or on the one that QPU_MANAGER names.
run: $(STAMP)
	$(BIN)/qpu run workflows/transmitters/pipeline.yaml

# One process for each core, each with whole files: fixtures of a file are shared in it.
test: check
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered -n auto --dist loadfile \
	  -m "not root and not torch and not apart and not faults" --ignore=tests/benchmarks
	$(BIN)/python -m pytest -m apart --ignore=tests/benchmarks

# Hundreds of kills, on both databases: minutes. Other histories: make test-faults QPU_FAULT_SEED=2
test-faults: export QPU_FAULT_SEED ?= 1
test-faults: $(STAMP)
	$(BIN)/python -m pytest -v -rP -m faults -n 2 tests/faults

# PyTorch is large, and Pulser loads it wherever it is installed: last, and apart.
test-emulators: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[emu-sv,emu-mps]'
	$(BIN)/python -m pytest -m torch --ignore=tests/benchmarks

# What needs root: other users' processes.
test-root: $(STAMP)
	$(BIN)/python -m pytest -m root --ignore=tests/benchmarks

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
