"""Trains the residual U-Net on a patch file.

In: the patch file --patches. Out: the run folder --run-dir with config.json, history.csv,
curves.png, best.keras (lowest validation loss), last.keras and, if asked, a log for TensorBoard.

    python train.py --patches data/patches.h5 --run-dir runs/default
"""

import sys
import time
from pathlib import Path

import keras
from tqdm import tqdm

from brats.cases import CLASSES, MODALITIES
from brats.curves import write_learning_curves
from brats.errors import InputError, exit_code
from brats.files import make_writable_folder
from brats.metrics import REGIONS
from brats.patch_file import read_settings
from brats.patch_reader import PatchReader
from brats.patches import PATCH_SIZE
from brats.provenance import header, software_versions, source_commit
from config import TrainConfig, parse, to_dict
from engine import runs
from engine.dataset import steps_per_epoch
from engine.devices import describe_device, mixed_precision_policy, training_compilation
from engine.logs import TrainingLog, check_tensorboard
from engine.schedules import build_optimizer, build_schedule
from engine.training import train_epoch, validate
from engine.weights import load_weights
from losses import ClassImbalanceLoss, SoftDice
from model import build_resunet

# Settings that a resumed run may change.
CHANGEABLE = {"patches", "run_dir", "epochs", "weights", "resume", "overwrite", "tensorboard"}


def main(argv=None):
    """Runs the training with the given command line arguments."""
    config = parse(TrainConfig, argv, __doc__)
    if config.tensorboard:
        check_tensorboard()
    extraction = read_settings(config.patches)
    readers = {split: PatchReader(config.patches, split) for split in ("train", "validation")}
    steps = steps_per_epoch(len(readers["train"]), config.batch_size, config.steps_per_epoch)
    keras.utils.set_random_seed(config.seed)
    if config.mixed_precision:
        keras.config.set_dtype_policy(mixed_precision_policy())
    if config.resume:
        model, history = resume(config, extraction)
    else:
        if not config.overwrite:
            runs.check_absent(config.run_dir)
        model, history = build_compiled(config, steps), []
    make_writable_folder(Path(config.run_dir))
    record = {
        "settings": to_dict(config),
        "extraction": extraction,
        "num_parameters": model.count_params(),
        "device": describe_device(),
        "versions": software_versions("keras", keras.backend.backend(), "numpy", "h5py"),
        "commit": source_commit(),
    }
    print_header(record, readers, steps, len(history))
    if config.resume:
        runs.add_to_record(config.run_dir, len(history), record)
    else:
        runs.clear(config.run_dir)
        runs.write_record(config.run_dir, record)
    log = None
    if config.tensorboard:
        log = TrainingLog(config.run_dir, history, steps, model, readers["validation"])
    for epoch in range(len(history), config.epochs):
        history.append(run_epoch(config, model, readers, steps, epoch, log))
        start = time.perf_counter()
        runs.write_epoch(config.run_dir, model, history)
        write_learning_curves(Path(config.run_dir) / runs.CURVES, history)
        print_epoch(history[-1], config.epochs, state_s=time.perf_counter() - start)
    print(f"Finished {len(history)} epochs; the best network is {Path(config.run_dir) / runs.BEST}")


def resume(config, extraction):
    """Returns the network and the history of the run that the settings continue."""
    # The rates of the cosine depend on the number of epochs.
    ignored = CHANGEABLE - {"epochs"} if config.schedule == "cosine" else CHANGEABLE
    runs.check_same(config.run_dir, to_dict(config), extraction, ignored)
    return runs.read_state(config.run_dir)


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


def run_epoch(config, model, readers, steps, epoch, log):
    """Trains and validates for one epoch, and logs it; returns its row of the history."""
    batch_size = config.batch_size

    def note(loss):
        bar.update()
        if log:
            log.add_step(loss)

    with tqdm(total=steps, desc=f"epoch {epoch + 1}", leave=False, disable=None) as bar:
        row = train_epoch(model, readers["train"], batch_size, steps, config.seed, epoch, note)
    row = {"epoch": epoch + 1} | row | validate(model, readers["validation"], batch_size)
    if log:
        log.add_epoch(row)
    return row


def print_header(record, readers, steps, num_finished):
    """Prints what is about to happen, and on what."""
    print(
        header(
            "Training the residual U-Net",
            **record["settings"],
            training=f"{len(readers['train'])} patches, {steps} batches per epoch",
            validation=f"{len(readers['validation'])} patches",
            finished_epochs=num_finished,
            parameters=f"{record['num_parameters']:,}",
            device=record["device"],
            versions=record["versions"],
            commit=record["commit"],
        ),
        flush=True,
    )


def print_epoch(row, num_epochs, state_s):
    """Prints the losses and the soft Dice of the regions, and where the time went."""
    cells = [f"epoch {row['epoch']}/{num_epochs}"]
    for prefix, name in (("", "train"), ("val_", "validation")):
        if f"{prefix}loss" in row:
            scores = [f"{region} {row[f'{prefix}dice_{region}']:.3f}" for region in REGIONS]
            cells.append(f"{name} loss {row[f'{prefix}loss']:.4f}, Dice " + ", ".join(scores))
    cells.append(
        f"steps {row['step_s']:.1f} s, waiting for batches {row['wait_s']:.1f} s, validation "
        f"{row.get('validation_s', 0):.1f} s, saving {state_s:.1f} s"
    )
    print("  |  ".join(cells), flush=True)


if __name__ == "__main__":
    advice = "Continue with --resume once an epoch is finished; else start again with --overwrite."
    sys.exit(exit_code(main, advice))
