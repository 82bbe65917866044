"""From a stack of slices to a class volume.

In: normalized channels of a case, and functions that predict batches. Out: class indices or
probabilities of every voxel.
"""

import math

import numpy as np

from brats.editions import CLASSES
from brats.volumes.normalization import BACKGROUND, brain_mask

# In pixels of a network that halves the resolution 3 times; `docs/results.md` has the figures.
MARGIN = 8  # From the brain to the border of its box.
EDGE = 24  # A brain closer to the edge of its slice is affected by the zeros that pad the slice.


def predict_volume(predict_batch, channels, batch_size, multiple=8, predict_boxes=None, rounding=8):
    """Predicts the class of every voxel, slice by slice.

    Slices without brain do not go through the network. They are background, and so is every voxel
    outside the brain.

    Args:
        predict_batch: Function from float32 slices `(N, H, W, M)` to probabilities
            `(N, H, W, C)`; N is always `batch_size`.
        channels: Normalized case, float32 `(Z, Y, X, M)`.
        batch_size: Slices to predict at once, int.
        multiple: Slices are padded with background until H and W are multiples of this, int.
        predict_boxes: Function like `predict_batch` for boxes around the brain, or None to predict
            whole slices.
        rounding: Sides of boxes are multiples of this, int. A larger value gives fewer shapes.

    Returns:
        uint8 class indices `(Z, Y, X)`.
    """
    brain = brain_mask(channels)
    classes = np.zeros(brain.shape, dtype=np.uint8)
    windows = _predict_windows(
        predict_batch, channels, brain, batch_size, multiple, predict_boxes, rounding
    )
    for where, probabilities in windows:
        classes[where] = probabilities.argmax(axis=-1)
    # Departure: the original runs every slice and keeps the network's labels outside the brain.
    return np.where(brain, classes, 0).astype(np.uint8)


def predict_probabilities(
    predict_batch, channels, batch_size, multiple=8, predict_boxes=None, rounding=8
):
    """Predicts the probability of every class, float32 `(Z, Y, X, C)`; see `predict_volume`."""
    brain = brain_mask(channels)
    outside = np.eye(len(CLASSES), dtype=np.float32)[0]
    probabilities = np.tile(outside, (*brain.shape, 1))  # (Z, Y, X, C)
    windows = _predict_windows(
        predict_batch, channels, brain, batch_size, multiple, predict_boxes, rounding
    )
    for where, predicted in windows:
        probabilities[where] = predicted
    probabilities[~brain] = outside
    return probabilities


def average(predictors):
    """Returns a function from slices to the mean of the probabilities of several predictors."""
    if len(predictors) == 1:
        return predictors[0]
    return lambda slices: np.mean([np.asarray(predict(slices)) for predict in predictors], axis=0)


def with_mirroring(predict):
    """Returns a function that averages the predictions of slices and of their mirror images."""

    def predict_mirrored(slices):
        return np.asarray(predict(np.ascontiguousarray(slices[:, :, ::-1])))[:, :, ::-1]

    return average([predict, predict_mirrored])


def brain_limits(channels, brain, multiple):
    """Returns where the brain lies in the slices that can be predicted by boxes.

    Two kinds of slices cannot: those in which a pixel outside the brain is not background in every
    modality (an empty modality is 0 there), and those in which the brain comes closer than `EDGE`
    to the edge of the padded slice.

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
    """Returns the window around the brains of some slices: two slices, along rows and columns.

    The window lies inside the slice of the given size and starts at multiples of `multiple`. Its
    lengths are multiples of `multiple` and `rounding`, or the whole side. `limits` are integers
    `(N, 2, 2)`: first and last position, row and column.
    """
    margin, rounding = _scaled(MARGIN, multiple), math.lcm(rounding, multiple)
    first = (limits[:, 0].min(axis=0) - margin) // multiple * multiple
    stop = limits[:, 1].max(axis=0) + 1 + margin
    lengths = np.minimum(-(-(stop - first) // rounding) * rounding, size)
    starts = np.minimum(first, size - lengths)
    return tuple(slice(a, a + length) for a, length in zip(starts, lengths, strict=True))


def _scaled(pixels, multiple):
    """Returns a distance for a network of any depth; deeper networks see farther."""
    return -(-pixels * multiple // 8)


def _in_batches(indices, batch_size):
    for start in range(0, len(indices), batch_size):
        yield indices[start : start + batch_size]


def _predict_windows(predict_batch, channels, brain, batch_size, multiple, predict_boxes, rounding):
    """Yields the place of some slices' windows in the volume, and the probabilities there."""
    occupied = np.flatnonzero(brain.any(axis=(1, 2)))
    limits = {} if predict_boxes is None else brain_limits(channels, brain, multiple)
    whole = [index for index in occupied if index not in limits]
    size = [side + -side % multiple for side in brain.shape[1:]]
    window = tuple(slice(0, side) for side in size)
    for batch in _in_batches(whole, batch_size):
        yield _predict_window(predict_batch, channels, batch, window, batch_size)
    for batch in _in_batches(list(limits), batch_size):
        window = box(np.array([limits[index] for index in batch]), size, multiple, rounding)
        yield _predict_window(predict_boxes, channels, batch, window, batch_size)


def _predict_window(predict, channels, batch, window, batch_size):
    """Predicts the same window of some slices; returns where it lies and the probabilities."""
    inside = channels[(batch, *window)]  # (N, H, W, M); a window may end beyond the slice.
    num, height, width, _ = inside.shape
    # Always the same number of slices: a short last batch would be compiled again.
    lengths = (batch_size, *(side.stop - side.start for side in window))
    padding = [(0, to - has) for to, has in zip(lengths, inside.shape, strict=False)]
    slices = np.pad(inside, (*padding, (0, 0)), constant_values=BACKGROUND)
    probabilities = np.asarray(predict(slices))  # (N, H, W, C)
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("A network gave a probability that is not finite.")
    return (batch, *window), probabilities[:num, :height, :width]
