# One command each; `make` alone lists them. Needs python >= 3.11 and make, and Java 17 with Maven for `*-kafka`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What the commands get besides their defaults, e.g. make demo ARGS="--messages 5000", make test ARGS="-k breaker".
ARGS ?=

.PHONY: help venv demo demo-kafka test test-kafka faults soak mutations models bench fuzz lint audit sbom docs-check format lock clean

help: ## list the commands
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

venv: $(STAMP) ## install the locked dependencies into .venv

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python >= 3.11 is needed; choose one with PYTHON=…" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: venv ## send mixed mail through the sandbox providers on the embedded broker and check every count
	$(BIN)/streams demo $(ARGS)

demo-kafka: venv ## the same on a real Apache Kafka
	$(BIN)/python -m tests.brokers $(BIN)/streams demo --bootstrap '{bootstrap}' $(ARGS)

test: venv ## run the tests that need no Kafka server (embedded broker)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

test-kafka: venv ## run the tests on a real Apache Kafka, with faults
	$(BIN)/python -m pytest -q -m kafka -n $(JOBS) --dist worksteal $(ARGS)

faults: venv ## harm the running system in every way we promise to stand, e.g. ARGS="--list", ARGS="kills outage"
	$(BIN)/python -m tests.faults $(ARGS)

soak: venv ## half an hour at 70 % of this machine's capacity, with a picture of what it used
	$(BIN)/python -m tests.faults soak $(ARGS)

mutations: venv ## take safeguards out of a copy, one by one, and see that the tests notice
	$(BIN)/python -m tests.mutations $(ARGS)

models: venv ## walk through every order of events of small worlds, e.g. ARGS="--seconds 600 breaker"
	$(BIN)/python -m tests.models $(ARGS)

bench: venv ## measure throughput and latency beside something simpler, e.g. ARGS="track --profile"
	$(BIN)/streams bench $(ARGS)

fuzz: venv ## read 20,000 damaged and random mails in each of the bounce parser's property tests
	STREAMS_FUZZ_CASES=20000 $(BIN)/python -m pytest -q tests/bounces/test_hostile.py $(ARGS)

lint: venv ## check style, format, types, import rules and the locked packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict streams
	$(BIN)/lint-imports
	$(BIN)/python -m tests.supply audit sbom

audit: venv ## look for holes, licences and yanked releases among the locked packages; AUDIT=required fails if it cannot
	$(BIN)/python -m tests.supply audit

sbom: venv ## write the bill of materials of what is shipped, build/sbom.cdx.json
	$(BIN)/python -m tests.supply sbom

docs-check: venv ## check that links, commands and file names in the documents exist
	$(BIN)/python -m pytest -q tests/test_docs.py tests/providers/test_capabilities.py $(ARGS)

format: venv ## rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## resolve the dependencies again and write both lock files
	test -x .cache/lock/bin/uv || { $(PYTHON) -m venv .cache/lock && .cache/lock/bin/pip install -q uv; }
	for lock in "requirements.lock:--extra embedded --extra rocksdb --extra sandbox" \
	            "requirements-dev.lock:--all-extras --constraint requirements.lock"; do \
	  .cache/lock/bin/uv pip compile pyproject.toml $${lock#*:} --quiet --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command "make lock" --output-file "$${lock%%:*}"; \
	done

clean: ## remove everything that the other commands create
	rm -rf $(VENV) .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
