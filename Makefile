# Everything runs in .venv, which each target sets up if it is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt
# Modules are compiled once, and not by each process of a test
export PYTHONDONTWRITEBYTECODE :=

.PHONY: sweep logs test test-all properties chaos lint format image clean

# A real sweep on the help texts of Python, in less than five minutes
sweep: $(VENV)/installed
	$(BIN)/lstm-sweep launch --data python-docs --space quick --trials 10 --minutes 4.5

# ARGS are options of pytest: make test ARGS="-k ladder -x". WORKERS run tests side by side: tests
# also wait, so two cores bear three
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# Faults in sessions of a generated log: a sweep, an export, and verdicts, in three minutes
logs: $(VENV)/installed
	$(BIN)/python -m benchmarks.verdicts

# All that a change can break and that needs nothing but Python
test: WORKERS ?= 3
test: $(VENV)/installed-test
	$(PYTEST) -m "not full" $(ARGS)

# What test leaves out: PostgreSQL, S3, a browser, kills at random, long forms
test-all: WORKERS ?= 3
test-all: $(VENV)/installed-test
	$(PYTEST) -m full $(ARGS)

# The property tests with other cases each time; test and test-all try the same ones
properties: WORKERS ?= 2
properties: $(VENV)/installed-test
	$(PYTEST) -m hypothesis --hypothesis-profile=random $(ARGS)

# Sweeps, and then a service, whose processes are killed at random; SEED repeats a run
KILLS ?= 200
SERVICE_KILLS ?= 30
SEED ?= 1
chaos: $(VENV)/installed-test
	CHAOS_KILLS=$(KILLS) CHAOS_SEED=$(SEED) $(BIN)/python -m pytest tests/chaos/test_kills.py
	CHAOS_KILLS=$(SERVICE_KILLS) CHAOS_SEED=$(SEED) \
		$(BIN)/python -m pytest tests/chaos/test_service_kills.py

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy lstm_sweep tests benchmarks docs docker

format: $(VENV)/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The image of docker/README.md, by a Docker engine; TARGET is cpu or gpu
TARGET ?= cpu
image:
	docker build --file docker/Dockerfile --target $(TARGET) --tag lstm-sweep:$(TARGET) .

clean:
	rm -rf $(VENV) build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "found $$($(PYTHON) --version), expected Python 3.11 or newer (make PYTHON=...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), once"
	PIP_CONSTRAINT=constraints.txt $(INSTALL) -e .
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing into $(VENV), once"
	PIP_CONSTRAINT=constraints.txt $(INSTALL) -e '.[test]'
	$(INSTALL) --no-deps hyperas  # without Jupyter, which its distributions do not need
	@touch $@ $(VENV)/installed
