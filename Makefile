# make demo    set up, then train, score and use the digits recogniser
# make test    set up with the test tools, then lint and run all tests
# make lint    only the linters and the type checker
# make sanitize   the tests of csrc/ once more, with bounds, lifetimes, undefined behaviour and races watched (g++)
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

.PHONY: demo test lint sanitize docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-demo
	$(BIN)/python recipes/digits/run.py

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/clang-format --dry-run --Werror $$(find csrc tests -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

# The extensions of another build, so the editable package must not be found: -S.
SANITIZED := build/sanitized
SANITIZERS = $$(gcc -print-file-name=libasan.so):$$(gcc -print-file-name=libstdc++.so)
SEARCH_SOURCES := $(filter-out %/bindings.cc,$(wildcard csrc/decoder/*.cc)) tests/decoder_threads.cc
sanitize: $(VENV)/.installed-test
	mkdir -p build
	for kind in thread address,undefined; do \
	  $(CXX) -std=c++17 -O1 -g -pthread -fsanitize=$$kind -fno-sanitize-recover=all -Icsrc/decoder $(SEARCH_SOURCES) \
	    -o build/decoder_threads && build/decoder_threads; \
	done
	CXXFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -g" CMAKE_ARGS="-DCMAKE_CUDA_COMPILER=NOTFOUND" \
	  $(PIP) -q --no-build-isolation --no-deps --upgrade --target $(SANITIZED) -Cbuild-dir=build/sanitize .
	LD_PRELOAD=$(SANITIZERS) ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0 OMP_NUM_THREADS=1 \
	  PYTHONPATH=$(SANITIZED):$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') \
	  $(BIN)/python -S $(BIN)/pytest tests/test_ctc.py tests/test_alignment.py tests/test_search.py tests/test_stream.py \
	  tests/test_lattice.py tests/test_phrases.py tests/test_implicit.py tests/test_graph_damage.py tests/test_dynamic.py \
	  tests/test_new_words.py tests/test_ctc_in_torch.py -k "not compiled and not operators and not processes and not allocates"

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
