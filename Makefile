# Two commands work on a fresh machine with Python 3.11 to 3.13, git and make: `make run` and `make test`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
# Stages call the tools by name; inside make they are those of .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PYTHONNOUSERSITE := 1
READY := .venv/.ready

.PHONY: help
help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(READY) ## make .venv with the locked dependencies

# An update of the starter weights reaches a clone that has the old ones, or `dvc repro` would take those for wanted.
$(READY): requirements.lock pyproject.toml tools/setup.sh $(wildcard starter.dvc)
	@bash tools/setup.sh

.PHONY: run
run: $(READY) ## the whole pipeline on the sample selfies; PROFILE=article uses profiles/article.yaml
	@bash tools/run.sh "$(PROFILE)"

.PHONY: test
test: $(READY) ## ruff, mypy, the direction of imports and the tests
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-cache --no-logo
	@pytest -n 2 --dist loadfile

.PHONY: test-all
test-all: $(READY) ## the tests that take long: stages killed twenty times and the like
	@pytest -n 2 --dist loadfile -m long

.PHONY: format
format: $(READY) ## sort imports and format the code
	@ruff check --fix .
	@ruff format .

.PHONY: dvc
dvc: $(READY) ## write the code that each stage imports into dvc.yaml
	@python tools/write_dvc_yaml.py

.PHONY: lock
lock: $(READY) ## renew requirements.lock from pyproject.toml
	@uv pip compile --quiet --universal --generate-hashes --no-header --upgrade --python-version 3.11 --extra dev \
		pyproject.toml --output-file requirements.lock

.PHONY: clean
clean: ## remove what the pipeline made, but not data/, mlflow.db and .venv
	@rm -rf build models .state dvc_plots
	@find reports -mindepth 1 ! -name .gitignore ! -name metrics.json -delete
