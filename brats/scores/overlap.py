"""The overlap of two masks, counted in voxels.

In: a predicted mask P and a reference mask R, bool `(Z, Y, X)`. Out: Dice, sensitivity,
specificity, precision, in [0, 1].
"""

import numpy as np


def dice(predicted, reference):
    """Returns the Dice overlap of two masks, `2 |P and R| / (|P| + |R|)`.

    It is 1 if both masks are empty (the rule of BraTS), 0 if only one is.

    Reference:
        Dice, "Measures of the amount of ecologic association between species", 1945.
    """
    total = np.count_nonzero(predicted) + np.count_nonzero(reference)
    return _ratio(2 * np.count_nonzero(predicted & reference), total, 1.0)


def sensitivity(predicted, reference):
    """Returns the share of the reference that was found, `|P and R| / |R|`.

    If R is empty, it is 1 if P is empty too, otherwise 0 (the rule of BraTS 2023).
    """
    without = 0.0 if predicted.any() else 1.0
    return _ratio(np.count_nonzero(predicted & reference), np.count_nonzero(reference), without)


def specificity(predicted, reference):
    """Returns the share of voxels outside R that are outside P; 0 if R fills the volume."""
    outside = ~reference
    return _ratio(np.count_nonzero(outside & ~predicted), np.count_nonzero(outside), 0.0)


def precision(predicted, reference):
    """Returns the share of the prediction that is correct, `|P and R| / |P|`.

    If P is empty, it is 1 if R is empty too, otherwise 0.
    """
    return sensitivity(reference, predicted)


def _ratio(part, whole, without):
    return float(part / whole) if whole else without
