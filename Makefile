# Four verbs, the same on a laptop and in CI: check, test, bench, and `demo` for a first look.
# Everything is installed into .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
READY := $(VENV)/.ready
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)

.PHONY: setup demo test test-slow test-arm check bench clean

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

# Instruction sets this machine lacks, under qemu. Needs g++-aarch64-linux-gnu and qemu-user (Debian's names).
EMULATED := build/emulated
CROSS := -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
         -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++
test-arm: setup
	$(BIN)/cmake -S . -B $(EMULATED)/x86_64 -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  -DPython_EXECUTABLE=$(abspath $(BIN)/python) -DCMAKE_EXE_LINKER_FLAGS=-static
	$(BIN)/cmake -S . -B $(EMULATED)/aarch64 -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	  $(CROSS) -DCMAKE_EXE_LINKER_FLAGS=-static
	$(BIN)/cmake --build $(EMULATED)/x86_64 --target kernel_check
	$(BIN)/cmake --build $(EMULATED)/aarch64 --target kernel_check
	NETSUKE_EMULATED=$(abspath $(EMULATED)) $(BIN)/python -m pytest tests/engine/test_emulated.py

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	bash csrc/check_symbols.sh build

bench: setup
	$(BIN)/python benchmarks/published_adabin.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f src/netsuke/engine/_native*.so
