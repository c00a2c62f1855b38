# make demo      install, then the main job: one rule under every strategy
# make test      install with the test tools, then the tests
# make check     test, and everything else that must be green before a change lands: the long tests, lint, types
# make matrix    every claim of every scenario, strategy and variant, in every order: up to an hour
# make bench     how fast race itself is, as ratios in one run
# make results   remake the generated tables under results/
# make dist      build the sdist and the wheel that a release publishes
# make lock      remake both locks from pyproject.toml
# make clean     remove what these targets made

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.installed-demo
TOOLS := $(VENV)/.installed-tools
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
UV_VERSION := 0.13.9

# The first Python on the PATH that is new enough; a name on the PATH may be an empty shim.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$p && break; done)

# Compiled code is kept, whatever the environment says: tests start race some hundred times, and pytest compiles them all.
unexport PYTHONDONTWRITEBYTECODE

# Each makes sure that its requests meet, and waits for others where it must: one may leave a core to its neighbour.
LOADED := $(BIN)/python -m pytest -q -n 2 --dist worksteal

SHORT := not long and not matrix

.PHONY: demo test check matrix bench results lock clean
.DELETE_ON_ERROR:

demo: $(DEMO)
	$(BIN)/race compare double-submit
	@echo "next: . $(BIN)/activate, then race run double-submit --strategy naive"

test: $(TOOLS)
	$(BIN)/python -m pytest -q -n 3 --dist loadgroup -m "not load and $(SHORT)"
	@echo "and then the tests that make loads, two at a time"
	$(LOADED) -m "load and $(SHORT)"

# The same two parts, each with what takes long: stores that restart, clocks that are set back, workers that are killed,
# a browser. In two more parts it would be collected twice more.
check: $(TOOLS)
	$(BIN)/python -m pytest -q -n 3 --dist loadgroup -m "not load and not matrix"
	@echo "and then the tests that make loads, two at a time"
	$(LOADED) -m "load and not matrix"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@stores="$$($(BIN)/python .ci/local_stores.py)"; \
	if [ -n "$$stores" ]; then \
		echo "once more, what differs by server, on the servers of this machine"; \
		env $$stores $(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "stores and not load and $(SHORT)" && \
		env $$stores $(LOADED) -m "stores and load and $(SHORT)"; \
	else \
		echo "no Redis and PostgreSQL on 127.0.0.1: the tests with a store ran on embedded ones only"; \
	fi

matrix: $(TOOLS)
	RACE_MATRIX=1 $(BIN)/python -m pytest -q -n 2 --dist loadgroup --timeout 1200 tests/explore tests/flows \
		tests/burst/test_claims_by_load.py

bench: $(TOOLS)
	$(BIN)/python -m bench

results: $(DEMO)
	for scenario in double-submit counter; do \
		$(BIN)/race compare $$scenario --seed 1 --exit-zero --export-json results/$$scenario.json \
			--export-markdown results/$$scenario.md --export-csv results/$$scenario.csv || exit; \
	done
	$(BIN)/race compare --all --seed 1 --exit-zero
	$(BIN)/python -m bench.mutants
	$(BIN)/python -m bench.explored
	$(BIN)/python -m bench.ownership

# With the builder that the lock names, and the wheel from the sdist: what is published builds from itself.
dist: $(DEMO)
	rm -rf dist
	$(BIN)/python -m hatchling build -t sdist
	$(PIP) wheel --no-build-isolation --no-deps -w dist dist/*.tar.gz

# One lock for everybody: versions and hashes for every platform and Python, no addresses.
lock:
	@$(call needs_python)
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check --quiet install uv==$(UV_VERSION)
	echo hatchling > build/lock/build.in
	$(COMPILE) pyproject.toml build/lock/build.in -o requirements.lock
	$(COMPILE) pyproject.toml build/lock/build.in --extra dev -c requirements.lock -o requirements-dev.lock

COMPILE = build/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

clean:
	rm -rf $(VENV) .venv-peers build dist results/runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV):
	@$(call needs_python)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "race needs Python's venv module: install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }

$(DEMO): requirements.lock pyproject.toml | $(VENV)
	@$(call install,requirements.lock)
	@touch $@

$(TOOLS): requirements-dev.lock pyproject.toml | $(VENV)
	@$(call install,requirements-dev.lock)
	@touch $@ $(DEMO)

define needs_python
if ! "$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null; then echo "race needs Python 3.11 or newer$(if $(PYTHON),; \
	$(PYTHON) is none): install python3, or say make PYTHON=/path/to/python" >&2; exit 1; fi
endef

# hatchling comes from the lock, too: nothing is installed that the lock does not name.
define install
$(BIN)/python -c '' 2>/dev/null || { echo "the Python that $(VENV) was made with is gone: make clean, then again" >&2; \
	exit 1; }; \
echo "installing from $(1)"; \
$(PIP) install --require-hashes --no-deps -r $(1) && $(PIP) install --no-build-isolation --no-deps -e . || { \
	echo "could not install: without a network, connect; on musl (Alpine), take a system with glibc; else install" \
		"a C compiler and Python's headers (Debian, Ubuntu: apt install gcc python3-dev)" >&2; exit 1; }
endef
