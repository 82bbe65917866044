"""Whether a prediction can be right.

In: predicted class indices and the images of a case. Out: warnings, sentences, mostly none.
"""

import numpy as np

from brats.cases.repair import sampled
from brats.editions import CLASSES, count_classes

# The tumors of 46 real cases have 15 to 265 ml, at most 0.2 of the brain, at most 91 ml enhancing.
MAX_BRAIN_SHARE = 1 / 3
MAX_ENHANCING_ML = 150


def prediction_warnings(classes, raw):
    """Returns what is suspicious about a prediction.

    Args:
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        raw: The `RawCase`.

    Returns:
        List of str.
    """
    _, *counts = count_classes(classes)
    if not sum(counts):
        return ["The prediction holds no tumor. Look at the images."]
    warnings = []
    brain = np.count_nonzero(sampled(raw.volumes[0])) / sampled(classes).size * classes.size
    if sum(counts) > MAX_BRAIN_SHARE * brain:
        warnings.append(f"{100 * sum(counts) / brain:.0f} % of the brain is predicted as tumor")
    enhancing_ml = counts[CLASSES.index("enhancing") - 1] * raw.geometry.voxel_ml
    if enhancing_ml > MAX_ENHANCING_ML:
        warnings.append(f"{enhancing_ml:,.0f} ml are predicted as enhancing tumor")
    return [f"{warning}, which is unlikely. Look at the images." for warning in warnings]
