"""Batches: NumPy arrays for one pass of training or validation.

In: an object that reads patches by index, such as `brats.patches.reader.PatchReader`. Out:
generators of batches: images, float32 `(N, H, W, M)`, and classes, uint8 `(N, H, W)`.
"""

import numpy as np

from brats.errors import InputError
from engine.devices.one import ONE_DEVICE


def num_batches(num_patches, batch_size):
    """Returns the number of batches that hold all patches. The last one may be short."""
    return -(-num_patches // batch_size)


def steps_per_epoch(num_patches, batch_size, wanted=None):
    """Returns the number of batches in an epoch: as many as wanted, or else all.

    Raises:
        InputError: If there are fewer patches than a batch has, or fewer batches than wanted.
    """
    most = num_batches(num_patches, batch_size)
    if num_patches < batch_size:
        raise InputError(
            f"--batch-size is {batch_size}, but --patches has only {num_patches} training patches. "
            "Ask for fewer, or extract more."
        )
    if (wanted or 0) > most:
        raise InputError(
            f"--steps-per-epoch is {wanted}, but --patches has {num_patches} training patches: "
            f"{most} batches of {batch_size}. Ask for fewer, or extract more."
        )
    return wanted or most


def training_batches(reader, batch_size, num_steps, rng, first=0, share=ONE_DEVICE.share):
    """Yields random batches in which half of the patches are marked to be mirrored left to right.

    Every patch comes once before any comes again. All batches have one size, because the training
    step is compiled for it: the first patches of the order fill the last batch of a complete pass.
    The batches do not depend on `first`, the index of the first one to read. `share` is a function
    from the number of patches in a batch to the slice of them to read.

    Yields `(images, classes, mirrored)`, as `ResUNet.train_step` wants them; mirrored is bool
    `(N,)`.
    """
    order = _permutation(len(reader), rng)
    # A mark takes one number of the generator.
    rng.bit_generator.advance(first * batch_size)
    part = share(batch_size)
    for step in range(first, num_steps):
        # Departure: the last batch of the original is short.
        places = np.arange(step * batch_size, (step + 1) * batch_size)
        indices = order.take(places, mode="wrap")
        mirrored = rng.random(batch_size) < 0.5
        yield *reader.read(indices[part]), mirrored[part]


def validation_batches(reader, batch_size, share=ONE_DEVICE.share):
    """Yields every patch once, in order, as `(images, classes)`. The last batch may be short."""
    indices, start = range(len(reader)), 0
    for size in batch_sizes(len(reader), batch_size):
        yield reader.read(indices[start : start + size][share(size)])
        start += size


def batch_sizes(num_patches, batch_size):
    """Yields the number of patches in each batch of a pass in order."""
    for start in range(0, num_patches, batch_size):
        yield min(batch_size, num_patches - start)


def _permutation(num_patches, rng):
    """Returns `rng.permutation(num_patches)` in the smallest integers that can hold it."""
    order = np.arange(num_patches, dtype=np.min_scalar_type(max(num_patches - 1, 0)))
    rng.shuffle(order)
    return order
