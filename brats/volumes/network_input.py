"""What the network sees of a case: 1 mm in the plane, normalized, for patches cropped and padded.

In: the raw volumes of a case. Out: normalized channels, and where they begin in the volume.
Extraction and prediction both call `network_input`.
"""

from dataclasses import dataclass

import numpy as np

from brats.editions import MODALITIES
from brats.volumes.normalization import BACKGROUND, NORMALIZATION, normalize
from brats.volumes.resampling import resample_case

PATCH_SIZE = 128  # Pixels.
PUBLISHED_SHAPE = (155, 240, 240)  # (Z, Y, X) of every BraTS volume to 2023.
PUBLISHED_WINDOW = (slice(1, 147), slice(29, 221), slice(42, 194))
# What a network has to be trained on to be used here. Its file says so.
INPUT_FORMAT = {"modalities": list(MODALITIES), "normalization": NORMALIZATION}


@dataclass(frozen=True)
class NetworkInput:
    """A case as the network sees it.

    Attributes:
        channels: Normalized modalities, float32 `(Z, Y, X, M)`; -9 outside the brain.
        classes: Reference, uint8 class indices `(Z, Y, X)`, or None.
        origin: First voxel in the uncropped (and resampled) volume as (z, y, x), int32 `(3,)`. It
            is negative where the input begins with padding.
    """

    channels: np.ndarray
    classes: np.ndarray | None
    origin: np.ndarray


def network_input(volumes, classes=None, crop=False, spacing_mm=(1, 1, 1)):
    """Normalizes a case by the statistics of its window, cropped or not.

    Voxels that are not 1 mm in the plane are resampled before. `on_case_grid` brings back what a
    network finds.

    Args:
        volumes: One raw array `(Z, Y, X)` per modality; 0 outside the brain.
        classes: Reference, uint8 class indices `(Z, Y, X)`, or None.
        crop: Whether to cut everything to the window. Slices smaller than a patch are then padded
            with background to the size of a patch.
        spacing_mm: Voxel size as (z, y, x).

    Returns:
        A `NetworkInput`.
    """
    volumes, classes = resample_case(volumes, classes, spacing_mm)
    window = crop_window(volumes)
    if not crop:
        # Departure: at prediction the original takes the statistics of the whole slice, whose
        # larger background shifts the percentiles.
        return NetworkInput(_normalize(volumes, window), classes, np.zeros(3, dtype=np.int32))
    everything = (slice(None),) * 3
    channels = _normalize([volume[window] for volume in volumes], everything)
    # Padding after normalization: the added background must not change the statistics.
    channels, before = _pad_to_patch(channels, BACKGROUND)
    if classes is not None:
        classes, _ = _pad_to_patch(classes[window], 0)
    start = np.array([part.start for part in window], dtype=np.int32)
    return NetworkInput(channels, classes, start - before)


def crop_window(volumes):
    """Returns three slices, the window that statistics are taken from and patches lie in.

    Volumes of 155 x 240 x 240 get the published window. Others get the bounding box of the brain,
    widened in the plane to the size of a patch where the slice has room.
    """
    shape = volumes[0].shape
    if shape == PUBLISHED_SHAPE:
        return PUBLISHED_WINDOW
    brain = np.logical_or.reduce([volume != 0 for volume in volumes])
    window = []
    for axis, least in enumerate((1, PATCH_SIZE, PATCH_SIZE)):
        others = tuple(other for other in range(3) if other != axis)
        occupied = np.flatnonzero(brain.any(axis=others))
        first, last = (occupied[0], occupied[-1] + 1) if occupied.size else (0, shape[axis])
        window.append(_widen(int(first), int(last), least, shape[axis]))
    return tuple(window)


def _normalize(volumes, window):
    channels = np.empty((*volumes[0].shape, len(volumes)), dtype=np.float32)
    for index, volume in enumerate(volumes):
        normalize(volume, *window[1:], out=channels[..., index])
    return channels


def _widen(first, last, least, size):
    """Returns the slice [first, last) grown evenly to `least`, moved and cut to [0, size)."""
    length = min(max(last - first, least), size)
    start = min(max((first + last - length) // 2, 0), size - length)
    return slice(start, start + length)


def _pad_to_patch(volume, value):
    """Pads slices evenly to the size of a patch; returns the array and the padding before it."""
    missing = [0, *(max(PATCH_SIZE - length, 0) for length in volume.shape[1:3])]
    before = np.array([total // 2 for total in missing], dtype=np.int32)
    if not any(missing):
        return volume, before
    widths = [(total // 2, total - total // 2) for total in missing]
    widths += [(0, 0)] * (volume.ndim - 3)
    return np.pad(volume, widths, constant_values=value), before
