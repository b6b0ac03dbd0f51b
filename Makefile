# `make help` lists the targets. Everything is built inside the checkout, in .venv and target.
#
#   make demo                      the main job: one CPU-bound job serially, in threads and on all cores
#   make test PYTHON=python3.12    the tests with another Python, in a virtual environment of its own

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The first Python that really starts (a version manager's shim may exist and still fail), is new
# enough and can make virtual environments.
WORKS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
works = $(shell command -v $(1) >/dev/null 2>&1 && $(1) -c '$(WORKS)' >/dev/null 2>&1 && echo yes)
CANDIDATES := python3.13 python3.12 python3.11 python3 python

ifeq ($(origin PYTHON),undefined)
  VENV ?= .venv
  # Asked for only while there is no environment: it costs a start of every candidate.
  ifeq ($(wildcard $(VENV)/bin/python),)
    PYTHON := $(firstword $(foreach p,$(CANDIDATES),$(if $(call works,$(p)),$(p))))
  else
    PYTHON := $(VENV)/bin/python
  endif
else
  TAG := $(shell $(PYTHON) -c 'import sys, sysconfig; \
	print("%d.%d%s" % (*sys.version_info[:2], "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED"))))' 2>/dev/null)
  VENV ?= .venv-$(TAG)
  # PyO3 is built for one Python: separate folders save building all of it again at each change.
  export CARGO_TARGET_DIR ?= $(CURDIR)/target/python$(TAG)
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUST := $(shell find crates Cargo.toml Cargo.lock -name '*.rs' -o -name 'Cargo.*' 2>/dev/null)
CARGO := $(shell command -v cargo 2>/dev/null || ls "$$HOME/.cargo/bin/cargo" 2>/dev/null)
export PATH := $(if $(CARGO),$(dir $(CARGO)):)$(PATH)
export PYO3_PYTHON = $(CURDIR)/$(BIN)/python
PYTEST_ARGS ?=

say = @printf '\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help demo test test-rust test-python crash points dropin dropin-page others models soak machines hostile check bench peers docs wheel clean python cargo

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(VENV)/.core ## the main job: one CPU-bound job serially, in threads and on all cores
	@$(BIN)/allcores demo $(DEMO_ARGS)

test: test-rust test-python ## the tests: the Rust core, then everything from Python

test-rust: cargo
	$(call say,tests of the Rust core)
	@cargo test --package allcores-core --locked
	$(call say,models of its protocols)
	@cargo test --package allcores-models --locked

test-python: $(VENV)/.core $(VENV)/.dev
	$(call say,tests from Python: $$($(BIN)/python -V))
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

STEP := cargo test --release --package allcores-core --locked --test step --

crash: cargo ## kill a process at every instruction of every operation (see tests/step/main.rs)
	$(call say,a kill before every store and system call)
	@$(STEP) --all $(STEP_ARGS)
	$(call say,nothing changes in between)
	@$(STEP) --proof $(STEP_ARGS)
	$(call say,a kill after each instruction: $${STEP_SECONDS:-2} s for each operation)
	@STEP_SECONDS=$${STEP_SECONDS:-2} $(STEP) --every-instruction $(STEP_ARGS)

points: cargo ## kill a process at every crash point, and in every recovery from that (POINTS_SECONDS: for each)
	$(call say,a kill at every crash point)
	@cargo test --package allcores-core --locked --test points -- --all $(POINTS_ARGS)

soak: $(VENV)/.core ## kill 50,000 processes at random while they share everything (SOAK_ARGS="--kills 2000")
	$(call say,random kills)
	@$(BIN)/python -m tests.soak --kills 50000 $(SOAK_ARGS)
	$(call say,pools that hold out)
	@$(BIN)/python -m tests.endurance $(ENDURANCE_ARGS)

dropin: $(VENV)/.core ## CPython's own tests, with this Python (DROPIN_ARGS="--suites spawn --only '*TestPool'")
	$(call say,CPython's tests: $$($(BIN)/python -V))
	@$(BIN)/python -m tests.dropin $(DROPIN_ARGS)

dropin-page: $(VENV)/.core ## docs/dropin.md, from what `make dropin` has found with each Python
	@$(BIN)/python -m tests.dropin --page docs/dropin.md

others: $(VENV)/.core $(VENV)/.dev ## programs of SciPy, dask, scikit-learn and others with our pools (examples/others)
	$(call say,libraries)
	@$(PIP) install $$($(BIN)/python -c "$$REQUIRES" others)
	@$(BIN)/python -m pytest tests/examples/test_with_others.py $(PYTEST_ARGS)

models: cargo ## the protocols of the core, explored further than in the tests (an hour)
	$(call say,models of the protocols)
	@MODELS=long cargo test --package allcores-models --locked -- --nocapture --test-threads 1

check: $(VENV)/.core $(VENV)/.dev cargo ## formatting, lints and types
	$(call say,cargo fmt)
	@cargo fmt --all --check
	$(call say,cargo clippy)
	@cargo clippy --workspace --all-targets --locked -- --deny warnings
	$(call say,ruff format)
	@$(BIN)/ruff format --check .
	$(call say,ruff check)
	@$(BIN)/ruff check .
	$(call say,mypy --strict)
	@$(BIN)/mypy

machines: $(VENV)/.core $(VENV)/.dev cargo ## state machines, longer than in the tests (PROPTEST_CASES, MACHINE_EXAMPLES)
	$(call say,state machines of the Rust core)
	@CARGO_PROFILE_TEST_OPT_LEVEL=2 PROPTEST_CASES=$${PROPTEST_CASES:-4000} cargo test --package allcores-core \
	  --locked --target-dir target/machines --test machines -- --nocapture --test-threads=1
	$(call say,state machines from Python)
	@MACHINE_EXAMPLES=$${MACHINE_EXAMPLES:-1000} $(BIN)/python -m pytest tests/machines -rA -k machine \
	  --override-ini faulthandler_timeout=0

hostile: cargo ## nonsense written over the shared memory, for HOSTILE_SECONDS (600)
	$(call say,bytes that make no sense)
	@HOSTILE_SECONDS=$${HOSTILE_SECONDS:-600} cargo test --package allcores-core --locked --test hostile

# Only a whole run is the record: with the names of some cases the figures are shown and no more.
# It takes two hours or so; with BENCH_ROUNDS=3 GROWTH_ROUNDS=1 half of that.
BENCH_ROUNDS ?= 5
GROWTH_ROUNDS ?= 3
bench: peers $(VENV)/.dev ## all figures beside every library, into docs/performance.md (BENCH_ARGS="--quick lock": shown only)
ifeq ($(BENCH_ARGS:--resume=),)
	@failed=0; \
	$(BIN)/python -m benches.run --peers all --rounds $(BENCH_ROUNDS) --json build/figures.json $(BENCH_ARGS) || failed=1; \
	$(BIN)/python -m benches.growth --rounds $(GROWTH_ROUNDS) --json build/growth.json || failed=1; \
	$(BIN)/python -m benches.page build/figures.json build/growth.json; \
	exit $$failed
else
	@$(BIN)/python -m benches.run --peers all $(BENCH_ARGS)
endif

peers: $(VENV)/.core ## the libraries to measure beside, each in an environment of its own in build/peers
	$(call say,other libraries)
	@$(BIN)/python -m benches.install

docs: $(VENV)/.docs ## the documentation as pages, in build/docs
	$(call say,documentation)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "build/docs/index.html"

wheel: $(VENV)/.core ## a wheel for this Python and machine, in dist
	$(call say,wheel)
	@$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@ls -1 dist/*.whl

clean: ## remove everything that was built, the virtual environments as well
	rm -rf .venv .venv-* target build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f python/allcores/*.so
	find python tests benches examples -name __pycache__ -type d -prune -exec rm -rf {} +

python:
	@test -n "$(PYTHON)" || { \
	  echo "allcores needs Python 3.11 or later with the venv module, and found none of: $(CANDIDATES)."; \
	  echo "Install one (Debian, Ubuntu: apt install python3-venv), or say: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; \
	  exit 1; } >&2
	@test "$(call works,$(PYTHON))" = yes || { \
	  echo "$(PYTHON) does not start, is older than Python 3.11, or has no venv module"; \
	  echo "(Debian, Ubuntu: apt install python3-venv). Another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; \
	  exit 1; } >&2

cargo:
	@test -n "$(CARGO)" || { \
	  echo "The core of allcores is written in Rust, and there is no cargo on the PATH or in ~/.cargo/bin."; \
	  echo "Get the toolchain from https://rustup.rs, or your system's (Debian, Ubuntu: apt install rustup),"; \
	  echo "then run the same command again."; \
	  exit 1; } >&2

# The stamps. Python sources are an editable install, so only Rust and pyproject.toml build anything anew.

$(VENV)/.python: | cargo python
	$(call say,virtual environment $(VENV) with $$($(PYTHON) -V))
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.tools: pyproject.toml $(VENV)/.python
	$(call say,build tools and what allcores itself needs)
	@$(PIP) install $$($(BIN)/python -c "$$REQUIRES" build dependencies)
	@touch $@

$(VENV)/.core: $(VENV)/.tools pyproject.toml $(RUST) | cargo
	$(call say,building the Rust core (a minute the first time))
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.tools
	$(call say,what the tests and checks need)
	@$(PIP) install $$($(BIN)/python -c "$$REQUIRES" dev plot)
	@touch $@

$(VENV)/.docs: pyproject.toml $(VENV)/.tools
	$(call say,what the documentation needs)
	@$(PIP) install $$($(BIN)/python -c "$$REQUIRES" docs)
	@touch $@

# Prints the requirements of the named parts of pyproject.toml.
define REQUIRES
import sys, tomllib
toml = tomllib.load(open("pyproject.toml", "rb"))
project = toml["project"]
parts = {"build": toml["build-system"]["requires"], "dependencies": project["dependencies"]}
parts.update(project["optional-dependencies"])
print(*(line.replace(" ", "") for part in sys.argv[1:] for line in parts[part]))
endef
export REQUIRES
