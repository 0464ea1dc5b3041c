# Everything runs from .venv; `make setup` builds it and does nothing when it is up to date.
# PYTHON=python3.12 make setup        another interpreter (3.10 or newer)
# TORCH_INDEX=ADDRESS make setup      take torch from another package index, such as torch's own for CPU-only builds
# TRAIN_CONFIG=FILE make nano         train by another file
# TEST_PROCESSES=8 make test          test files at once; 2 otherwise

PYTHON ?= python3
TORCH_INDEX ?=
BIN := .venv/bin
STAMP := .venv/.diffst-setup
TEST_PROCESSES ?= 2
TRAIN_CONFIG ?= models/diffst/training/nano.toml

.PHONY: help setup demo test test-slow lint format reference wheel nano nano-sharp hashes clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make .venv with diffst in it, editable

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "error: $(PYTHON) is older than Python 3.10; hint: PYTHON=python3.12 make setup" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { echo "error: $(PYTHON) cannot make a virtual environment; hint: install its venv module" >&2; exit 1; }
	@test -z "$(TORCH_INDEX)" || $(BIN)/python -m pip install -q -c requirements.lock --index-url "$(TORCH_INDEX)" torch
	@echo "installing diffst into .venv (the first time this downloads torch and takes minutes)"
	@$(BIN)/python -m pip install -q -c requirements.lock -e ".[dev]"
	@touch $@

demo: setup  ## upscale the sample clip; says where the result and a before/after picture are
	@mkdir -p build/demo
	$(BIN)/diffst upscale examples/bee.mp4 build/demo/bee.mp4 --scale 4 --fps-x 2 --overwrite
	@$(BIN)/python examples/before_after.py examples/bee.mp4 build/demo/bee.mp4 build/demo/before_after.png
	@printf '%s\n' "" "before:  $(CURDIR)/examples/bee.mp4" "after:   $(CURDIR)/build/demo/bee.mp4" \
		"picture: $(CURDIR)/build/demo/before_after.png"

lint: setup  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

test: lint  ## ruff, mypy and the quick tests
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile

test-slow: setup  ## the tests marked slow
	$(BIN)/python -m pytest -q -m slow

format: setup  ## let ruff format the tree
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

reference: setup  ## write docs/reference.md again from the command line's own help
	$(BIN)/python docs/make_reference.py

wheel: setup  ## build the wheel into dist/
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel -q --no-deps --wheel-dir dist .

nano: setup  ## train the embedded model again (needs data; see docs/guide.md)
	$(BIN)/diffst train $(TRAIN_CONFIG)

nano-sharp: setup  ## make the sharper variant of the embedded model out of it
	$(BIN)/python -m diffst.training.sharpen

hashes: setup  ## put the hashes of the embedded models' files on record, after they changed
	@$(BIN)/python -c "from diffst.upscaler import list_models; \
		print(*(f'{card.sha256}  {card.name}' for card in list_models()), sep='\n')" > models/diffst/weights/SHA256SUMS

clean:  ## remove what the other targets made
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
