"""Trains the residual U-Net on patch files.

In: folders of patch files, --patches. Out: the run folder --run-dir with config.json (with the
split), history.csv, curves.png, best.keras (lowest validation loss), last.keras, state/ (for
--resume) and, with --tensorboard, a log.

    python train.py --patches data/patches --run-dir runs/default
"""

import contextlib
import os
from pathlib import Path

from brats.flags import parse
from brats.progress import progress_bar
from brats.script import deferring_interruption, end_with_code, header, warn
from config import TrainConfig

# Functions import NumPy, Keras and what needs them: --help and wrong flags answer at once, and an
# interruption during an import ends like any other.


def main(argv=None):
    """Runs the training. Of several hosts, the first one writes and prints."""
    config = parse(TrainConfig, argv, __doc__)

    from brats.patches import set as patch_set
    from brats.patches.reader import PatchReader
    from engine.devices import backend, choose, hosts
    from engine.runs import folder as runs
    from engine.runs.logs import check_tensorboard
    from engine.training.batches import steps_per_epoch

    if config.tensorboard:
        check_tensorboard()
    backend.check_can_train()
    group = hosts.find_group(config.coordinator, config.num_hosts, config.host_id, os.environ)
    files = patch_set.open_patches(config.patches)
    parts = patch_set.split_patches(
        files, config.validation_fraction, config.num_folds, config.fold, config.seed
    )
    readers = {name: PatchReader(part) for name, part in parts.items()}
    split = {name: [file.id for file in part] for name, part in parts.items()}
    steps = steps_per_epoch(len(readers["train"]), config.batch_size, config.steps_per_epoch)
    patches = patch_set.describe_patches(files)
    run = config.run_dir, config.to_dict(), patches, split
    if group.host == 0:
        runs.check_may_start(*run)
        for sentence in patch_set.find_twins(files):
            warn(sentence)
    joining = hosts.joining(group, tell=lambda text: print(text, flush=True))
    with joining, backend.naming_batch_size(config.batch_size):
        backend.prepare_training(config.seed, config.mixed_precision, config.deterministic)
        devices = choose.choose_devices(config.devices)
        choose.check_batch_size(config.batch_size, devices)
        devices.check_same(runs.settings_in_common(*run))
        model = build_compiled(config, steps, devices)
        with runs.owning_run(*run) if devices.is_first else contextlib.redirect_stdout(None):
            train(config, {"patches": patches, "split": split}, readers, steps, model, devices)


def train(config, data, readers, steps, model, devices):
    """Starts a run, or continues one, and trains to its last epoch."""
    from engine.devices.backend import describe_software
    from engine.runs import folder as runs
    from engine.runs.state import Progress, spread
    from engine.runs.writer import RunWriter
    from engine.training.epochs import describe_epoch, describe_start

    record = {
        "settings": config.to_dict(),
        **data,
        "num_parameters": model.count_params(),
        "pad_before": model.settings.get("pad_before", False),
        "num_hosts": devices.num_hosts,
        "num_devices": devices.num_devices,
        **describe_software(),
    }
    progress = Progress()
    if config.resume and devices.is_first:
        progress, warnings = runs.resume(config.run_dir, model, record["device"])
        for warning in warnings:
            warn(warning)
    progress = spread(model, progress, devices)
    facts = describe_start(record, readers, steps, progress) | {"run_dir": config.run_dir}
    details = {name: record[name] for name in ("pad_before", "versions", "commit")}
    print(header("Training the residual U-Net", config, facts, details), flush=True)
    with deferring_interruption() as is_interrupted:
        is_interrupted = devices.agreeing(is_interrupted)
        writer = RunWriter(
            config.run_dir, model, config.state_every, is_interrupted, devices.is_first
        )
        writer.begin(record, progress, config.resume)
        if config.tensorboard:
            writer.begin_log(progress, steps, devices.build_predictor(model), readers["validation"])
        while len(progress.history) < config.epochs:
            row = run_epoch(config, model, readers, steps, progress, writer, devices)
            progress = Progress(history=[*progress.history, row])
            saving_s = writer.end_epoch(progress)
            print(describe_epoch(row, config.epochs, saving_s), flush=True)
    best, last = (Path(config.run_dir, name) for name in (runs.BEST, runs.LAST))
    print(f"Finished epoch {len(progress.history)}; the best network is {best}, the last {last}")


def build_compiled(config, steps, devices=None):
    """Builds the network with its weights, loss, metrics and optimizer."""
    from brats.editions import CLASSES, MODALITIES, REGIONS
    from brats.volumes.network_input import INPUT_FORMAT
    from engine.devices.backend import training_compilation
    from engine.devices.one import ONE_DEVICE
    from engine.networks.weights import choose_padding, load_weights
    from engine.training.epochs import check_depth
    from engine.training.schedules import build_optimizer, build_schedule
    from losses import SoftDice, build_loss
    from model import build_resunet

    devices = devices or ONE_DEVICE
    check_depth(config.depth)
    pad_before = choose_padding(config.run_dir, config.weights, config.resume, devices)
    with devices.scope():
        model = build_resunet(
            (None, None, len(MODALITIES)),
            num_classes=len(CLASSES),
            base_filters=config.base_filters,
            depth=config.depth,
            pad_before=pad_before,
            input_format=INPUT_FORMAT,
        )
        if config.weights:
            load_weights(model, config.weights)
        schedule = build_schedule(config.schedule, config.learning_rate, config.epochs, steps)
        model.compile(
            optimizer=build_optimizer(config.optimizer, schedule, config.momentum),
            loss=build_loss(config.loss, config.class_weights),
            metrics=[SoftDice(classes, f"dice_{region}") for region, classes in REGIONS.items()],
            jit_compile=training_compilation(),
        )
    devices.adopt(model)
    return model


def run_epoch(config, model, readers, steps, progress, writer, devices):
    """Trains the rest of an epoch and validates; returns the epoch's row of the history."""
    from engine.training.batches import num_batches
    from engine.training.epochs import train_epoch, validate

    def note(loss=None):  # None in validation.
        bar.update()
        if loss is not None:
            return writer.end_step(progress, loss)
        return writer.end_if_interrupted(progress)

    writer.end_if_interrupted(progress)
    size, seed, reader = config.batch_size, config.seed, readers["validation"]
    name, num_shown = f"epoch {len(progress.history) + 1}", int(devices.is_first)
    with progress_bar(steps * num_shown, name, "batches", progress.step, leave=False) as bar:
        row = train_epoch(model, readers["train"], size, steps, seed, progress, note, devices)
    total = num_batches(len(reader), size) * num_shown
    with progress_bar(total, f"{name}, validation", "batches", leave=False) as bar:
        return row | validate(model, reader, size, note, devices)


if __name__ == "__main__":
    advice = "Continue with --resume if the run folder has a config.json; if not, start again."
    end_with_code(main, advice)
