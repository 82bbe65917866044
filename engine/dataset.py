"""Batches: NumPy arrays for one pass of training or validation.

In: an object that reads patches by index, such as `brats.patches.PatchReader`. Out: generators
of `(images, classes)`, float32 `(N, H, W, M)` and uint8 `(N, H, W)`.
"""


def num_batches(num_patches, batch_size):
    """Returns how many batches hold all patches, the last one perhaps short."""
    return -(-num_patches // batch_size)


def training_batches(reader, batch_size, num_steps, rng):
    """Yields random batches without repeats, half of the patches flipped left to right.

    Args:
        reader: Object with `len` and `read(indices)`.
        batch_size: Patches in a batch, int.
        num_steps: Batches to yield, at most `num_batches(len(reader), batch_size)`.
        rng: `numpy.random.Generator` of the order and the flips.

    Yields:
        `(images, classes)`; the last batch of a whole pass may be short.
    """
    order = rng.permutation(len(reader))
    for step in range(num_steps):
        images, classes = reader.read(order[step * batch_size : (step + 1) * batch_size])
        flip_left_right(images, classes, rng.random(len(images)) < 0.5)
        yield images, classes


def validation_batches(reader, batch_size):
    """Yields every patch once, in order; the last batch may be short."""
    for start in range(0, len(reader), batch_size):
        yield reader.read(range(start, min(start + batch_size, len(reader))))


def flip_left_right(images, classes, which):
    """Mirrors the columns of some patches and of their classes, in place.

    Args:
        images: `(N, H, W, M)`.
        classes: `(N, H, W)`.
        which: bool `(N,)`.
    """
    images[which] = images[which, :, ::-1]
    classes[which] = classes[which, :, ::-1]
