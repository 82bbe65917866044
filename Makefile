# make help     prints this list
# make demo     a segmented volume and its picture, from nothing, in minutes
# make segment  segments and draws the cases of DATA_ROOT with the shipped weights, into OUTPUT;
#               ARGS has further flags of predict.py
# make test     the core tests, on TensorFlow
# make test-all all tests: also JAX, PyTorch, several hosts, clusters, kills, the browser, benchmarks
# make check    the format, the lint, and the core tests
# make bench    times every stage on the cases of DATA_ROOT, the PATCHES, and the network NETWORK
# make cross-validation
#               trains NUM_FOLDS networks by RECIPE in RUNS, then segments and scores every case of
#               DATA_ROOT with the network that was not trained on it; run it again to continue

PYTHON ?= python3
DATA_ROOT ?= data/brats
PATCHES ?= data/patches
NETWORK ?= runs/default/best.keras
BIN := .venv/bin
# A file of tests stays in one process, so that what its tests share is made once.
PARALLEL ?= --numprocesses 2 --dist loadfile

# Small enough for two cores: 8 filters, 600 patches, and Adam in small batches.
DEMO_TRAINING := --base-filters 8 --epochs 3 --batch-size 2 --optimizer adam \
	--learning-rate 0.003 --schedule cosine --loss present-classes --validation-fraction 0.3

.PHONY: help demo segment cross-validation test test-all test-backends check format bench clean

help:
	@sed -n 's/^# \{0,1\}//p; /^$$/q' Makefile

demo: .venv/runtime
	rm -rf demo
	$(BIN)/python -m brats.phantom demo/cases --cases 6 --seed 0
	$(BIN)/python extract_patches.py --data-root demo/cases --output demo/patches \
		--patches-per-case 150
	$(BIN)/python train.py --patches demo/patches --run-dir demo/run $(DEMO_TRAINING)
	$(BIN)/python predict.py --data-root demo/cases --run-dir demo/run --output demo/predictions

OUTPUT ?= predictions
PRETRAINED := pretrained/resunet16-brats2021.keras

segment: .venv/runtime
	$(BIN)/python predict.py --weights $(PRETRAINED) --recipe tuned \
		--data-root "$(DATA_ROOT)" --output "$(OUTPUT)" $(ARGS)

NUM_FOLDS ?= 4
RECIPE ?= published
RUNS ?= runs/cross-validation-$(RECIPE)
# A file of weights that every fold starts from, and further flags of the three commands.
WEIGHTS ?=
EXTRACTION ?=
TRAINING ?=
PREDICTION ?=
FOLDS := $(addprefix $(RUNS)/fold,$(shell seq 0 $$(($(NUM_FOLDS) - 1))))

cross-validation: $(FOLDS:=-of-$(NUM_FOLDS).finished)
	$(BIN)/python predict.py --run-dir $(FOLDS) --cross-validate \
		--data-root "$(DATA_ROOT)" --output $(RUNS)/predictions --recipe $(RECIPE) $(PREDICTION)

.PHONY: $(RUNS)/patches
# Extracts what is missing; the folds share the patches.
$(RUNS)/patches: | .venv/runtime
	$(BIN)/python extract_patches.py --data-root "$(DATA_ROOT)" --output $@ \
		--recipe $(RECIPE) $(EXTRACTION) \
		|| { echo "Folds are trained when all cases are extracted. Repair or remove the others," \
		"and run make cross-validation again." >&2; exit 1; }

.NOTPARALLEL:
$(RUNS)/fold%-of-$(NUM_FOLDS).finished: | $(RUNS)/patches
	$(BIN)/python train.py --patches $(RUNS)/patches --run-dir $(RUNS)/fold$* \
		--num-folds $(NUM_FOLDS) --fold $* \
		$(if $(wildcard $(RUNS)/fold$*/config.json),--resume,$(WEIGHTS:%=--weights %)) \
		--recipe $(RECIPE) $(TRAINING)
	touch $@

# XLA compiles for the tests without LLVM's optimizations, which cost more time than they save.
TESTING := XLA_FLAGS="$$XLA_FLAGS --xla_backend_optimization_level=0"
OTHERS := .venv-jax-torch
# What runs on Keras, in an environment without TensorFlow.
ON_KERAS := tests/test_model.py tests/test_losses.py tests/networks tests/runs tests/training \
	tests/devices tests/prediction

test: .venv/development
	$(TESTING) $(BIN)/python -m pytest $(PARALLEL)

test-all: .venv/development $(OTHERS)/development
	$(TESTING) $(BIN)/python -m pytest $(PARALLEL) -m ""
	KERAS_BACKEND=jax $(TESTING) $(OTHERS)/bin/python -m pytest $(PARALLEL) -m "" $(ON_KERAS)
	KERAS_BACKEND=torch $(OTHERS)/bin/python -m pytest $(PARALLEL) -m "" $(ON_KERAS)

# The network and the loss on the other backends, as CI runs them.
test-backends: $(OTHERS)/development
	KERAS_BACKEND=jax $(TESTING) $(OTHERS)/bin/python -m pytest tests/test_model.py tests/test_losses.py
	KERAS_BACKEND=torch $(OTHERS)/bin/python -m pytest tests/test_model.py tests/test_losses.py

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) test

format: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/development
	$(BIN)/python -m benchmarks.extraction --data-root "$(DATA_ROOT)"
	$(BIN)/python -m benchmarks.reading --patches $(PATCHES)
	$(BIN)/python -m benchmarks.network --patches $(PATCHES)
	$(BIN)/python -m benchmarks.prediction --network $(NETWORK) --data-root "$(DATA_ROOT)"
	$(BIN)/python -m benchmarks.scores --data-root "$(DATA_ROOT)"

clean:
	rm -rf .venv $(OTHERS) demo

.venv/runtime: requirements.txt requirements/common.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.venv/development: .venv/runtime $(wildcard requirements/*.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--requirement requirements/dev.txt
	touch $@

$(OTHERS)/development: $(wildcard requirements/*.txt)
	$(PYTHON) -m venv $(OTHERS)
	$(OTHERS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement requirements/jax.txt --requirement requirements/torch.txt \
		$(shell grep -E '^(hypothesis|pytest)' requirements/dev.txt)
	touch $@
