# Every target sets up what it needs: a virtual environment in .venv with the tested versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
USER_INSTALL := $(VENV)/.installed
DEV_INSTALL := $(VENV)/.installed-dev
PYTEST_ARGS ?= -n 2

.PHONY: demo serve test lint venv clean

demo: $(USER_INSTALL)
	$(BIN)/freelm demo

# The release if it is here, else the newest model that was trained here, else the untrained base.
RELEASE := freelm-135m
SERVE_MODEL ?= $(or $(if $(wildcard src/freelm/releases/$(RELEASE)/freelm.json),$(RELEASE)),$(patsubst %/freelm.json,%,$(firstword $(shell ls -t runs/*/model/freelm.json runs/*/*/model/freelm.json 2>/dev/null | grep -v language_only))),base/smollm2-135m)
SERVE_ARGS ?=

serve: $(USER_INSTALL)
	$(BIN)/freelm serve $(SERVE_MODEL) $(SERVE_ARGS)

test: $(DEV_INSTALL)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(DEV_INSTALL)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(DEV_INSTALL)

$(USER_INSTALL): EXTRAS := serve,train
$(DEV_INSTALL): EXTRAS := dev
$(USER_INSTALL) $(DEV_INSTALL): pyproject.toml constraints.txt
	@echo "installing the tested versions into $(VENV); this takes a few minutes"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
