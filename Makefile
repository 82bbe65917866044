# make demo    a segmented volume and its picture, from nothing, in minutes
# make segment the cases of DATA_ROOT segmented and drawn with the weights of pretrained/, in OUTPUT
# make test    the test suite, on TensorFlow, and the network's part on JAX and PyTorch without it
# make check   the tests, the format and the lint
# make bench   every stage timed, on the cases of DATA_ROOT, the file PATCHES, the network NETWORK
# make cross-validation
#              NUM_FOLDS networks by RECIPE in RUNS, and every case of DATA_ROOT segmented and scored by
#              the one that was not trained on it; started again, it goes on

PYTHON ?= python3
DATA_ROOT ?= data/brats
PATCHES ?= data/patches.h5
NETWORK ?= runs/default/best.keras
BIN := .venv/bin
# A file of tests keeps to one process, so that what its tests share is made once.
PARALLEL ?= --numprocesses 2 --dist loadfile

# Keeps TensorFlow from listing the machine's processor features before every command.
export TF_CPP_MIN_LOG_LEVEL ?= 2

# Small enough for two cores: 8 filters, 600 patches, and Adam in small batches.
DEMO_TRAINING := --base-filters 8 --epochs 3 --batch-size 2 --optimizer adam \
	--learning-rate 0.003 --schedule cosine --loss present-classes

.PHONY: demo segment cross-validation test test-tensorflow test-jax test-torch check format bench clean

demo: .venv/runtime
	rm -rf demo
	$(BIN)/python -m brats.phantom demo/cases --cases 6 --seed 0
	$(BIN)/python extract_patches.py --data-root demo/cases --output demo/patches.h5 \
		--patches-per-case 150 --validation-fraction 0.3
	$(BIN)/python train.py --patches demo/patches.h5 --run-dir demo/run $(DEMO_TRAINING)
	$(BIN)/python predict.py --data-root demo/cases --run-dir demo/run --output demo/predictions

OUTPUT ?= predictions
PRETRAINED := pretrained/resunet16-brats2021.keras

segment: .venv/runtime
	$(BIN)/python predict.py --weights $(PRETRAINED) --recipe tuned \
		--data-root $(DATA_ROOT) --output $(OUTPUT)

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
	rm -f $(FOLDS:=.h5)
	$(BIN)/python predict.py --run-dir $(FOLDS) --cross-validate \
		--data-root $(DATA_ROOT) --output $(RUNS)/predictions --recipe $(RECIPE) $(PREDICTION)

# The patches of a fold are there only while it is trained on: they are large.
.NOTPARALLEL:
$(RUNS)/fold%-of-$(NUM_FOLDS).finished: | .venv/runtime
	$(BIN)/python extract_patches.py --data-root $(DATA_ROOT) --output $(RUNS)/fold$*.h5 \
		--num-folds $(NUM_FOLDS) --fold $* --resume --recipe $(RECIPE) $(EXTRACTION)
	$(BIN)/python train.py --patches $(RUNS)/fold$*.h5 --run-dir $(RUNS)/fold$* \
		$(if $(wildcard $(RUNS)/fold$*/config.json),--resume,$(WEIGHTS:%=--weights %)) \
		--recipe $(RECIPE) $(TRAINING)
	touch $@
	rm $(RUNS)/fold$*.h5

# XLA compiles for the tests without LLVM's optimizations, which cost more time than they save.
TESTING := XLA_FLAGS="$$XLA_FLAGS --xla_backend_optimization_level=0"

test: test-tensorflow test-jax test-torch

test-tensorflow: .venv/development
	$(TESTING) $(BIN)/python -m pytest $(PARALLEL)

# What runs on Keras, in an environment without TensorFlow.
OTHERS := .venv-jax-torch
KERAS_TESTS := $(addprefix tests/test_,model.py losses.py weights.py theano.py schedules.py background.py \
	devices.py distribution.py state.py training.py inference.py segmenting.py networks.py \
	backends.py killed_training.py)

test-jax: $(OTHERS)/development
	KERAS_BACKEND=jax $(TESTING) \
		$(OTHERS)/bin/python -m pytest $(PARALLEL) $(KERAS_TESTS) tests/test_hosts.py

test-torch: $(OTHERS)/development
	KERAS_BACKEND=torch $(OTHERS)/bin/python -m pytest $(PARALLEL) $(KERAS_TESTS)

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(MAKE) test

format: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/development
	$(BIN)/python benchmarks/extraction.py --data-root $(DATA_ROOT)
	$(BIN)/python benchmarks/reading.py --patches $(PATCHES)
	$(BIN)/python benchmarks/training_step.py --patches $(PATCHES)
	$(BIN)/python benchmarks/prediction.py --network $(NETWORK) --data-root $(DATA_ROOT)
	$(BIN)/python benchmarks/scores.py --data-root $(DATA_ROOT)
	$(BIN)/python benchmarks/cluster.py --data-root $(DATA_ROOT) --network $(NETWORK)

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
