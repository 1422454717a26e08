# make demo       install, then train, score and use the digits recogniser
# make demo-english  transcribe AUDIO=FILE with open English vocabulary; everything is fetched by pip
# make serve      the digits recogniser as a service on this machine; SERVE="port=9000" sets options
# make test       install with the test tools, then lint and run all tests
# make lint       only the linters and the type checker
# make gpu-test   everything that needs a CUDA GPU, in at most 8 minutes; the log goes to build/gpu-test.log
# make ray-test   bulk transcription and counting on a real Ray of this machine, with a worker that is killed
# make s3-test    recordings, results and shards in a server of S3 (moto) on this machine, which is killed and asked again
# make fuzz       10^6 inputs for each reader of files, resumable; FUZZ="bundle arpa inputs=10000" chooses
# make wheels     wheels for each PYTHONS (3.10 to 3.13), each installed and tried; the log goes to build/wheels/wheels.log
# make sanitize   the tests of csrc/ under the address, undefined-behaviour and thread sanitizers (g++)
# make docs       the pages of docs/ as a site in build/docs
# make bench      the benchmarks that run without arguments; each prints a table and writes benchmarks/results/NAME.json
#
# Required: python3 >= 3.10 with venv, make, a C++17 compiler. pip brings cmake and ninja for the build.
# PyPI's torch for Linux includes CUDA (gigabytes). The CPU build is much smaller:
#   make demo TORCH="torch torchaudio --index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.14.1 torchaudio==2.11.0

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# Benchmarks with arguments, and word_clips and word_scores, modules of word_mode.
BENCH_BY_HAND := ablation align bulk chain conditions confidence_features design_table dynamic_graph fillers k2_lfmmi \
  k2_peer kaldi_graph korean_pronunciation korean_words lm lm_scores million_words minutes noise noise_words per_request \
  phrase_safety phrases ptxas punctuation ray_bulk real_search repeated_shapes rescoring serve serve_faults serve_load \
  serve_peers shards silence slots spoken_korean throughput token_search whisper_peer word_mode word_clips word_dev \
  word_peers word_scores
BUILD_INPUTS := pyproject.toml CMakeLists.txt $(shell find csrc -type f)

.PHONY: demo demo-english serve test lint gpu-test ray-test s3-test wheels sanitize fuzz docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed-demo
	$(BIN)/python -m recipes.run digits

# Without AUDIO: a sentence of LibriSpeech, if its folder is found.
AUDIO ?= $(firstword $(wildcard $(addsuffix /libri_en/audio/27/*-0000.ogg,$(ASR_DATA) ../shared/data)))
demo-english: $(VENV)/.installed-demo,pretrained
	@test -n "$(AUDIO)" || { echo "make demo-english: name a recording with AUDIO=FILE" >&2; exit 2; }
	@test -e exp/english_demo/model.asr || $(BIN)/python -m recipes.run english_import experiment=english_demo
	$(BIN)/asr transcribe exp/english_demo/model.asr "$(AUDIO)"

serve: $(VENV)/.installed-demo,serve
	@test -e exp/digits/model.asr || $(BIN)/python -m recipes.run digits
	$(BIN)/asr serve exp/digits/model.asr serve.keep_text=true $(SERVE)

# pip compiles none of the 19,000 modules that it installs: Python compiles those that the tests import.
test: export PIP_COMPILE := 0
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Python without the editable package, whose search path for asr includes the root of the checkout, because of conf/.
# lint-imports would read docs/ in a checkout called `fast` as `ast.docs`, and fail.
UNEDITABLE = PYTHONPATH=$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') $(BIN)/python -S
lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(UNEDITABLE) $(BIN)/lint-imports --no-cache
	$(BIN)/clang-format --dry-run --Werror $$(find csrc tests -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

gpu-test: $(VENV)/.installed-test
	PYTHONPATH=tests $(BIN)/python -m gpu build/gpu-test.log

ray-test: $(VENV)/.installed-test,ray
	$(BIN)/python -m pytest tests/test_ray.py

# Not moto[server], whose antlr4 is newer than hydra's.
s3-test: $(VENV)/.installed-test,remote
	$(BIN)/python -m pip install 'moto[s3]>=5' flask flask-cors
	$(BIN)/python -m pytest tests/test_s3.py

# The C++ readers also need clang++ with libFuzzer: CXX_FUZZ=clang++-16
fuzz: $(VENV)/.installed-test,fuzz
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz $(FUZZ)

wheels:
	TORCH="$(TORCH)" .ci/wheels

# Sanitized extensions come from a separate build; -S hides the editable package.
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
	  $(BIN)/python -S $(BIN)/pytest tests/test_ctc.py tests/test_acceptor.py tests/test_lfmmi.py tests/test_hmm_lattice_free.py tests/test_alignment.py tests/test_search.py tests/test_stream.py \
	  tests/test_lattice.py tests/test_phrases.py tests/test_implicit.py tests/test_graph_damage.py tests/test_dynamic.py \
	  tests/test_epsilon.py tests/test_blank_skip.py tests/test_new_words.py tests/test_ctc_in_torch.py tests/test_fuzz.py \
	  -k "not compiled and not operators and not processes and not allocates"

docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-test,bench
	@failed=; for script in $(filter-out $(BENCH_BY_HAND:%=benchmarks/%.py),$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script" || failed="$$failed $$script"; \
	done; \
	echo "not run, since each needs a file, a model or a program that its first lines name: $(BENCH_BY_HAND)"; \
	test -z "$$failed" || { echo "make bench: failed:$$failed" >&2; exit 1; }

# The virtual environment with torch, which rarely changes and takes longest to install.
$(VENV)/.torch:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH)
	touch $@

# The editable package with the extras in the target's name; its extensions are built from csrc/. For tests, the tools
# that build them come first and stay, so that a test can build a wheel from the same objects.
FOR_TESTS = $(findstring test,$*)
BUILD_TOOLS := "scikit-build-core>=0.11" "nanobind>=2.4" cmake ninja
$(VENV)/.installed-%: $(VENV)/.torch $(BUILD_INPUTS)
	@echo "installing asr[$*] and building its extensions (a minute or two)"
	$(if $(FOR_TESTS),$(PIP) $(BUILD_TOOLS))
	$(if $(FOR_TESTS),SKBUILD_CMAKE_DEFINE=ASR_WERROR=ON )$(PIP) $(if $(FOR_TESTS),--no-build-isolation )-e ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) build dist
