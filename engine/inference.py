"""From a stack of slices to a class volume.

In: normalized channels of a case and a function that predicts batches. Out: class indices of
every voxel.
"""

import numpy as np

from brats.normalization import BACKGROUND, brain_mask


def predict_volume(predict_batch, channels, batch_size, multiple=8):
    """Predicts the class of every voxel, slice by slice.

    Slices without brain are background without running the network, and so is every voxel
    outside the brain.

    Args:
        predict_batch: Function from float32 slices `(N, H, W, M)` to probabilities
            `(N, H, W, C)`; N is always `batch_size`.
        channels: Normalized case, float32 `(Z, Y, X, M)`.
        batch_size: Slices to predict at once, int.
        multiple: Slices are padded with background until H and W are multiples of this, int.

    Returns:
        uint8 class indices `(Z, Y, X)`.
    """
    brain = brain_mask(channels)
    classes = np.zeros(brain.shape, dtype=np.uint8)
    height, width = brain.shape[1:]
    occupied = np.flatnonzero(brain.any(axis=(1, 2)))
    for start in range(0, len(occupied), batch_size):
        batch = occupied[start : start + batch_size]
        # Always one shape: a short last batch would be compiled anew.
        padding = ((0, batch_size - len(batch)), (0, -height % multiple), (0, -width % multiple))
        slices = np.pad(channels[batch], (*padding, (0, 0)), constant_values=BACKGROUND)
        probabilities = np.asarray(predict_batch(slices))  # (N, H, W, C)
        classes[batch] = probabilities[: len(batch), :height, :width].argmax(axis=-1)
    # Departure: the original runs every slice and keeps the network's labels outside the brain.
    return np.where(brain, classes, 0).astype(np.uint8)
