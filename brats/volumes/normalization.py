"""Normalization: raw intensities in, standardized axial slices out.

In: volumes `(Z, Y, X)` and a window of their slices. Out: float32 of the same shape, -9 outside
the brain. Extraction and prediction share it.
"""

import numpy as np

BACKGROUND = -9.0  # Normalized value of every pixel outside the brain.
PERCENTILES = (1, 99)  # Between these, intensities are kept; beyond, clipped.
NORMALIZATION = "slice z-score of the window's 1st to 99th percentile, background -9"
SLICES_AT_ONCE = 8  # Keeps the arithmetic in the processor's cache.


def normalize(volume, rows=slice(None), columns=slice(None), out=None):
    """Standardizes every axial slice of one modality by the statistics of a window of it.

    Formula, for a slice `x` whose window holds the pixels `w`:

        low, high = 1st and 99th percentile of w, zeros included
        clipped   = clip(x, low, high);  v = non-zero pixels of clip(w, low, high)
        result    = (clipped - mean(v)) / std(v), and -9 where x is 0

    A slice whose clipped window, or whose `v`, is constant stays as clipped: an empty slice,
    and one with less than 1 % brain, is 0.

    Args:
        volume: Raw intensities, any real dtype, shape `(Z, Y, X)`; 0 outside the brain.
        rows: Window along Y, a slice.
        columns: Window along X, a slice.
        out: Array to write to, float32 `(Z, Y, X)`, or None for a new one.

    Returns:
        float32 array `(Z, Y, X)`; the arithmetic is float64.

    Reference:
        Kermi, Mahmoudi, Khadir, BrainLes 2018, and its implementation.
    """
    normalized = np.empty(volume.shape, dtype=np.float32) if out is None else out
    for start in range(0, len(volume), SLICES_AT_ONCE):
        block = slice(start, start + SLICES_AT_ONCE)
        with np.errstate(invalid="ignore"):  # A value that is none of these types' differs below.
            codes = volume[block].astype(np.uint16)
        # Scanners give whole numbers, of which a slice has some thousand: one table per slice.
        if np.array_equal(codes, volume[block]):
            normalized[block] = _by_counts(codes, rows, columns)
        else:
            normalized[block] = _by_pixels(volume[block], rows, columns)
    return normalized


def brain_mask(channels):
    """Returns where any normalized channel shows brain: `(Z, Y, X, M)` to bool `(Z, Y, X)`."""
    return ((channels != 0) & (channels != BACKGROUND)).any(axis=-1)


def _by_counts(codes, rows, columns):
    """Normalizes slices of whole numbers: every value once, then looked up for every pixel."""
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
    """Returns the percentile of values 0, 1, ... that come `counts` times: (S, V) to (S, 1).

    NumPy's linear interpolation, to the last bit.
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
    """Standardizes clipped values by the statistics of those that are not 0.

    Args:
        values: Raw values, float64, `(S, V)` or `(V,)`.
        clipped: The same, clipped, float64 `(S, V)`.
        counts: How often each comes in the window, int64, `(S, V)` or `(1, V)`.

    Returns:
        float64 `(S, V)`.
    """
    along = {"axis": 1, "keepdims": True}
    present = counts > 0
    nonzero = present & (clipped != 0)
    counts = np.where(nonzero, counts, 0)
    number = np.maximum(counts.sum(**along), 1)
    mean = (clipped * counts).sum(**along) / number
    deviation = np.sqrt(((clipped - mean) ** 2 * counts).sum(**along) / number)
    largest = np.where(present, clipped, -np.inf).max(**along)
    # Of the values, and of those that are not 0: constant ones have no deviation.
    constant = largest == np.where(present, clipped, np.inf).min(**along)
    constant |= largest <= np.where(nonzero, clipped, np.inf).min(**along)
    # Departure: the original marks every pixel equal to the slice's minimum, which is brain
    # where less than 1 % of the slice is background.
    standardized = (clipped - mean) / np.where(constant, 1, deviation)
    standardized = np.where(values == 0, BACKGROUND, standardized)
    return np.where(constant, clipped, standardized)
