"""Overlap of drawn and empty masks, compared with SimpleITK's measures."""

import numpy as np
import pytest
import SimpleITK

from brats.scores.overlap import dice, precision, sensitivity, specificity

SHAPE = (2, 3, 4)
EMPTY, FULL = np.zeros(SHAPE, dtype=bool), np.ones(SHAPE, dtype=bool)


def mask(*rows):
    """Returns the mask of a drawing, `(1, Y, X)`: # is in, a dot is out."""
    return np.array([[[letter == "#" for letter in row.split()] for row in rows]])


def test_scores_of_rectangles_that_share_half_their_pixels():
    predicted = mask("# # . .", "# # . .", ". . . .")
    reference = mask(". # # .", ". # # .", ". . . .")
    assert dice(predicted, reference) == 2 * 2 / (4 + 4)
    assert sensitivity(predicted, reference) == 2 / 4
    assert specificity(predicted, reference) == 6 / 8  # Of 12 - 4 pixels, 2 were marked.
    assert precision(predicted, reference) == 2 / 4


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1, 1)),
        (FULL, EMPTY, (0, 0, 0, 0)),
        (EMPTY, FULL, (0, 0, 0, 0)),
        (FULL, FULL, (1, 1, 0, 1)),
    ],
)
def test_scores_of_empty_and_full_masks(predicted, reference, expected):
    metrics = (dice, sensitivity, specificity, precision)
    scores = [metric(predicted, reference) for metric in metrics]
    assert scores == list(expected)
    assert {type(score) for score in scores} == {float}


def test_scores_are_those_of_simpleitk(rng):
    predicted, reference = rng.random((2, 5, 6, 7)) < [[[[0.3]]], [[[0.6]]]]
    filter_ = SimpleITK.LabelOverlapMeasuresImageFilter()
    filter_.Execute(
        *[SimpleITK.GetImageFromArray(m.astype(np.uint8)) for m in (predicted, reference)]
    )
    assert dice(predicted, reference) == pytest.approx(filter_.GetDiceCoefficient())
    for metric, error in (
        (sensitivity, filter_.GetFalseNegativeError),
        (specificity, filter_.GetFalsePositiveError),
        (precision, filter_.GetFalseDiscoveryRate),
    ):
        assert metric(predicted, reference) == pytest.approx(1 - error(1))
