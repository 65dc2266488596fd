# Two commands: `make run` starts Rampart with its demo, `make test` proves it.

PYTHON ?= python3
export RAMPART_VAR ?= var
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: run test bench faults fuzz screenshots check lint types lock clean
.DEFAULT_GOAL := run

.venv/bin/python:
	@$(PYTHON) -m venv .venv

.venv/run.stamp: requirements/run.txt | .venv/bin/python
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	@touch $@

.venv/test.stamp: requirements/test.txt | .venv/bin/python
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/test.txt
	@touch $@ .venv/run.stamp

# ToolRampart's client in an environment of its own, and its source beside it: for tests/peers.
.venv/peers.stamp: requirements/peers.txt | .venv/bin/python
	@.venv/bin/python -m venv --clear .venv/peers
	@.venv/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peers.txt
	@sed -n '/^toolrampart==/,/[^\\]$$/p' requirements/peers.txt > .venv/peers/source.txt
	@.venv/peers/bin/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
	  --no-binary :all: --no-build-isolation --dest .venv/peers -r .venv/peers/source.txt
	@touch $@

run: .venv/run.stamp
	@python -m rampart.initialise "$(RAMPART_VAR)" RAMPART_TOOL_MODULES=tools.examples.demo
	@python manage.py migrate --verbosity 0
	@python manage.py sync_tools
	@python manage.py load_demo
	@exec honcho start

# Lint and types first: they are quick to fail.
test: .venv/test.stamp .venv/peers.stamp
	@$(MAKE) --no-print-directory lint types
	@exec python -m tests.everything

# Real processes, killed at random: `make faults MINUTES=10`.
faults: .venv/test.stamp
	@exec python -m tests.faults --minutes $(or $(MINUTES),5)

# How fast a call is, beside a bare view and beside ToolRampart: `make bench ROUNDS=9 ONLY=read,floor`;
# and a ledger with much in it: `make bench ONLY=ledger EVENTS=100000`.
bench: .venv/test.stamp .venv/peers.stamp
	@exec python -m benchmarks --rounds $(or $(ROUNDS),5) --events $(or $(EVENTS),1000000) --only "$(ONLY)"

# The API under schemathesis, longer than the tests do: `make fuzz EXAMPLES=1000 SEED=7`.
fuzz: .venv/test.stamp
	@exec python -m tests.rampart.fuzzing $(or $(EXAMPLES),300) $(or $(SEED),1)

# The pictures of docs/images, of the running product with demo data; needs Chromium.
screenshots: .venv/test.stamp
	@exec python -m tests.screenshots

check: .venv/test.stamp
	@$(MAKE) --no-print-directory lint types

lint: .venv/test.stamp
	@ruff check --quiet .
	@ruff format --quiet --check .

types: .venv/test.stamp
	@SECRET_KEY=types-need-no-secret-but-settings-want-one-here \
	  RAMPART_ARGUMENT_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= mypy

# Every requirements file anew, by hash, naming no index.
lock: .venv/test.stamp
	@for set in base run test peers; do \
	  uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate \
	    --python-version 3.11 requirements/$$set.in -o requirements/$$set.txt || exit 1; \
	done

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
