"""One epoch of training: a pass over the batches, then one over the validation set.

In: a compiled network and readers of patches. Out: one row of the history.
"""

import math
import time

import numpy as np
from keras.ops import convert_to_numpy

from brats.editions import REGIONS
from brats.errors import InputError
from brats.parallel import read_ahead
from brats.volumes.network_input import PATCH_SIZE
from engine.devices.one import ONE_DEVICE
from engine.training.batches import batch_sizes, training_batches, validation_batches

DIVERGED = (
    "Training diverged. Start again with a lower --learning-rate, or without --mixed-precision."
)


def check_depth(depth):
    """Raises an `InputError` if patches cannot be halved `depth` times."""
    if PATCH_SIZE % 2**depth:
        raise InputError(
            f"--depth is {depth}, but patches of {PATCH_SIZE} pixels can be halved "
            f"{PATCH_SIZE.bit_length() - 1} times. Lower it."
        )


def train_epoch(
    model, reader, batch_size, num_steps, seed, progress, on_step=None, devices=ONE_DEVICE
):
    """Trains for one epoch, or for the rest of it.

    The order of the patches, the mirroring and the noise depend on the seed and the epoch only, so
    a resumed run sees the same batches.

    Args:
        model: Compiled network.
        reader: Object with `len` and `read(indices)`, such as a `PatchReader`.
        batch_size: Patches in a batch, over all devices and hosts, int.
        num_steps: Batches in the epoch, int.
        seed: Seed of the run, int.
        progress: `engine.runs.state.Progress` of the run; updated after every step.
        on_step: Function of the loss of a step, called after every step.
        devices: What to train on, from `engine.devices.choose.choose_devices`.

    Returns:
        Dict with `epoch`, from 1, mean `loss`, the metrics, `learning_rate` of the first step, the
        optimizer's `iterations` so far, seconds of waiting for batches `wait_s` and of steps
        `step_s`.

    Raises:
        InputError: If the loss is not finite; names the epoch and the batch.
    """
    epoch = len(progress.history)
    if not progress.step:
        _seed_noise(model, seed, epoch)
        progress.learning_rate = float(convert_to_numpy(model.optimizer.learning_rate))
    rng = np.random.default_rng([seed, epoch])
    batches = training_batches(reader, batch_size, num_steps, rng, progress.step, devices.share)
    batches = ((batch_size, batch) for batch in batches)
    for loss, sums, wait_s, step_s in _run(model, devices, devices.train, batches):
        if not math.isfinite(loss):
            raise InputError(
                f"The loss is {loss} in epoch {epoch + 1}, batch {progress.step + 1}. {DIVERGED}"
            )
        progress.step += 1
        progress.sums = np.add(progress.sums or 0.0, sums).tolist()
        progress.wait_s += wait_s
        progress.step_s += step_s
        if progress.step == num_steps:
            progress.row = _row(model, progress)
        if on_step:
            on_step(loss)
    return progress.row


def validate(model, reader, batch_size, on_batch=None, devices=ONE_DEVICE):
    """Evaluates the loss and the metrics over the validation set.

    Args:
        model: Compiled network.
        reader: Reader of the validation patches.
        batch_size: Patches in a batch, int.
        on_batch: Function without arguments, called after every batch.
        devices: As for `train_epoch`.

    Returns:
        Dict of the mean loss and the metrics, with `val_` before their names, and the seconds
        `validation_s`; empty if there are no patches.

    Raises:
        InputError: If the loss is not finite.
    """
    if not len(reader):
        return {}
    totals, elapsed_s = 0.0, 0.0
    batches = validation_batches(reader, batch_size, devices.share)
    batches = zip(batch_sizes(len(reader), batch_size), batches, strict=True)
    for _, sums, *seconds in _run(model, devices, devices.evaluate, batches):
        totals += sums
        elapsed_s += sum(seconds)
        if on_batch:
            on_batch()
    scores = _scores(model, totals)
    if not math.isfinite(scores["loss"]):
        raise InputError(f"The validation loss is {scores['loss']}. {DIVERGED}")
    return {
        **{f"val_{name}": value for name, value in scores.items()},
        "validation_s": round(elapsed_s, 3),
    }


def describe_start(record, readers, steps, progress):
    """Returns what a training starts from, a dict of text for the header.

    Args:
        record: Dict of the run, see `engine.runs.folder.read_record`.
        readers: Dict from "train" and "validation" to readers of patches.
        steps: Number of batches per epoch, int.
        progress: `Progress` before this training.
    """

    def describe_part(name):
        cases = record["split"][name]
        patients = {record["patches"]["cases"][case]["patient"] for case in cases}
        return f"patches: {len(readers[name]):,}, cases: {len(cases)}, patients: {len(patients)}"

    return {
        "training": f"{describe_part('train')}, {steps} batches per epoch",
        "validation": describe_part("validation"),
        "starts_after": str(progress),
        "parameters": f"{record['num_parameters']:,}",
        "device": record["device"],
        "spread_over": f"devices: {record['num_devices']}, hosts: {record['num_hosts']}",
    }


def describe_epoch(row, num_epochs, saving_s):
    """Returns a line with the losses and the soft Dice of a row, and where the time went."""
    cells = [f"epoch {row['epoch']}/{num_epochs}"]
    for prefix, name in (("", "train"), ("val_", "validation")):
        if f"{prefix}loss" in row:
            scores = [f"{region} {row[f'{prefix}dice_{region}']:.3f}" for region in REGIONS]
            cells.append(f"{name} loss {row[f'{prefix}loss']:.4f}, Dice " + ", ".join(scores))
    cells.append(
        f"steps {row['step_s']:.1f} s, waiting for batches {row['wait_s']:.1f} s, validation "
        f"{row.get('validation_s', 0):.1f} s, saving {saving_s:.1f} s"
    )
    return "  |  ".join(cells)


def _run(model, devices, run_on_batch, batches):
    """Yields loss, sums of the metrics, seconds of waiting and of running for every batch.

    A loop rather than `fit`, which stalls at random under TensorFlow (`docs/results.md`).
    """
    # Keras resets the metrics with every batch. Their variables are sums, so they can be added up.
    start = time.perf_counter()
    for num_patches, batch in read_ahead(batches):
        ready = time.perf_counter()
        loss = run_on_batch(model, batch, num_patches)
        sums = np.array(devices.sums(model))
        end = time.perf_counter()
        yield loss, sums, ready - start, end - ready
        start = time.perf_counter()


def _scores(model, sums):
    """Returns the loss and the metrics by the sums of their variables."""
    for variable, total in zip(model.metrics_variables, sums, strict=True):
        variable.assign(total)
    return {name: float(value) for name, value in model.get_metrics_result().items()}


def _row(model, progress):
    """Returns the row of the history after the last step of an epoch."""
    return {
        "epoch": len(progress.history) + 1,
        **_scores(model, progress.sums),
        "learning_rate": progress.learning_rate,
        "iterations": int(convert_to_numpy(model.optimizer.iterations)),
        "wait_s": round(progress.wait_s, 3),
        "step_s": round(progress.step_s, 3),
    }


def _seed_noise(model, seed, epoch):
    """Sets the state of every random layer, which a `.keras` file does not contain."""
    for layer in model.layers:
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([seed % 2**31, epoch])
