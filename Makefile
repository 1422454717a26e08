# make demo    set up, then train, score and use the digits recogniser
# make test    set up with the test tools, then lint and run all tests
# make lint    only the linters and the type checker
# make docs    the pages of docs/ as a site in build/docs
# make bench   the benchmarks; each prints a table and writes benchmarks/results/NAME.json
#
# Needed: python3 >= 3.10 with venv, make, a C++17 compiler. cmake and ninja come by pip with the build.
# PyPI's torch for Linux carries CUDA (gigabytes). The CPU build is much smaller:
#   make demo TORCH="torch torchaudio --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.14.1 torchaudio==2.11.0

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
BUILD_INPUTS := pyproject.toml CMakeLists.txt $(shell find csrc -type f)

.PHONY: demo test lint docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-demo
	$(BIN)/python recipes/digits/run.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(find csrc -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-test,bench
	for script in benchmarks/*.py; do $(BIN)/python "$$script"; done

# The virtual environment with torch, which changes rarely and takes longest.
$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

# The package, editable, with the extras that the name says and its extensions built from csrc/.
$(VENV)/.installed-%: $(VENV)/.torch $(BUILD_INPUTS)
	@echo "installing asr[$*] and building its extensions (a minute or two)"
	$(if $(findstring test,$*),SKBUILD_CMAKE_DEFINE=ASR_WERROR=ON )$(PIP) -e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) build dist
