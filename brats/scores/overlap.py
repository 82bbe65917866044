"""The overlap of two masks, counted in voxels.

In: a predicted and a reference mask. Out: Dice, sensitivity, specificity, precision, in [0, 1].
"""

import numpy as np


def dice(predicted, reference):
    """Returns the Dice overlap of two masks.

    Formula:

        dice = 2 |P and R| / (|P| + |R|)

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if both masks are empty (the rule of BraTS), 0 if only one is.

    Reference:
        Dice, "Measures of the amount of ecologic association between species", 1945.
    """
    overlap = np.count_nonzero(predicted & reference)
    return _ratio(2 * overlap, np.count_nonzero(predicted) + np.count_nonzero(reference))


def sensitivity(predicted, reference):
    """Returns the share of the reference mask that was found: `|P and R| / |R|`.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the reference is empty, as there was nothing to find.
    """
    return _ratio(np.count_nonzero(predicted & reference), np.count_nonzero(reference))


def specificity(predicted, reference):
    """Returns the share of voxels outside the reference that the prediction left out.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the reference fills the volume.
    """
    return sensitivity(~predicted, ~reference)


def precision(predicted, reference):
    """Returns the share of the predicted mask that is correct: `|P and R| / |P|`.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the prediction is empty, as nothing marked is wrong.
    """
    return sensitivity(reference, predicted)


def _ratio(part, whole):
    return float(part / whole) if whole else 1.0
