# Everything a developer runs. `make help` lists the targets.

PYTHON ?= $(shell for p in python3 python3.15 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
REQ := tools/requirements
BIN := .venv/bin
# The generators live in a venv of their own: they need an old protobuf.
GEN := .venv-gen
RELEASED := tools/schema/released.binpb
# Tests run in several processes, since most of them wait; the tests of a file run in one.
PARALLEL := -n 3 --dist loadfile
# Which of them `make test` and `make fresh-machine` run, such as "not slow"; all if it is empty.
MARKS ?=
# For gen, check-gen and test-polyglot: some of python, go, ts and java, or all.
LANGS ?=
# Standard steps to make a venv: $(1) folder, $(2) what pip installs.
define venv
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
	@touch $(1)/.stamp
endef

.DEFAULT_GOAL := help
.PHONY: help setup run test test-lowest test-newest test-pure-protobuf fresh-machine test-polyglot test-peers pictures lint format site gen check-gen breaking release-schema vectors bench bench-service profile-service chaos lock ci clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.stamp ## make .venv: the package, every extra, the development tools
.venv/.stamp: pyproject.toml $(REQ)/dev.txt
	$(call venv,.venv,-r $(REQ)/dev.txt -e .)

$(GEN)/.stamp: $(REQ)/gen.txt
	$(call venv,$(GEN),-r $(REQ)/gen.txt)

run: setup ## dispatch calls to a service on this machine; kill a workflow, which goes on
	$(BIN)/python examples/guide.py
	$(BIN)/python examples/killed_workflow.py

test: setup ## run the tests, with branch coverage of the hand-written code
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest $(PARALLEL) $(if $(MARKS),-m "$(MARKS)")
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report $(if $(MARKS),--fail-under=0)

test-lowest: .venv-lowest/.stamp ## run the tests, except the slow ones, with the lowest declared dependencies
	.venv-lowest/bin/python -m pytest $(PARALLEL) -m "not slow"
.venv-lowest/.stamp: pyproject.toml $(REQ)/lowest.txt
	$(call venv,.venv-lowest,-r $(REQ)/lowest.txt -e .)

test-newest: setup ## run the tests, except the slow ones, with the newest dependencies
	rm -rf .venv-newest && $(PYTHON) -m venv .venv-newest
	$(BIN)/uv pip install --quiet --python .venv-newest --upgrade -e '.[all]' --group test
	.venv-newest/bin/python -m pytest $(PARALLEL) -m "not slow"

test-pure-protobuf: setup ## run the tests of values, calls, clients and endpoints with the protobuf that Alpine gets
	PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python $(BIN)/python -m pytest $(PARALLEL) \
		tests/values tests/test_calls.py tests/client tests/endpoint

fresh-machine: ## follow the README on a fresh Debian with the newest Python and dependencies (needs root)
	MARKS="$(MARKS)" tools/fresh_machine

test-polyglot: setup $(GEN)/.stamp .venv-peer/.stamp ## build the stubs of go, ts and java, and run their examples against the service
	POLYGLOT_LANGS="$(or $(LANGS),go ts java)" $(BIN)/python -m pytest tests/polyglot

test-peers: setup .venv-peer/.stamp ## run dispatch-py's client and functions on the service
	PEER_PYTHON=.venv-peer/bin/python $(BIN)/python -m pytest tests/peers

pictures: setup ## write the pictures of the docs anew
	mkdir -p docs/images
	PICTURES=docs/images $(BIN)/python -m pytest tests/service/test_page_looks.py -k pictures

lint: setup $(GEN)/.stamp ## check style, types and the schema
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	@echo "pyright --verifytypes dispatch_grpc --ignoreexternal"; \
	report=$$(PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes dispatch_grpc --ignoreexternal) \
		|| { echo "$$report"; exit 1; }
	$(GEN)/bin/buf lint
	$(GEN)/bin/buf format --diff --exit-code

format: setup $(GEN)/.stamp ## format Python and proto files
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(GEN)/bin/buf format --write

site: .venv-site/.stamp ## build the site of docs/ in .site, and check its links
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/mkdocs build --strict
.venv-site/.stamp: $(REQ)/site.txt
	$(call venv,.venv-site,-r $(REQ)/site.txt)

gen: $(GEN)/.stamp ## write generated/ anew from proto/, in every language or in LANGS
	@$(GEN)/bin/python -m tools.generate $(LANGS)

check-gen: $(GEN)/.stamp ## fail when generated/ is not what `make gen` writes
	@$(GEN)/bin/python -m tools.generate --check $(LANGS)

breaking: $(GEN)/.stamp ## fail when the schema breaks readers of the released one
	$(GEN)/bin/buf breaking --against $(RELEASED)

release-schema: $(GEN)/.stamp ## record the schema as released: part of making a release
	$(GEN)/bin/buf build --exclude-source-info --output $(RELEASED)

vectors: setup ## write the value vectors anew from what marshal writes
	$(BIN)/python -m tests.value_vectors > dispatch_grpc/testing/values.json.new
	mv dispatch_grpc/testing/values.json.new dispatch_grpc/testing/values.json

bench: setup .venv-peer/.stamp ## measure against the raw stubs and against dispatch-py
	$(BIN)/python -m benchmarks
.venv-peer/.stamp: $(REQ)/peer.txt
	$(call venv,.venv-peer,-r $(REQ)/peer.txt)

bench-service: setup .venv-service-peer/.stamp ## measure the durable service against DBOS, absurd and pgqueuer alone
	$(BIN)/python -m benchmarks.service
.venv-service-peer/.stamp: $(REQ)/service-peer.txt
	$(call venv,.venv-service-peer,-r $(REQ)/service-peer.txt)

profile-service: setup ## write a flame graph of the durable service under load
	$(BIN)/python -m benchmarks.service profile

chaos: setup ## run calls for ten minutes while everything fails: CHAOS_SECONDS, CHAOS_CALLS, CHAOS_SEED
	$(BIN)/python -m tests.service.chaos

UV := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate
lock: setup ## pin the development requirements anew, at their newest versions
	$(UV) --upgrade pyproject.toml --extra all --group dev --output-file $(REQ)/dev.txt
	$(UV) --upgrade pyproject.toml --extra all --group test --resolution lowest-direct --output-file $(REQ)/lowest.txt
	$(UV) --upgrade --group gen --output-file $(REQ)/gen.txt
	$(UV) --upgrade --group site --output-file $(REQ)/site.txt

clean: ## remove every venv and cache
	rm -rf .venv .venv-* .gen .site .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	rm -rf examples/polyglot/*/target examples/polyglot/*/node_modules generated/java/target
	find . -name __pycache__ -prune -exec rm -rf {} +
