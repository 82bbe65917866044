"""Trains the residual U-Net on a patch file.

In: the patch file --patches. Out: the run folder --run-dir with config.json, history.csv,
best.keras (lowest validation loss) and last.keras.

    python train.py --patches data/patches.h5 --run-dir runs/default
"""

import math
import sys
import time
from pathlib import Path

import keras
import numpy as np

from brats.cases import CLASSES, MODALITIES
from brats.errors import InputError, exit_code
from brats.metrics import REGIONS
from brats.patches import PatchReader, read_settings
from brats.provenance import header, software_versions, source_commit
from config import TrainConfig, differences, from_dict, parse, to_dict
from engine.dataset import num_batches, training_batches, validation_batches
from engine.devices import describe_device, mixed_precision_policy, training_compilation
from engine.runs import BEST, RECORD, read_record, read_state, write_epoch, write_record
from engine.schedules import build_schedule
from engine.weights import load_weights
from losses import ClassImbalanceLoss, SoftDice
from model import build_resunet


def main(argv=None):
    """Runs the training with the given command line arguments."""
    config = parse(TrainConfig, argv, __doc__)
    extraction = read_settings(config.patches)
    readers = {split: PatchReader(config.patches, split) for split in ("train", "validation")}
    steps = steps_per_epoch(config, len(readers["train"]))
    keras.utils.set_random_seed(config.seed)
    if config.mixed_precision:
        keras.config.set_dtype_policy(mixed_precision_policy())
    if config.resume:
        check_same_run(config, extraction)
        model, history = read_state(config.run_dir, steps)
    else:
        check_new_run(config)
        model, history = build_compiled(config, steps), []
    record = {
        "settings": to_dict(config),
        "extraction": extraction,
        "num_parameters": model.count_params(),
        "device": describe_device(),
        "versions": software_versions("keras", keras.backend.backend(), "numpy", "h5py"),
        "commit": source_commit(),
    }
    print_header(record, readers, steps, len(history))
    write_record(config.run_dir, record)
    for epoch in range(len(history), config.epochs):
        history.append(run_epoch(model, readers, config, epoch, steps))
        write_epoch(config.run_dir, model, history)
        print_epoch(history[-1], config.epochs)
    print(f"Wrote the network to {Path(config.run_dir) / BEST}")


def steps_per_epoch(config, num_patches):
    """Returns the number of batches in an epoch.

    Raises:
        InputError: If there are no patches, or fewer batches than asked for.
    """
    most = num_batches(num_patches, config.batch_size)
    if not most or (config.steps_per_epoch or 0) > most:
        raise InputError(
            f"{config.patches} has {num_patches} training patches, {most} batches of "
            f"{config.batch_size}; --steps-per-epoch is {config.steps_per_epoch or 'all'}. Ask "
            "for fewer, or extract more patches."
        )
    return config.steps_per_epoch or most


def build_compiled(config, steps):
    """Builds the network with its weights, loss, metrics and optimizer."""
    if len(config.class_weights) != len(CLASSES):
        raise InputError(
            f"--class-weights has {len(config.class_weights)} values; expected one each for "
            f"{', '.join(CLASSES)}."
        )
    model = build_resunet(
        (None, None, len(MODALITIES)), len(CLASSES), config.base_filters, config.depth
    )
    if config.weights:
        load_weights(model, config.weights)
    schedule = build_schedule(config.schedule, config.learning_rate, config.epochs, steps)
    model.compile(
        optimizer=keras.optimizers.SGD(schedule, momentum=config.momentum),
        loss=ClassImbalanceLoss(config.class_weights, config.loss == "present-classes"),
        metrics=[SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()],
        jit_compile=training_compilation(),
    )
    return model


def check_new_run(config):
    """Raises `InputError` if the run folder holds a run that nobody asked to replace."""
    if (Path(config.run_dir) / RECORD).exists() and not config.overwrite:
        raise InputError(
            f"{config.run_dir} holds a run. Continue it with --resume, replace it with "
            "--overwrite, or give another --run-dir."
        )


def check_same_run(config, extraction):
    """Raises `InputError` if a run to be resumed had other settings or other patches."""
    record = read_record(config.run_dir)
    try:
        before = from_dict(TrainConfig, record["settings"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{config.run_dir} cannot be resumed: {error}") from error
    ignored = {"patches", "run_dir", "weights", "resume", "overwrite"}
    if config.schedule != "cosine":  # Its rates depend on the number of epochs.
        ignored.add("epochs")
    changes = differences(config, before, ignored)
    if record["extraction"] != extraction:
        changes.append(f"the patches in {config.patches} are others than it was trained on")
    if changes:
        raise InputError(
            f"{config.run_dir} was started with other settings: {'; '.join(changes)}. Resume "
            "with the same ones, or start another run."
        )


class StopOnDivergence(keras.callbacks.Callback):
    """Ends training with an error as soon as the loss is not finite."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Checks the running mean of the loss."""
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"The loss is {logs['loss']} in epoch {self.epoch + 1}, batch {batch + 1}: "
                "training diverged, and the run folder holds the last finished epoch. Lower "
                "--learning-rate."
            )


def run_epoch(model, readers, config, epoch, steps):
    """Trains for one epoch, validates on everything, and returns the history row."""
    start = time.perf_counter()
    # A generator per epoch, so that a resumed run sees the patches it would have seen.
    rng = np.random.default_rng([config.seed, epoch])
    results = model.fit(
        training_batches(readers["train"], config.batch_size, steps, rng),
        epochs=epoch + 1,
        initial_epoch=epoch,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[StopOnDivergence(epoch)],
        verbose=1 if sys.stdout.isatty() else 0,
    ).history
    row = {"epoch": epoch + 1, **{name: values[0] for name, values in results.items()}}
    row["learning_rate"] = float(model.optimizer.learning_rate)
    row["train_s"] = round(time.perf_counter() - start, 3)
    start = time.perf_counter()
    if len(readers["validation"]):
        scores = model.evaluate(
            validation_batches(readers["validation"], config.batch_size),
            steps=num_batches(len(readers["validation"]), config.batch_size),
            return_dict=True,
            verbose=0,
        )
        row |= {f"val_{name}": value for name, value in scores.items()}
    row["validation_s"] = round(time.perf_counter() - start, 3)
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


def print_epoch(row, num_epochs):
    """Prints one line with the losses and the soft Dice of the regions, in percent."""
    cells = [f"epoch {row['epoch']}/{num_epochs}", f"{row['train_s'] + row['validation_s']:.0f} s"]
    for prefix, name in (("", "train"), ("val_", "validation")):
        if f"{prefix}loss" in row:
            scores = [f"{region} {row[f'{prefix}dice_{region}']:.3f}" for region in REGIONS]
            cells.append(f"{name} loss {row[f'{prefix}loss']:.4f}, Dice " + ", ".join(scores))
    print("  |  ".join(cells), flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
