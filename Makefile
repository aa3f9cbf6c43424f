# make install, then make dev: a live page. Needs Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install dev test lint types format check bench lock clean

help: ## What there is to make
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

install: $(STAMP) ## Create .venv and install what requirements.txt locks

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Jetscan needs Python 3.11 or newer, found " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt && \
		uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt && \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $(STAMP)

dev: install ## Everything on this machine, and a live page
	@$(BIN)/jetscan dev $(ARGS)

test: install ## Every test
	$(BIN)/python -m pytest $(ARGS)

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install ## Format, lint, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: install ## mypy, strict on runtime/
	$(BIN)/mypy

check: lint types test ## All of it
	$(BIN)/jetscan check

bench: install ## Every bench, as JSON lines
	@for name in bars scan pipeline latency takeover; do $(BIN)/jetscan bench $$name --json || exit 1; done

lock: ## Lock the dependencies again: hashes, no addresses (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --group dev -o requirements.txt pyproject.toml

clean: ## Remove .venv, caches and state
	rm -rf $(VENV) .jetscan .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
