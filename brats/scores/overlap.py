"""How much two masks overlap, counted in voxels.

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
        A float in [0, 1]; 1 if both masks are empty: nothing was there and nothing was found
        (the BraTS rule); 0 if one is.

    Reference:
        Dice, "Measures of the amount of ecologic association between species", 1945.
    """
    overlap = np.count_nonzero(predicted & reference)
    return _ratio(2 * overlap, np.count_nonzero(predicted) + np.count_nonzero(reference))


def sensitivity(predicted, reference):
    """Returns the share of the reference mask that was found: |P and R| / |R|.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the reference is empty: there was nothing to find.
    """
    return _ratio(np.count_nonzero(predicted & reference), np.count_nonzero(reference))


def specificity(predicted, reference):
    """Returns the share of the voxels outside the reference mask that were left out.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the reference fills the volume: there was nothing to leave out.
    """
    return sensitivity(~predicted, ~reference)


def precision(predicted, reference):
    """Returns the share of the predicted mask that is right: |P and R| / |P|.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the prediction is empty: nothing was marked that could be wrong.
        That is the rule of `sensitivity` with the masks exchanged; that all was missed shows
        in the sensitivity.
    """
    return sensitivity(reference, predicted)


def _ratio(part, whole):
    return float(part / whole) if whole else 1.0
