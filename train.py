"""Trains the residual U-Net on a patch file, or on several as one set.

In: the patch files --patches. Out: the run folder --run-dir with config.json, history.csv,
curves.png, best.keras (lowest validation loss), last.keras, state/ (for --resume) and, if asked, a
log for TensorBoard.

    python train.py --patches data/patches.h5 --run-dir runs/default
"""

import functools
import sys
import time
from pathlib import Path

from tqdm import tqdm

from brats.errors import InputError, deferring_interruption, end_with_code
from brats.locks import owning
from brats.metrics import REGIONS
from brats.patch_file import SPLITS
from brats.patch_reader import PatchReader, join_readers
from brats.patch_set import read_set_settings
from brats.patches import PATCH_SIZE
from brats.provenance import header
from brats.schemes import CLASSES, MODALITIES
from config import TrainConfig, parse, to_dict
from engine import runs
from engine.dataset import steps_per_epoch
from engine.devices import describe_software, prepare_training, training_compilation
from engine.logs import TrainingLog, check_tensorboard
from engine.schedules import build_optimizer, build_schedule
from engine.state import STATE, Progress, StateWriter
from engine.training import describe_epoch, train_epoch, validate
from engine.weights import load_weights
from losses import ClassImbalanceLoss, SoftDice
from model import build_resunet


def main(argv=None):
    """Runs the training with the given command line arguments."""
    config = parse(TrainConfig, argv, __doc__)
    if config.tensorboard:
        check_tensorboard()
    prepare_training(config.seed, config.mixed_precision, config.deterministic)
    extraction = read_set_settings(config.patches)
    readers = {
        split: join_readers([PatchReader(path, split) for path in config.patches])
        for split in SPLITS
    }
    steps = steps_per_epoch(len(readers["train"]), config.batch_size, config.steps_per_epoch)
    runs.check_may_start(config.run_dir, to_dict(config), extraction)
    model = build_compiled(config, steps)
    if not config.resume:
        runs.make_folders(config.run_dir, config.tensorboard)
    with owning(config.run_dir, STATE):
        # Again: another process may have made it a run meanwhile.
        runs.check_may_start(config.run_dir, to_dict(config), extraction)
        train(config, extraction, readers, steps, model)


def train(config, extraction, readers, steps, model):
    """Begins a run, or goes on with one, to its last epoch."""
    record = {
        "settings": to_dict(config),
        "extraction": extraction,
        "num_parameters": model.count_params(),
        **describe_software(),
    }
    progress = Progress()
    if config.resume:
        warnings = runs.backend_warnings(config.run_dir, record["device"])
        progress, more = runs.resume(config.run_dir, model)
        for warning in warnings + more:
            print(f"Warning: {warning}", file=sys.stderr)
    print_header(record, readers, steps, progress)
    with deferring_interruption() as is_interrupted:
        states = StateWriter(config.run_dir, model, config.state_every, is_interrupted)
        if config.resume:
            runs.add_to_record(config.run_dir, len(progress.history), progress.step, record)
        else:
            runs.clear(config.run_dir)
            states.write(progress)
            runs.write_record(config.run_dir, record)
        log = None
        if config.tensorboard:
            log = TrainingLog(config.run_dir, progress, steps, model, readers["validation"])
        while len(progress.history) < config.epochs:
            row = run_epoch(config, model, readers, steps, progress, states, log)
            progress = Progress(history=[*progress.history, row])
            # Before the files that follow from it, which a resumed run writes again.
            states.write(progress)
            start = time.perf_counter()
            runs.write_epoch(config.run_dir, model, progress.history)
            saving_s = time.perf_counter() - start + states.lap()
            print(describe_epoch(row, config.epochs, saving_s), flush=True)
    best = Path(config.run_dir) / runs.BEST
    print(f"Finished {len(progress.history)} epochs; the best network is {best}")


def build_compiled(config, steps):
    """Builds the network with its weights, loss, metrics and optimizer."""
    if PATCH_SIZE % 2**config.depth:
        raise InputError(
            f"--depth {config.depth} halves patches of {PATCH_SIZE} pixels too often; expected "
            f"at most {PATCH_SIZE.bit_length() - 1}."
        )
    model = build_resunet(
        (None, None, len(MODALITIES)), len(CLASSES), config.base_filters, config.depth
    )
    if config.weights:
        load_weights(model, config.weights)
    schedule = build_schedule(config.schedule, config.learning_rate, config.epochs, steps)
    model.compile(
        optimizer=build_optimizer(config.optimizer, schedule, config.momentum),
        loss=ClassImbalanceLoss(config.class_weights, config.loss == "present-classes"),
        metrics=[SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()],
        jit_compile=training_compilation(),
    )
    return model


def run_epoch(config, model, readers, steps, progress, states, log):
    """Trains and validates for what is left of an epoch; returns its row of the history."""

    def note(loss):
        bar.update()
        if log:
            log.add_step(progress, loss)
        states.keep(progress)

    end_if_interrupted = functools.partial(states.end_if_interrupted, progress)
    end_if_interrupted()
    batch_size, name = config.batch_size, f"epoch {len(progress.history) + 1}"
    with tqdm(total=steps, initial=progress.step, desc=name, leave=False, disable=None) as bar:
        row = train_epoch(model, readers["train"], batch_size, steps, config.seed, progress, note)
    row = row | validate(model, readers["validation"], batch_size, end_if_interrupted)
    if log:
        log.add_epoch(row)
    return row


def print_header(record, readers, steps, progress):
    """Prints what is about to happen, and on what."""
    print(
        header(
            "Training the residual U-Net",
            **record["settings"],
            training=f"{len(readers['train'])} patches, {steps} batches per epoch",
            validation=f"{len(readers['validation'])} patches",
            starts_after=progress,
            parameters=f"{record['num_parameters']:,}",
            device=record["device"],
            versions=record["versions"],
            commit=record["commit"],
        ),
        flush=True,
    )


if __name__ == "__main__":
    advice = "Go on with --resume if the run folder holds a config.json; else start again."
    end_with_code(main, advice)
