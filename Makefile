PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help install install-dev serve demo test slow lint fmt gen migration baseline release soak histories fuzz bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/.server ## Make .venv with what the server needs

install-dev: .venv/.dev ## Make .venv with what developing needs as well

serve: .venv/.server ## Start the server with its own PostgreSQL and Valkey
	@exec $(BIN)/wingmanmatch serve

demo: .venv/.server ## Play a whole journey against the running server
	@$(BIN)/wingmanmatch demo

test: .venv/.dev ## Run the tests, without the slow ones
	$(BIN)/pytest -n auto --dist loadfile -m "not slow"

slow: .venv/.dev ## Run the tests that take longer than 20 s each
	$(BIN)/pytest -n auto --dist loadfile -m slow

lint: .venv/.dev ## Check style, types, who imports whom, the protos, and that versions agree
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=generated:server:clients/python $(BIN)/lint-imports
	$(BIN)/python protos/lint.py
	$(BIN)/python protos/versions.py
	$(BIN)/python supabase/tools/lint_sql.py

fmt: .venv/.dev ## Rewrite the code in its proper form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write protos

gen: .venv/.dev ## Generate generated/, the clients and docs/api/ from protos/, docs/configuration.md from the settings
	$(BIN)/python protos/generate.py
	$(BIN)/python protos/generate_typescript.py
	$(BIN)/python protos/generate_client.py
	$(BIN)/python protos/generate_api.py
	$(BIN)/python docs/generate_configuration.py

migration: .venv/.dev ## Write the migration from supabase/migrations/ to supabase/schemas/: NAME=verb_noun
	@$(BIN)/python supabase/tools/new_migration.py "$$NAME"

# REASON, NAME and VERSION reach the shell by the environment, so that no character of theirs is read as a command.
baseline: .venv/.dev ## Record a breaking change of protos before 0.1.0: REASON="what broke, and what replaces it"
	@$(BIN)/python protos/baseline.py --reason="$$REASON"

release: .venv/.dev ## Prepare release VERSION=x.y.z: the protos' baseline, CHANGELOG.md, the version everywhere
	@$(BIN)/python protos/release.py -- "$$VERSION"

soak: .venv/.dev ## Cause faults under load at the shipped values, print what each costs, check histories, fuzz, run slow tests
	PYTHONPATH=tests $(BIN)/python tests/soak/soak.py
	PYTHONPATH=tests $(BIN)/python tests/soak/fuzz.py
	@$(MAKE) slow

histories: .venv/.dev ## Check what callers were told through the faults of 20 seeds against sequential models
	PYTHONPATH=tests $(BIN)/python tests/soak/histories.py

fuzz: .venv/.dev ## Send a million spoiled requests to a server, or go on where that stopped
	PYTHONPATH=tests $(BIN)/python tests/soak/fuzz.py

bench: .venv/.dev ## Run the benchmarks, each beside its limit
	$(BIN)/python benchmarks/client.py
	$(BIN)/python benchmarks/edge.py
	$(BIN)/python benchmarks/matching.py
	$(BIN)/python benchmarks/rate_limit.py
	$(BIN)/python benchmarks/session.py
	$(BIN)/python benchmarks/coaching.py
	$(BIN)/python benchmarks/watch.py
	$(BIN)/python benchmarks/transports.py
	$(BIN)/python benchmarks/notification.py

lock: .venv/.dev ## Pin the newest allowed versions, with hashes
	$(BIN)/uv pip compile pyproject.toml --extra server --extra embedded --extra build $(LOCK) -o requirements/server.txt
	$(BIN)/uv pip compile pyproject.toml --all-extras -c requirements/server.txt $(LOCK) -o requirements/dev.txt

clean: ## Remove what can be made again; the server's data stay
	rm -rf .venv build dist clients/typescript/node_modules clients/typescript/build clients/typescript/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# No addresses in the lock: it installs from whichever registry a machine is set up to use.
LOCK := --upgrade --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and sys.argv[1])' \
		"WingmanMatch needs Python 3.11 or later: make PYTHON=/path/to/python3.11"
	$(PYTHON) -m venv .venv

# What is installed is what is pinned; the project itself is linked, so that an edit needs no installation.
.venv/.server: requirements/server.txt pyproject.toml | .venv/bin/pip
	$(PIP) --require-hashes -r requirements/server.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt pyproject.toml | .venv/bin/pip
	$(PIP) --require-hashes -r requirements/dev.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ .venv/.server
