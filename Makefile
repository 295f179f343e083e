# LeafSync's commands. `make demo` and `make test` need nothing but Python 3.11+ and a network to install from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-long lint check screenshots bench bench-wan bench-scale bench-clients lock clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "LeafSync needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: $(STAMP)  ## sync a real folder between two LeafSync processes and check the copy
	$(BIN)/python -m benchmarks.demo

lint: $(STAMP)  ## formatting, lint, types and the layer contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## everything CI runs: lint, types, contracts and all tests
	$(BIN)/python -m pytest -n 2 -q

check: test  ## the same as test

test-long: $(STAMP)  ## many more histories, a thousand crashes, bad networks and loads at full size (hours)
	LEAFSYNC_EXAMPLES=5000 $(BIN)/python -m pytest -q -o faulthandler_timeout=0 tests/e2e/test_stateful.py tests/e2e/test_stateful_rules.py tests/net/test_network_faults.py tests/e2e/test_bad_links.py tests/faults/test_load.py
	LEAFSYNC_CRASHES=400 $(BIN)/python -m pytest -q -s -o faulthandler_timeout=0 tests/crash

screenshots: $(STAMP)  ## make the pictures in screenshots/ anew, from the real app
	$(BIN)/python -m screenshots.make

bench: $(STAMP)  ## LeafSync beside rsync, Syncthing and Unison (as root: over an emulated 1 Gbit/s link); BENCH="--scale 0.1 --runs 1" is quick
	$(BIN)/python -m benchmarks.bench $(BENCH)

bench-wan: $(STAMP)  ## LeafSync beside rsync over long, lossy and dark links, and beside other flows (as root)
	$(BIN)/python -m benchmarks.wan $(BENCH)
	$(BIN)/python -m benchmarks.fairness $(BENCH)

bench-scale: $(STAMP)  ## 100,000 and 1,000,000 files: scans, index exchange, memory and records for each (about 20 minutes)
	$(BIN)/python -m benchmarks.scale $(BENCH)

bench-clients: $(STAMP)  ## 1, 4 and 16 devices that pull from one at once: rate, fairness, memory
	$(BIN)/python -m benchmarks.clients $(BENCH)

lock:  ## resolve the dependencies again and write requirements.lock (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --group dev --no-header pyproject.toml -o requirements.lock

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-run
