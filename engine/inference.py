"""From a stack of slices to a class volume.

In: normalized channels of a case and functions that predict batches. Out: class indices of every
voxel, and what is done with them while the next case is under way.
"""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from brats.normalization import BACKGROUND, brain_mask

# In pixels of a network that halves the resolution 3 times; `docs/results.md` has the figures.
MARGIN = 8  # From the brain to the end of its box.
EDGE = 24  # A brain nearer to the edge of its slice feels the zeros that pad the slice.


def predict_volume(predict_batch, channels, batch_size, multiple=8, predict_boxes=None, rounding=8):
    """Predicts the class of every voxel, slice by slice.

    Slices without brain are background without running the network, and so is every voxel
    outside the brain.

    Args:
        predict_batch: Function from float32 slices `(N, H, W, M)` to probabilities
            `(N, H, W, C)`; N is always `batch_size`.
        channels: Normalized case, float32 `(Z, Y, X, M)`.
        batch_size: Slices to predict at once, int.
        multiple: Slices are padded with background until H and W are multiples of this, int.
        predict_boxes: Function like `predict_batch` for boxes around the brain, whose
            surroundings are background; None to predict whole slices.
        rounding: Sides of boxes are multiples of this, int: the larger, the fewer shapes.

    Returns:
        uint8 class indices `(Z, Y, X)`.
    """
    brain = brain_mask(channels)
    classes = np.zeros(brain.shape, dtype=np.uint8)
    occupied = np.flatnonzero(brain.any(axis=(1, 2)))
    limits = {} if predict_boxes is None else brain_limits(channels, brain, multiple)
    whole = [index for index in occupied if index not in limits]
    size = [side + -side % multiple for side in brain.shape[1:]]
    for batch in _in_batches(whole, batch_size):
        window = tuple(slice(0, side) for side in size)
        _predict_window(predict_batch, channels, batch, window, batch_size, classes)
    for batch in _in_batches(list(limits), batch_size):
        window = box(np.array([limits[index] for index in batch]), size, multiple, rounding)
        _predict_window(predict_boxes, channels, batch, window, batch_size, classes)
    # Departure: the original runs every slice and keeps the network's labels outside the brain.
    return np.where(brain, classes, 0).astype(np.uint8)


def brain_limits(channels, brain, multiple):
    """Returns where the brain lies in the slices that can be predicted by boxes.

    Those are all with brain, but the ones in which some pixel outside it is not background in
    every modality (one whose slice is empty is 0 there), and the ones in which the brain comes
    nearer than `EDGE` to the edge of the padded slice.

    Args:
        channels: Normalized case, float32 `(Z, Y, X, M)`.
        brain: bool `(Z, Y, X)`.
        multiple: `2**depth` of the network, int.

    Returns:
        Dict from the index of a slice to `((first row, first column), (last row, last column))`.
    """
    edge = _scaled(EDGE, multiple)
    limits = {}
    for index in np.flatnonzero(brain.any(axis=(1, 2))):
        inside = brain[index]
        rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        first, last = (rows[0], columns[0]), (rows[-1], columns[-1])
        far = min(first) >= edge and all(
            position + edge < side + -side % multiple
            for position, side in zip(last, inside.shape, strict=True)
        )
        if far and (channels[index][~inside] == BACKGROUND).all():
            limits[int(index)] = first, last
    return limits


def box(limits, size, multiple, rounding):
    """Returns the window around some slices' brains that lies on the network's grid.

    Args:
        limits: Integers `(N, 2, 2)`: first and last position, row and column.
        size: Height and width of the padded slices, multiples of `multiple`.
        multiple: `2**depth` of the network, int.
        rounding: The lengths are rounded up to multiples of this, int.

    Returns:
        Two slices, along rows and columns. They start at multiples of `multiple`, their lengths
        are multiples of `multiple` and `rounding` or the whole side, and they lie inside the
        slice.
    """
    margin, rounding = _scaled(MARGIN, multiple), math.lcm(rounding, multiple)
    first = (limits[:, 0].min(axis=0) - margin) // multiple * multiple
    stop = limits[:, 1].max(axis=0) + 1 + margin
    lengths = np.minimum(-(-(stop - first) // rounding) * rounding, size)
    starts = np.minimum(first, size - lengths)
    return tuple(slice(a, a + length) for a, length in zip(starts, lengths, strict=True))


def write_behind(results, write):
    """Writes results in a thread, while the next one is computed.

    Args:
        results: Iterable whose items take time to compute.
        write: Function of one item; called in order, one at a time.

    Yields:
        What `write` returns, in order.

    Raises:
        Exception: What `results` raises, after the item before is written, or what `write` does.
    """
    with ThreadPoolExecutor(1) as thread:
        written = None
        for result in results:
            if written is not None:
                yield written.result()
            written = thread.submit(write, result)
        if written is not None:
            yield written.result()


def _scaled(pixels, multiple):
    """Returns a distance for a network of any depth: deeper ones see farther."""
    return -(-pixels * multiple // 8)


def _in_batches(indices, batch_size):
    for start in range(0, len(indices), batch_size):
        yield indices[start : start + batch_size]


def _predict_window(predict, channels, batch, window, batch_size, classes):
    """Predicts the same window of some slices, and writes their classes in place."""
    inside = channels[(batch, *window)]  # (N, H, W, M); a window may end beyond the slice.
    num, height, width, _ = inside.shape
    # Always one number of slices: a short last batch would be compiled anew.
    lengths = (batch_size, *(side.stop - side.start for side in window))
    padding = [(0, to - has) for to, has in zip(lengths, inside.shape, strict=False)]
    slices = np.pad(inside, (*padding, (0, 0)), constant_values=BACKGROUND)
    probabilities = np.asarray(predict(slices))  # (N, H, W, C)
    classes[(batch, *window)] = probabilities[:num, :height, :width].argmax(axis=-1)
