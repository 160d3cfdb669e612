# `make help` lists what there is. The environment is VENV (.venv), made and filled when it is missing or out of date. With
# PY=path/to/python an environment of your own is used as it is, and nothing is installed.

PYTHON ?= python3.11
VENV ?= .venv
ARGS ?=
PARTS ?=
RECORDING ?=
# files of tests at a time: most of what they do is wait; some tests run alone
JOBS ?= $(if $(ARGS),0,4)
SEED ?= 1
# of a soak in all, or of each decoder that is fuzzed
MINUTES ?= 2

ifeq ($(origin PY),undefined)
PY := $(VENV)/bin/python
DEMO_READY := $(VENV)/.installed-demo
DEV_READY := $(VENV)/.installed-dev
endif
BIN := $(dir $(PY))

.DELETE_ON_ERROR:
.PHONY: help demo test soak fuzz mutations bench peers check format lock audit clean

help:
	@echo "make demo    a first look: the whole way on made-up customers, in under a minute"
	@echo "make test    all tests, four files at a time (ARGS='-k windows' for some, one at a time)"
	@echo "make fuzz    any bytes into each decoder (MINUTES=2 each, ARGS='state outbox' for some)"
	@echo "make soak    crash tests with real services: SEED=1 MINUTES=2, ARGS=--swapping for models that change"
	@echo "make mutations  take each guard out in turn and see a test go red (ARGS='commit seek' for some)"
	@echo "make bench   what an event costs, beside others (PARTS=latency for some, RECORDING=file.csv.gz; 13 minutes)"
	@echo "make check   format, lint, types, import rules"
	@echo "make format  format, and mend what can be mended"
	@echo "make audit   known weaknesses of what constraints.txt pins; needs the network"
	@echo "make lock    write constraints.txt anew from what pyproject.toml allows"

demo: $(DEMO_READY)
	@$(BIN)micro-intents demo $(ARGS)

test: $(DEV_READY)
	@$(PY) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

fuzz: $(DEV_READY)
	@$(PY) -m tests.fuzz --minutes $(MINUTES) $(ARGS)

soak: $(DEV_READY)
	@$(PY) -m tests.soak --seed $(SEED) --minutes $(MINUTES) $(ARGS)

mutations: $(DEV_READY)
	@$(PY) -m tests.mutations $(ARGS)

# The peers of the benchmarks, each in an environment of its own.
peers: build/peers/quix/.installed build/peers/bytewax/.installed

build/peers/%/.installed: benchmarks/peers/%.txt
	@echo "Making the environment build/peers/$*"
	@$(PYTHON) -m venv build/peers/$* && build/peers/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

bench: $(DEV_READY) peers
	@OPENBLAS_NUM_THREADS=1 $(PY) -m benchmarks $(PARTS) $(if $(RECORDING),--recording $(RECORDING))

check: $(DEV_READY)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(BIN)lint-imports

format: $(DEV_READY)
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

$(VENV)/bin/python:
	@echo "Making the environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)

# Each stamp is newer than what it was installed from. The development environment has the demo in it.
$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (the first time: a minute or two)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (the first time: a minute or two)"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	@touch $(VENV)/.installed-demo $@

# A throw-away environment, so that what happens to be installed does not leak into the lock.
lock:
	@rm -rf build && $(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check '.[dev,demo]'
	@{ echo "# Everything the tests ran with; written by make lock. pip install -c constraints.txt -e '.[dev,demo]'"; \
	   build/lock/bin/python -m pip freeze --exclude micro-intents --exclude pip --exclude setuptools; } > constraints.txt
	@rm -rf build

# Only what is pinned is asked about; nothing of it is installed.
audit:
	@rm -rf build/audit && $(PYTHON) -m venv build/audit
	@build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit || \
	  { echo "pip-audit cannot be fetched: see Dependencies in docs/security.md for a way without the network" >&2; exit 1; }
	@build/audit/bin/pip-audit --disable-pip --no-deps --strict --progress-spinner off -r constraints.txt || \
	  { echo "A weakness: move its pin (pyproject.toml, make lock). Else the databases cannot be reached: see Dependencies in docs/security.md" >&2; exit 1; }
	@rm -rf build/audit

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
