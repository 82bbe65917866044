"""From a normalized case to its classes.

In: networks, and what they see of a case. Out: class indices, and probabilities if asked for.
"""

from dataclasses import dataclass

import numpy as np

from engine.devices.backend import box_rounding, build_predictor, naming_batch_size
from engine.prediction.background import background_network
from engine.prediction.slices import (
    average,
    predict_probabilities,
    predict_volume,
    with_mirroring,
)


@dataclass(frozen=True)
class Segmentation:
    """What networks say of a case.

    Attributes:
        classes: uint8 class indices `(Z, Y, X)`.
        probabilities: float32 `(Z, Y, X, C)`, or None if they were not asked for.
    """

    classes: np.ndarray
    probabilities: np.ndarray | None = None


def build_segmenter(networks, batch_size, full_slices=False, flips=False, probabilities=False):
    """Builds the function that segments a normalized case.

    Args:
        networks: List of `ResUNet`s; their probabilities are averaged.
        batch_size: Slices to predict at once, int.
        full_slices: Whether to predict whole slices instead of boxes around the brain.
        flips: Whether to average every prediction with that of the mirror image.
        probabilities: Whether to return probabilities.

    Returns:
        Function from channels, float32 `(Z, Y, X, M)`, to a `Segmentation`.
    """
    multiple = max(2 ** network.settings["depth"] for network in networks)
    whole = average([build_predictor(lambda n=n: n) for n in networks])
    boxes = average([build_predictor(lambda n=n: background_network(n)) for n in networks])
    if flips:
        whole, boxes = with_mirroring(whole), with_mirroring(boxes)
    if full_slices:
        boxes = None

    @naming_batch_size(batch_size)
    def segment(channels):
        arguments = (whole, channels, batch_size, multiple, boxes, box_rounding())
        if not probabilities:
            return Segmentation(predict_volume(*arguments))
        predicted = predict_probabilities(*arguments)
        return Segmentation(predicted.argmax(axis=-1).astype(np.uint8), predicted)

    return segment
