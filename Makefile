# The only entry: `make help` says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
TFLITE_VENV := .venv-tflite
TFLITE_STAMP := $(TFLITE_VENV)/.synced
KERAS2 := .build/tf_keras
KERAS2_STAMP := $(KERAS2)/.synced
CODEGEN_VENV := .venv-codegen
CODEGEN_STAMP := $(CODEGEN_VENV)/.synced
BUF_VERSION := 1.75.0
BUF := .build/buf/node_modules/.bin/buf
WIRE := proto/holter.v1.txtpb
MODELS := ecg-rhythm senet-lstm
PYTEST := $(BIN)/python -m pytest
SOURCES := proto/src/holter/*.py proto/generate.py device/src host/src

.DEFAULT_GOAL := help
.PHONY: help sync demo test test-long test-hardware check format proto bench zoo wheels models models-figures clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

sync: $(STAMP) ## Make .venv with the three distributions and the tools

$(STAMP): constraints/main.txt constraints/tools.txt proto/pyproject.toml device/pyproject.toml host/pyproject.toml
	@echo "setting up $(VENV) (a few minutes the first time: TensorFlow is large)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Holter needs Python 3.11 or later; name one with: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints/main.txt \
	  -e proto -e 'device[gpio,litert,replay,signing]' -e 'host[cluster,convert,evaluate]' -r constraints/tools.txt
	@touch $@

$(TFLITE_STAMP): constraints/tflite.txt proto/pyproject.toml device/pyproject.toml
	@echo "setting up $(TFLITE_VENV) (tflite-runtime 2.14 with numpy 1.26)"
	@test -x $(TFLITE_VENV)/bin/python || $(BIN)/python -m venv $(TFLITE_VENV)
	@$(TFLITE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints/tflite.txt -e proto -e 'device[tflite]'
	@touch $@

# Keras 2 for the tests alone, beside TensorFlow and not into it: it asks for the other package of it.
$(KERAS2_STAMP): $(STAMP) constraints/keras2.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
	  --target $(KERAS2) -r constraints/keras2.txt
	@touch $@

$(CODEGEN_STAMP): constraints/codegen.txt
	@test -x $(CODEGEN_VENV)/bin/python || $(PYTHON) -m venv $(CODEGEN_VENV)
	@$(CODEGEN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -r constraints/codegen.txt
	@touch $@

$(BUF):
	@npm install --silent --no-fund --no-audit --prefix .build/buf @bufbuild/buf@$(BUF_VERSION)

# tflite-runtime 2.14 exists for Python 3.11 only; elsewhere its tests skip and say why.
TFLITE_READY = $(shell $(BIN)/python -c 'import sys; print(sys.version_info[:2] == (3, 11) or "")' 2>/dev/null)

demo: $(STAMP) ## Convert a SavedModel, deploy it to a simulated device, classify its ECG
	@$(BIN)/python examples/demo.py models/ecg-rhythm/saved_model

test: $(STAMP) $(KERAS2_STAMP) ## Set up and run the tests
	@if [ -n "$(TFLITE_READY)" ]; then $(MAKE) --no-print-directory $(TFLITE_STAMP); fi
	@$(PYTEST) -m "not long and not hardware"

test-long: $(STAMP) $(KERAS2_STAMP) ## Run the full-size tests too
	@if [ -n "$(TFLITE_READY)" ]; then $(MAKE) --no-print-directory $(TFLITE_STAMP); fi
	@$(PYTEST) -m "not hardware"

test-hardware: $(STAMP) ## On a Raspberry Pi with a PCF8591: test the real bus
	@$(PYTEST) -m hardware -v tests/hardware

check: $(STAMP) $(CODEGEN_STAMP) ## Lint, types, and whether what is generated matches
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(SOURCES)
	@$(CODEGEN_VENV)/bin/python proto/generate.py --check
	@if command -v npm >/dev/null; then $(MAKE) -s $(BUF) && \
	  $(BUF) lint proto && $(BUF) format --diff --exit-code proto && \
	  $(BUF) breaking proto --against $(WIRE); \
	  else echo "no npm here: buf lint and buf breaking are left to CI"; fi

format: $(STAMP) ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The wire only grows: $(WIRE) is what clients speak. Delete it first to break them on purpose.
proto: $(CODEGEN_STAMP) ## Generate the stubs from proto/holter/v1
	@if [ -f $(WIRE) ] && command -v npm >/dev/null; then \
	  $(MAKE) -s $(BUF) && $(BUF) breaking proto --against $(WIRE); fi
	@$(CODEGEN_VENV)/bin/python proto/generate.py

bench: $(STAMP) ## Run all benchmarks; one JSON line each
	@for file in bench/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

zoo: $(STAMP) $(KERAS2_STAMP) ## Convert a zoo of architectures and run it in both runtimes
	@if [ -n "$(TFLITE_READY)" ]; then $(MAKE) --no-print-directory $(TFLITE_STAMP); fi
	@$(BIN)/python tests/zoo.py

wheels: $(STAMP) ## Build the three wheels into .build/wheels
	@rm -rf */build
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  -w .build/wheels ./proto ./device ./host
	@ls .build/wheels

models: $(STAMP) ## Train the reference models again (needs the MIT-BIH records)
	@for model in $(MODELS); do $(BIN)/python models/train.py $$model || exit 1; done

models-figures: $(STAMP) ## Cross-validate them too: every figure of their cards (about an hour)
	@for model in $(MODELS); do \
	  $(BIN)/python models/train.py $$model --cross-validate || exit 1; done

clean: ## Remove everything that is made
	rm -rf .venv .venv-tflite .venv-codegen .build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis */build */src/*.egg-info
