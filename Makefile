# Every target sets up what it needs: a virtual environment in .venv with the tested versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
STAMP := $(VENV)/.installed-$(EXTRAS)
PYTEST_ARGS ?= -n 2

.PHONY: demo serve test lint venv clean

demo: $(STAMP)
	$(BIN)/freelm demo

# The newest model that was trained here, else the untrained base.
SERVE_MODEL ?= $(or $(patsubst %/freelm.json,%,$(firstword $(shell ls -t runs/*/model/freelm.json runs/*/*/model/freelm.json 2>/dev/null | grep -v language_only))),base/smollm2-135m)
SERVE_ARGS ?=

serve: $(STAMP)
	$(BIN)/freelm serve --model $(SERVE_MODEL) $(SERVE_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
