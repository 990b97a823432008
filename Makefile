# Pons: two commands on a fresh machine are `make demo` and `make test`. Every target may be repeated.
#
#   make demo          set up, run engine and loopback peers, send two studies, show their journey
#   make run           the same, and keep serving until Ctrl-C
#   make test          set up, check, peers, every test            ARGS="-m peers -q" goes to pytest
#   make check         format, lint, types, import contracts, every routing table and its own tests
#   make bench NAME=…  one benchmark, also as make bench-…         ARGS="--short" goes to it
#   make peers         the programs of other makers that the tests talk to
#   make docs          the reference of the table and its schemas, from the models
#   make pictures      the pictures of docs/portal.md, from a running portal       ARGS="order" takes one
#   make venv          only the virtual environment
#   make clean         remove everything that the targets above made

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.stamp
WORKERS := 4
TABLES := $(wildcard routes.yaml examples/*/routes.yaml)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo run test check lint types tables bench peers docs pictures venv clean

help:
	@sed -n 's/^#   //p' Makefile

venv: $(STAMP)

$(STAMP): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: name a newer one, make PYTHON=python3.12" >&2; exit 1; }
	@echo "making $(VENV), one moment"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq -c .ci/constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m examples.demo $(ARGS)

run: $(STAMP)
	@$(BIN)/python -m examples.demo --serve $(ARGS)

test:
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target lint types tables peers
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types tables

lint: $(STAMP)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy -p engine -p channels -p wg -p examples

tables: $(STAMP)
	@set -e; for table in $(TABLES); do \
	  echo "pons check, pons test: $$table"; \
	  $(BIN)/pons check "$$table"; $(BIN)/pons test "$$table"; \
	done

bench: $(STAMP)
	@test -n "$(NAME)" || { echo "which one? make bench NAME=…, with one of: $(basename $(notdir $(wildcard bench/[a-z]*.py))) $(patsubst bench/%/__main__.py,%,$(wildcard bench/*/__main__.py))" >&2; exit 2; }
	$(BIN)/python -m bench.$(NAME) $(ARGS)

bench-%: $(STAMP)
	$(BIN)/python -m bench.$* $(ARGS)

peers:
	@.ci/peers.sh

docs: $(STAMP)
	@$(BIN)/pons schema --write docs/reference

pictures: $(STAMP) peers
	@$(BIN)/python -m tests.portal.pictures $(ARGS)

clean:
	rm -rf $(VENV) demo data bench/out tests/peers/node_modules *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
