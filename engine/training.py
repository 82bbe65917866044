"""One epoch of training: a pass over the batches, then one over the validation set.

In: a compiled network and readers of patches. Out: one row of the history.
"""

import math
import time

import keras
import numpy as np

from brats.errors import InputError
from engine.dataset import num_batches, training_batches, validation_batches


class StopOnDivergence(keras.callbacks.Callback):
    """Ends training with an error as soon as the loss is not finite.

    Raises:
        InputError: Out of `fit`; names the epoch and the batch.
    """

    def on_epoch_begin(self, epoch, logs=None):
        """Remembers the epoch for the message."""
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        """Checks the running mean of the loss."""
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"The loss is {logs['loss']} in epoch {self.epoch + 1}, batch {batch + 1}: "
                "training diverged. The run folder holds the last finished epoch. Lower "
                "--learning-rate."
            )


def train_epoch(model, reader, batch_size, num_steps, seed, epoch, verbose=0):
    """Trains for one epoch.

    The order of the patches, the flips and the noise follow from the seed and the epoch alone,
    so that a resumed run sees what it would have seen.

    Args:
        model: Compiled network.
        reader: Reader of the training patches.
        batch_size: Patches in a batch, int.
        num_steps: Batches in the epoch, int.
        seed: Seed of the run, int.
        epoch: Number of the epoch, from 0.
        verbose: As for `keras.Model.fit`.

    Returns:
        Dict of the mean loss, the metrics, the learning rate of the first step, the optimizer's
        steps so far as `iterations`, and the elapsed time as `train_s`.

    Raises:
        InputError: If the loss is not finite.
    """
    start = time.perf_counter()
    rng = np.random.default_rng([seed, epoch])
    _seed_noise(model, seed, epoch)
    learning_rate = float(model.optimizer.learning_rate)
    history = model.fit(
        training_batches(reader, batch_size, num_steps, rng),
        initial_epoch=epoch,
        epochs=epoch + 1,
        steps_per_epoch=num_steps,
        shuffle=False,  # The batches are shuffled already.
        callbacks=[StopOnDivergence()],
        verbose=verbose,
    ).history
    return {
        **{name: values[0] for name, values in history.items()},
        "learning_rate": learning_rate,
        "iterations": int(model.optimizer.iterations),
        "train_s": round(time.perf_counter() - start, 3),
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
    """
    if not len(reader):
        return {}
    start = time.perf_counter()
    scores = model.evaluate(
        validation_batches(reader, batch_size),
        steps=num_batches(len(reader), batch_size),
        return_dict=True,
        verbose=0,
    )
    return {
        **{f"val_{name}": value for name, value in scores.items()},
        "validation_s": round(time.perf_counter() - start, 3),
    }


def _seed_noise(model, seed, epoch):
    """Sets the state of every random layer, which a `.keras` file does not hold."""
    for layer in model.layers:
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign([seed % 2**31, epoch])
