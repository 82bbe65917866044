"""One epoch of training: a pass over the batches, then one over the validation set.

In: a compiled network and readers of patches. Out: one row of the history.
"""

import math
import time

import numpy as np

from brats.errors import InputError
from engine.dataset import read_ahead, training_batches, validation_batches


def train_epoch(model, reader, batch_size, num_steps, seed, epoch, on_step=None):
    """Trains for one epoch.

    The order of the patches, the mirroring and the noise follow from the seed and the epoch
    alone, so that a resumed run sees what it would have seen.

    Args:
        model: Compiled network.
        reader: Object with `len` and `read(indices)`, such as a `PatchReader`.
        batch_size: Patches in a batch, int.
        num_steps: Batches in the epoch, int.
        seed: Seed of the run, int.
        epoch: Number of the epoch, from 0.
        on_step: Function of the loss of a step, called after every one.

    Returns:
        Dict of the mean loss, the metrics, the learning rate of the first step, the optimizer's
        steps so far as `iterations`, and the elapsed time, to a millisecond, as `wait_s`, for
        batches, and `step_s`.

    Raises:
        InputError: If the loss is not finite; names the epoch and the batch.
    """
    rng = np.random.default_rng([seed, epoch])
    _seed_noise(model, seed, epoch)
    learning_rate = float(model.optimizer.learning_rate)

    def check(step, loss):
        if not math.isfinite(loss):
            raise InputError(
                f"The loss is {loss} in epoch {epoch + 1}, batch {step + 1}: training diverged. "
                "The run folder holds the last finished epoch. Lower --learning-rate."
            )
        if on_step:
            on_step(float(loss))

    batches = training_batches(reader, batch_size, num_steps, rng)
    scores, wait_s, step_s = _run(model, model.train_on_batch, batches, check)
    return {
        **scores,
        "learning_rate": learning_rate,
        "iterations": int(model.optimizer.iterations),
        "wait_s": round(wait_s, 3),
        "step_s": round(step_s, 3),
    }


def validate(model, reader, batch_size):
    """Evaluates the loss and the metrics over a whole validation set.

    Args:
        model: Compiled network.
        reader: Reader of the validation patches.
        batch_size: Patches in a batch, int.

    Returns:
        Dict of the mean loss and the metrics, their names prefixed with `val_`, and the elapsed
        time as `validation_s`; empty if there are no patches.

    Raises:
        InputError: If the loss is not finite.
    """
    if not len(reader):
        return {}
    scores, *elapsed_s = _run(model, model.test_on_batch, validation_batches(reader, batch_size))
    if not math.isfinite(scores["loss"]):
        raise InputError(
            f"The validation loss is {scores['loss']}: training diverged. The run folder holds the "
            "epoch before, if any. Lower --learning-rate, or leave out --mixed-precision."
        )
    return {
        **{f"val_{name}": value for name, value in scores.items()},
        "validation_s": round(sum(elapsed_s), 3),
    }


def _run(model, run_on_batch, batches, on_step=None):
    """Runs a pass, and returns its metrics and the seconds of waiting and of running.

    The metrics of Keras are sums, which it resets with every batch: they are summed up here. A
    loop rather than `fit`, which at random takes up to twice the time for the same processor
    time under TensorFlow (`docs/results.md`).
    """
    totals, clock = 0, [0.0, 0.0]
    start = time.perf_counter()
    for step, batch in enumerate(read_ahead(batches)):
        ready = time.perf_counter()
        logs = run_on_batch(*batch, return_dict=True)
        totals += np.array([float(sums) for sums in model.metrics_variables])
        if on_step:
            on_step(step, logs["loss"])
        clock[0] += ready - start
        start = time.perf_counter()
        clock[1] += start - ready
    for variable, total in zip(model.metrics_variables, totals, strict=True):
        variable.assign(total)
    scores = {name: float(value) for name, value in model.get_metrics_result().items()}
    return scores, *clock


def _seed_noise(model, seed, epoch):
    """Sets the state of every random layer, which a `.keras` file does not hold."""
    for layer in model.layers:
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([seed % 2**31, epoch])
