# Everything runs in .venv, which is made on first use with the tested versions of constraints.txt.
#   make preprocess train evaluate report                                  the demo
#   make preprocess train evaluate report CONFIG=configs/ncaltech101.toml  a real data set

CONFIG ?= configs/demo.toml
PYTHON ?= python3
ARGS ?=
MINUTES ?= 60
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup preprocess train evaluate report test faults soak fuzz check docs bench gpu clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo "  CONFIG=$(CONFIG)   ARGS='--set train.epochs=5' adds options to preprocess, train, evaluate and report"

setup: $(READY)  ## make .venv and install the project with its tested versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[triton]' \
	  || echo "Triton could not be installed: the tests of its kernels will be skipped"
	@touch $@

preprocess: $(READY)  ## convert and pair the raw data of CONFIG (what is up to date is skipped)
	$(BIN)/dvs-transfer preprocess --config $(CONFIG) $(ARGS)

train: $(READY)  ## train the network of CONFIG; an interrupted run goes on
	$(BIN)/dvs-transfer train --config $(CONFIG) $(ARGS)

evaluate: $(READY)  ## measure the trained network on the test recordings
	$(BIN)/dvs-transfer evaluate --config $(CONFIG) $(ARGS)

report: $(READY)  ## look into the trained network and write its report, one HTML page
	$(BIN)/dvs-transfer analyse all --config $(CONFIG) $(ARGS)
	$(BIN)/dvs-transfer report --config $(CONFIG) $(ARGS)

test: $(READY)  ## run the tests, in two processes
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(ARGS)

faults: $(READY)  ## inject every fault of docs/reliability.md, and print how many were survived
	@rm -f build/faults.jsonl
	$(BIN)/python -m pytest tests/faults --long --timeout 7200 $(ARGS); code=$$?; \
	  $(BIN)/python tests/print_figures.py build/faults.jsonl && exit $$code

soak: $(READY)  ## preprocess, train and evaluate in a loop for MINUTES with random kills, and print what is left over
	$(BIN)/python tests/soak.py $(MINUTES)

fuzz: $(READY)  ## damage inputs of every parser for MINUTES (60); findings go to build/fuzz
	$(BIN)/python tests/fuzz.py --minutes $(or $(MINUTES),60) $(ARGS)

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build/types && ln -sfn ../.. build/types/dvs_transfer
	$(BIN)/mypy

docs: $(READY)  ## build the documentation site into build/site; a warning or a link that leads nowhere is an error
	$(BIN)/python docs/generated.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

gpu: $(READY)  ## what needs a CUDA device: its tests, then an epoch's time and memory
	$(BIN)/python -m pytest -m gpu $$(grep -rl 'mark\.gpu' tests --include='test_*.py') $(ARGS)
	$(BIN)/dvs-transfer bench train --device cuda --batch-size 120 --json train-cuda.json
	$(BIN)/dvs-transfer bench train --device cuda --batch-size 120 --precision bfloat16 --json train-cuda-bfloat16.json

bench: $(READY)  ## measure the frame kernels, the conversion and the readers against tonic
	$(BIN)/dvs-transfer bench frames $(ARGS)
	$(BIN)/dvs-transfer bench readers

clean:  ## remove what tools left; data, caches, runs and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
