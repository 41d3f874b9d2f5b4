# Everything a newcomer needs: `make demo`, `make test`. Each target sets up .venv first, once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# An editable install compiles once: what the extension is made of makes it anew.
NATIVE := CMakeLists.txt $(wildcard cpp/*/*.cpp cpp/*/*.hpp cpp/*/*/*.hpp)

# In continuous integration the C++ compiler's warnings are errors.
ifdef CI
export SKBUILD_CMAKE_DEFINE := NEURALINV_WARNINGS_AS_ERRORS=ON
endif

.PHONY: demo test lint format test-slow test-cpp clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml constraints.txt $(NATIVE)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neuralinv needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)  ## train a 3×3 network for 90 s, invert a file with it, write runs/demo/report.html
	$(BIN)/neuralinv demo --out runs/demo --budget 90s --overwrite

test: lint  ## lint, type check and the tests, on up to four cores
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)  ## let ruff put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-slow: $(STAMP)  ## the longer checks: trainings, whole-file runs, the examples in full
	$(BIN)/python -m pytest -m slow

test-cpp:  ## the C++ tests; make test-cpp SANITIZER=thread (address, undefined)
	cmake -S . -B build/tests$(SANITIZER) -DNEURALINV_TESTS=ON -DNEURALINV_WARNINGS_AS_ERRORS=ON -DNEURALINV_SANITIZER=$(SANITIZER)
	cmake --build build/tests$(SANITIZER) --parallel
	ctest --test-dir build/tests$(SANITIZER) --output-on-failure

clean:  ## remove the environment, caches and runs
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache
