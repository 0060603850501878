# Two commands: `make demo` and `make test`. Each sets up what it needs in .venv, with pinned versions.
#
# TORCH_INDEX: package index to take torch from, for a CPU wheel in place of the default (CUDA) one;
#   PyTorch's installation page names it. Empty: torch comes from where everything else comes from.
# PYTHON: the interpreter (3.11 or later) that makes .venv.
PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
DEMO_DIR ?= demo

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_INSTALL := $(PIP) install --quiet --constraint constraints.txt
CORE := $(VENV)/.core-installed
DEV := $(VENV)/.dev-installed

.PHONY: demo test test-slow check format docs map wheel clean

demo: $(CORE)
	$(BIN)/exastorm demo --out $(DEMO_DIR)

test: $(DEV)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(DEV)
	$(BIN)/python -m pytest -m slow --timeout 1800

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell src tests docs bench README.md Makefile

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DEV)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

map: $(DEV)
	$(BIN)/python docs/readme_map.py --write

# The built wheel, in a fresh environment, must import every module.
wheel: $(DEV)
	rm -rf dist build/wheel-env
	$(BIN)/python -m build --quiet --wheel
	$(PYTHON) -m venv build/wheel-env
	$(if $(TORCH_INDEX),build/wheel-env/bin/pip install -q -c constraints.txt --index-url $(TORCH_INDEX) torch)
	build/wheel-env/bin/pip install --quiet --disable-pip-version-check -c constraints.txt dist/*.whl
	cd build && wheel-env/bin/python ../bench/import_all.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip

$(CORE): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(if $(TORCH_INDEX),$(PIP_INSTALL) --index-url $(TORCH_INDEX) torch)
	$(PIP_INSTALL) --editable .
	touch $@

$(DEV): $(CORE)
	$(PIP_INSTALL) --editable ".[test,check,grib,docs]" build
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build $(DEMO_DIR)
