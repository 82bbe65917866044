"""Batches: NumPy arrays for one pass of training or validation.

In: an object that reads patches by index, such as `brats.patches.reader.PatchReader`. Out: generators
of batches: images, float32 `(N, H, W, M)`, and classes, uint8 `(N, H, W)`.
"""

import numpy as np

from brats.errors import InputError
from engine.devices.one import ONE_DEVICE


def num_batches(num_patches, batch_size):
    """Returns how many batches hold all patches, the last one perhaps not full."""
    return -(-num_patches // batch_size)


def steps_per_epoch(num_patches, batch_size, wanted=None):
    """Returns the number of batches in an epoch.

    Args:
        num_patches: Training patches, int.
        batch_size: Patches in a batch, int.
        wanted: Batches asked for, int, or None for all.

    Raises:
        InputError: If there are fewer patches than a batch has, or fewer batches than asked for.
    """
    most = num_batches(num_patches, batch_size)
    if num_patches < batch_size:
        raise InputError(
            f"--batch-size is {batch_size}, and --patches has {num_patches} training patches. "
            "Ask for fewer, or extract more."
        )
    if (wanted or 0) > most:
        raise InputError(
            f"--patches has {num_patches} training patches, {most} batches of {batch_size}; "
            f"--steps-per-epoch is {wanted}. Ask for fewer, or extract more patches."
        )
    return wanted or most


def training_batches(reader, batch_size, num_steps, rng, first=0, share=ONE_DEVICE.share):
    """Yields random batches, half of the patches marked to be mirrored left to right.

    No patch comes twice, but for those that fill the last batch of a whole pass: all batches
    have one size, for which the step is compiled.

    Args:
        reader: Object with `len` and `read(indices)`.
        batch_size: Patches in a batch, int.
        num_steps: Batches to yield, at most `num_batches(len(reader), batch_size)`.
        rng: `numpy.random.Generator` of the order and the marks, as of `default_rng`.
        first: Batch to begin with, from 0; those before it are neither read nor yielded, and
            change nothing in those after it.
        share: Function from the number of patches in a batch to the slice of them to read and
            yield.

    Yields:
        `(images, classes, mirrored)`; mirrored is bool `(N,)`. The network's training step
        mirrors images and classes alike, on its device.
    """
    order = _permutation(len(reader), rng)
    # One number of the generator per mark.
    rng.bit_generator.advance(first * batch_size)
    part = share(batch_size)
    for step in range(first, num_steps):
        # Departure: the last batch of the original is short.
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        indices = order.take(places, mode="wrap")
        mirrored = rng.random(batch_size) < 0.5
        yield *reader.read(indices[part]), mirrored[part]


def _permutation(num_patches, rng):
    """Returns what `rng.permutation(num_patches)` would, in as few bytes as hold it."""
    order = np.arange(num_patches, dtype=np.min_scalar_type(max(num_patches - 1, 0)))
    rng.shuffle(order)
    return order


def validation_batches(reader, batch_size, share=ONE_DEVICE.share):
    """Yields every patch once, in order, as `(images, classes)`; the last batch may be short.

    Args: those of `training_batches`.
    """
    indices, start = range(len(reader)), 0
    for size in batch_sizes(len(reader), batch_size):
        yield reader.read(indices[start : start + size][share(size)])
        start += size


def batch_sizes(num_patches, batch_size):
    """Yields the number of patches in each batch of a pass in order."""
    for start in range(0, num_patches, batch_size):
        yield min(batch_size, num_patches - start)
