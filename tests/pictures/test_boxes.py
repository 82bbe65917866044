"""The box plots of the scores: dots where the scores are, boxes, and the axis of distances."""

import matplotlib.image
import numpy as np
import pytest

from brats.editions import REGIONS
from brats.pictures.boxes import PANELS, write_score_boxes
from brats.scores.tables import METRICS

HD95 = PANELS.index("hausdorff95_mm")


def make_rows(*cases):
    """Returns the rows of cases; a case is one score for all regions and metrics, or one each."""
    return [
        {"region": region} | dict.fromkeys(METRICS, score)
        for scores in cases
        for region, score in zip(REGIONS, np.broadcast_to(scores, 3).tolist(), strict=True)
    ]


def draw(folder, rows, panel=0):
    """Returns a panel, red, green and blue in [0, 1]. Panels have 320 x 300 pixels, 4 in a row."""
    write_score_boxes(folder / "scores.png", rows)
    picture = matplotlib.image.imread(folder / "scores.png")[40:, :, :3]
    assert picture.shape == (2 * 300, 4 * 320, 3)
    row, column = divmod(panel, 4)
    return picture[row * 300 :, column * 320 :][:300, :320]


def is_dot(picture):
    return picture[..., 2] > picture[..., 0] + 0.25  # Blue.


def is_median(picture):
    return picture[..., 0] > picture[..., 2] + 0.5  # Orange.


def middles(mask, axis):
    """Returns the middles of the stretches of rows (0) or columns (1) that a mask occupies.

    Gaps of up to 4 pixels, such as a line of the box across a dot, do not split a stretch.
    """
    occupied = np.flatnonzero(mask.any(axis=1 - axis))
    parts = np.split(occupied, np.flatnonzero(np.diff(occupied) > 4) + 1)
    return [(part[0] + part[-1]) / 2 for part in parts if part.size]


def test_three_cases_have_a_box_with_its_median_at_the_middle_score_and_two_have_none(tmp_path):
    assert not is_median(draw(tmp_path, make_rows(0.1, 0.9))).any()
    picture = draw(tmp_path, make_rows(0.1, 0.9, 0.4))
    highest, middle, lowest = middles(is_dot(picture), axis=0)
    (median,) = middles(is_median(picture), axis=0)
    assert len(middles(is_median(picture), axis=1)) == 3
    assert median == pytest.approx(middle, abs=2)
    # Scores are on a linear axis: 0.9 - 0.4 to 0.9 - 0.1.
    assert (middle - highest) / (lowest - highest) == pytest.approx(0.5 / 0.8, abs=0.02)


def test_dots_stand_over_their_region_in_the_order_of_the_cases(tmp_path):
    # From left to right: whole 0.1 and 0.2, core 0.5 and 0.6, enhancing 0.8 and 0.9.
    dots = is_dot(draw(tmp_path, make_rows((0.1, 0.5, 0.8), (0.2, 0.6, 0.9))))
    heights = [np.nonzero(dots[:, int(column)])[0].mean() for column in middles(dots, axis=1)]
    assert len(heights) == 6
    steps = np.diff(heights) / (heights[-1] - heights[0])  # Of 0.8 in all.
    assert steps == pytest.approx([0.125, 0.375, 0.125, 0.25, 0.125], abs=0.02)
