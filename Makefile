# One verb per habit. `make help` lists them; `make check` and `make test` are what CI runs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROTO_GRPC := tocsin/protocol/api.proto tocsin/protocol/admin.proto tocsin/protocol/client.proto tocsin/protocol/unistream.proto
PROTO_ONLY := tocsin/protocol/job.proto
PROTOC := $(BIN)/python -m grpc_tools.protoc -Itocsin/protocol=proto
LOCK := uv pip compile -q --universal --generate-hashes --no-header --no-annotate --python-version 3.11
T ?= tests
M ?=

##@ Use

.PHONY: run
run: $(STAMP) ## Show the main job in one process: devices in, pushes out, a summary
	@$(BIN)/tocsin demo

.PHONY: install
install: $(STAMP) ## Build .venv from requirements.lock (uv where present, else venv and pip)

$(STAMP): requirements.lock pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
	  test -x $(BIN)/python || uv venv -q --python '>=3.11' $(VENV) || exit 1; \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock && \
	  uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: $(PYTHON) is missing; install Python 3.11 or newer, or uv"; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; set PYTHON=python3.11 or newer, or install uv"; exit 1; }; \
	  test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "make: $(PYTHON) has no venv module; install it (Debian: python3-venv), or uv"; exit 1; }; \
	  echo "Installing pinned packages into $(VENV) (about a minute, once)"; \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@touch $@

##@ Check

.PHONY: check
check: format-check lint types imports proto-check buf ## All static checks, as CI runs them

.PHONY: test
test: $(STAMP) ## Run the tests on their own PostgreSQL and Redis; T=path runs some
	@$(BIN)/python -m pytest $(T) -q -n 2 --dist loadgroup

.PHONY: unit
unit: $(STAMP) ## Run the unit tests alone: no server, no process (under a minute)
	@$(BIN)/python -m pytest tests/unit -q -n 2 --dist loadgroup

.PHONY: chaos
chaos: $(STAMP) ## Kill, stall and restart servers in mid-send, again and again (minutes)
	@$(BIN)/python -m pytest tests/system -q -m chaos

.PHONY: fuzz
fuzz: $(STAMP) ## Search for inputs that break a rule (two minutes; SECONDS=n TARGET=x SEED=n INPUT=file)
	@$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(if $(TARGET),--target $(TARGET)) \
	  $(if $(SEED),--seed $(SEED)) $(if $(INPUT),--input $(INPUT)) $(if $(GROW),--grow)

.PHONY: disaster
disaster: $(STAMP) ## Play seeded disasters and count who was lost; SEED=n RUNS=k RECIPIENTS=2000
	@$(BIN)/python -m tests.disaster $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(RECIPIENTS),--recipients $(RECIPIENTS)) $(if $(FAULTS),--faults $(FAULTS))

.PHONY: soak
soak: $(STAMP) ## Send steadily for MINUTES=20 and see whether anything grows
	@$(BIN)/python -m tests.disaster.soak $(if $(MINUTES),--minutes $(MINUTES))

.PHONY: mutants
mutants: $(VENV)/.mutants ## Change the code in small ways: do tests notice? (minutes; M=cursors runs one part)
	@$(BIN)/python -m tests.mutants $(M)

$(VENV)/.mutants: $(STAMP) requirements-mutants.lock
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements-mutants.lock; \
	else \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-mutants.lock; \
	fi
	@touch $@

.PHONY: format
format: $(STAMP) ## Format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix . && $(BIN)/buf format -w proto

.PHONY: format-check
format-check: $(STAMP) ## Fail where `make format` would change something
	@$(BIN)/ruff format -q --check .

.PHONY: lint
lint: $(STAMP) ## Lint
	@$(BIN)/ruff check -q .

.PHONY: types
types: $(STAMP) ## Check types strictly, in tests and benchmarks too
	@$(BIN)/mypy

.PHONY: imports
imports: $(STAMP) ## Check that imports only point down
	@$(BIN)/lint-imports --no-cache | tail -n 12

.PHONY: buf
buf: $(STAMP) ## Lint the schemas; compare them with the published one
	@$(BIN)/buf lint && $(BIN)/buf format --diff --exit-code && $(BIN)/buf breaking --against proto/wire/published.binpb

##@ Generate

.PHONY: proto
proto: $(STAMP) ## Generate src/tocsin/protocol from proto/
	@$(PROTOC) --python_out=src --pyi_out=src --grpc_python_out=src $(PROTO_GRPC)
	@$(PROTOC) --python_out=src --pyi_out=src $(PROTO_ONLY)

.PHONY: proto-check
proto-check: $(STAMP) ## Fail where the generated code is not what `make proto` writes
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	$(PROTOC) --python_out=$$dir --pyi_out=$$dir --grpc_python_out=$$dir $(PROTO_GRPC) && \
	$(PROTOC) --python_out=$$dir --pyi_out=$$dir $(PROTO_ONLY) && \
	for f in $$dir/tocsin/protocol/*; do \
	  diff -u src/tocsin/protocol/$$(basename $$f) $$f || { echo "make: run 'make proto'"; exit 1; }; \
	done

.PHONY: lock
lock: ## Pin again after a change of dependencies (needs uv)
	@$(LOCK) pyproject.toml --group dev --group bench -o requirements.lock
	@$(LOCK) pyproject.toml -c requirements.lock -o requirements-runtime.lock
	@$(LOCK) --group mutants -c requirements.lock -o requirements-mutants.lock
	@$(LOCK) --group release -c requirements.lock -o requirements-release.lock
	@echo hatchling | $(LOCK) - -c requirements.lock -o requirements-build.lock

##@ Measure

.PHONY: bench
bench: $(STAMP) ## Measure beside peers and write benchmarks/RESULTS.md (minutes)
	@$(BIN)/python -m benchmarks

##@ Release

.PHONY: dist
dist: $(VENV)/.release ## sdist, wheel, SBOM, checksums, audit of dependencies (AUDIT=required|no)
	@$(BIN)/python -m deploy.release $(if $(AUDIT),--audit $(AUDIT))

# Without a network there is no pip-audit either: the rest is made all the same.
$(VENV)/.release: $(STAMP) requirements-release.lock
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install -q --python $(BIN)/python --require-hashes -r requirements-release.lock; \
	else \
	  $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-release.lock; \
	fi && touch $@ || { test "$(AUDIT)" = no || echo "make: pip-audit cannot be installed"; }

##@ Other

.PHONY: clean
clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/support/javascript/node_modules

.PHONY: help
help: ## List the verbs
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' Makefile
