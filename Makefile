# The same verbs on a laptop and in CI: check, test, bench; `demo` for a first look.
# Everything goes into this folder: .venv and build (about 2 GB, most of it PyTorch); nothing outside it is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
READY := $(VENV)/.ready
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)

.PHONY: setup demo test test-slow test-arm test-sanitize fuzz check bench clean

setup: $(READY)

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "netsuke needs Python 3.11 or newer; say which one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Without build isolation the CMake cache stays valid, so a changed C++ file compiles alone.
$(READY): $(VENV)/pyvenv.cfg $(SOURCES)
	@echo "Installing dependencies and compiling the engine into $(VENV) (some minutes the first time)"
	$(PIP) scikit-build-core nanobind cmake ninja
	$(PIP) --no-build-isolation -e '.[train,bench,dev]'
	@touch $@

demo: setup
	$(BIN)/netsuke demo

test: setup
	$(BIN)/python -m pytest -m "not slow" -n 2

test-slow: setup
	$(BIN)/python -m pytest -m slow

# kernel_check built for other machines and run under qemu (Debian: g++-aarch64-linux-gnu and qemu-user), with AMX tiles
# emulated, or with the compiler's sanitizers.
APART := build/apart
CONFIGURE := $(BIN)/cmake -S . -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) -DPython_EXECUTABLE=$(abspath $(BIN)/python)
ARM := -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
       -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
TEST_APART := NETSUKE_APART=$(abspath $(APART)) $(BIN)/python -m pytest tests/engine/test_apart.py

test-arm: setup
	$(CONFIGURE) -B $(APART)/x86_64 -DCMAKE_EXE_LINKER_FLAGS=-static
	$(CONFIGURE) -B $(APART)/aarch64 -DCMAKE_EXE_LINKER_FLAGS=-static $(ARM)
	$(CONFIGURE) -B $(APART)/tiles -DNETSUKE_EMULATE_TILES=ON
	$(BIN)/cmake --build $(APART)/x86_64 --target kernel_check
	$(BIN)/cmake --build $(APART)/aarch64 --target kernel_check
	$(BIN)/cmake --build $(APART)/tiles --target kernel_check
	$(TEST_APART) -k "x86 or aarch64 or tiles"

test-sanitize: setup
	$(CONFIGURE) -B $(APART)/sanitized -DNETSUKE_SANITIZE=ON
	$(BIN)/cmake --build $(APART)/sanitized --target kernel_check
	$(TEST_APART) -k "sanitized or damaged"

# Coverage-guided fuzzing of the decoder and the file's reader, with Debian's clang and libclang-rt-14-dev.
FUZZ_SECONDS := 300
READER := $(wildcard csrc/code/*.cc) csrc/base/thread_pool.cc \
          $(addprefix csrc/graph/,container.cc expand.cc graph.cc inflate.cc json.cc sha256.cc)

fuzz: setup
	mkdir -p $(APART)/found
	clang++ -std=c++20 -O2 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icsrc csrc/fuzz.cc $(READER) -o $(APART)/fuzz
	$(BIN)/python tests/fuzz_corpus.py $(APART)/corpus
	$(APART)/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -rss_limit_mb=4096 -artifact_prefix=$(APART)/ $(APART)/found $(APART)/corpus

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	bash csrc/check_symbols.sh build

bench: setup
	$(BIN)/python -m benchmarks.suite

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f src/netsuke/engine/_native*.so
