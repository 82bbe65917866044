"""Normalization: raw intensities in, standardized axial slices out.

In: volumes `(Z, Y, X)` and a window of their slices. Out: float32 of the same shape, -9 outside
the brain. `network_input.py` calls it for extraction and for prediction.
"""

import numpy as np

BACKGROUND = -9.0  # Normalized value of every pixel outside the brain.
PERCENTILES = (1, 99)  # Intensities below the first and above the second are clipped.
NORMALIZATION = "slice z-score of the window's 1st to 99th percentile, background -9"
SLICES_AT_ONCE = 8  # Keeps the arithmetic in the processor's cache.


def normalize(volume, rows=slice(None), columns=slice(None), out=None):
    """Standardizes every axial slice of one modality by the statistics of a window of the slice.

    Formula, for a slice `x` whose window holds the pixels `w`:

        low, high = 1st and 99th percentile of w, zeros included
        clipped   = clip(x, low, high);  v = non-zero pixels of clip(w, low, high)
        result    = (clipped - mean(v)) / std(v), and -9 where x is 0

    If the clipped window or `v` is constant, the result is `clipped`. So an empty slice, or one
    with less than 1 % brain, is 0. The result is float32, written to `out` if there is one; the
    arithmetic is float64.

    Reference:
        Kermi, Mahmoudi, Khadir, BrainLes 2018, and its implementation.
    """
    normalized = np.empty(volume.shape, dtype=np.float32) if out is None else out
    for start in range(0, len(volume), SLICES_AT_ONCE):
        block = slice(start, start + SLICES_AT_ONCE)
        with np.errstate(invalid="ignore"):  # Such values differ below.
            codes = volume[block].astype(np.uint16)
        # Most images hold whole numbers, some thousand different ones in a slice.
        if np.array_equal(codes, volume[block]):
            normalized[block] = _by_counts(codes, rows, columns)
        else:
            normalized[block] = _by_pixels(volume[block], rows, columns)
    return normalized


def brain_mask(channels):
    """Returns where any normalized channel shows brain: `(Z, Y, X, M)` to bool `(Z, Y, X)`."""
    return ((channels != 0) & (channels != BACKGROUND)).any(axis=-1)


def _by_counts(codes, rows, columns):
    """Normalizes slices of whole numbers by a table of all values, which is faster."""
    num_slices, num_values = len(codes), int(codes.max()) + 1
    keys = codes + (num_values * np.arange(num_slices)).reshape(-1, 1, 1)  # (S, Y, X), int64
    counts = np.bincount(keys[:, rows, columns].ravel(), minlength=num_slices * num_values)
    counts = counts.reshape(num_slices, num_values)
    values = np.arange(num_values, dtype=np.float64)
    low, high = (_percentile_of_counts(counts, percentile) for percentile in PERCENTILES)
    table = _standardize(values, np.clip(values, low, high), counts)
    return table.astype(np.float32).ravel().take(keys)


def _by_pixels(pixels, rows, columns):
    """Normalizes slices of any numbers."""
    pixels = pixels.astype(np.float64)
    within = pixels[:, rows, columns]
    low, high = np.percentile(within, PERCENTILES, axis=(1, 2), keepdims=True)
    inside = np.zeros(pixels.shape[1:], dtype=np.int64)
    inside[rows, columns] = 1
    flat = pixels.reshape(len(pixels), -1)  # (S, Y * X)
    clipped = np.clip(pixels, low, high).reshape(flat.shape)
    return _standardize(flat, clipped, inside.reshape(1, -1)).reshape(pixels.shape)


def _percentile_of_counts(counts, percentile):
    """Returns the percentile of values 0, 1, ... that occur `counts` times: (S, V) to (S, 1).

    The result equals NumPy's linear interpolation to the last bit.
    """
    position = (counts[0].sum() - 1) * (percentile / 100)
    rank = int(position)
    gamma = position - rank
    reached = counts.cumsum(axis=1)
    below = (reached <= rank).sum(axis=1, keepdims=True).astype(np.float64)
    above = (reached <= rank + 1).sum(axis=1, keepdims=True).astype(np.float64)
    if gamma < 0.5:
        return below + (above - below) * gamma
    return above - (above - below) * (1 - gamma)


def _standardize(values, clipped, counts):
    """Standardizes clipped values, `(S, V)`, that occur `counts` times in the window, by slice."""
    along = {"axis": 1, "keepdims": True}
    present = counts > 0
    nonzero = present & (clipped != 0)
    counts = np.where(nonzero, counts, 0)
    number = np.maximum(counts.sum(**along), 1)
    mean = (clipped * counts).sum(**along) / number
    deviation = np.sqrt(((clipped - mean) ** 2 * counts).sum(**along) / number)
    largest = np.where(present, clipped, -np.inf).max(**along)
    # A window is constant if all of its values are equal, or all that are not 0.
    constant = largest == np.where(present, clipped, np.inf).min(**along)
    constant |= largest <= np.where(nonzero, clipped, np.inf).min(**along)
    # Departure: the original marks every pixel equal to the slice's minimum, which is brain
    # where less than 1 % of the slice is background.
    standardized = (clipped - mean) / np.where(constant, 1, deviation)
    standardized = np.where(values == 0, BACKGROUND, standardized)
    return np.where(constant, clipped, standardized)
