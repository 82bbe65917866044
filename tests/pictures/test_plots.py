"""The box plots of the scores: panels by what the table holds, and dots where the scores are."""

import matplotlib.image
import numpy as np
import pytest

from brats.pictures.boxes import PANELS, write_score_boxes
from brats.scores.tables import METRICS

REGIONS = ("whole", "core", "enhancing")
ALL = ("dice", "sensitivity", "specificity", "precision", "hausdorff95_mm", "lesion_dice")
PANEL_WIDTH = 320  # Pixels.


def make_rows(*cases, metrics=("dice",)):
    """Returns rows whose every score is that of the case, as text, as it is read from a file."""
    return [
        {"case": f"case{index}", "region": region} | dict.fromkeys(metrics, str(score))
        for index, score in enumerate(cases)
        for region in REGIONS
    ]


def read_picture(path):
    return matplotlib.image.imread(path)[..., :3]  # (height, width, 3) in [0, 1]


def is_dot(picture):
    return picture[..., 2] > picture[..., 0] + 0.25  # Blue.


def is_median(picture):
    return picture[..., 0] > picture[..., 2] + 0.5  # Orange.


def middles(mask, axis):
    """Returns the middle of each stretch of rows (0) or columns (1) that a mask occupies.

    A line of the box across a dot does not part it.
    """
    occupied = np.flatnonzero(mask.any(axis=1 - axis))
    parts = np.split(occupied, np.flatnonzero(np.diff(occupied) > 4) + 1)
    return [(part[0] + part[-1]) / 2 for part in parts if part.size]


def draw(tmp_path, rows):
    write_score_boxes(tmp_path / "scores.png", rows)
    return read_picture(tmp_path / "scores.png")


@pytest.mark.parametrize(
    ("num_metrics", "num_columns", "num_rows"), [(1, 1, 1), (3, 3, 1), (4, 4, 1), (6, 4, 2)]
)
def test_there_is_a_panel_for_each_metric_of_the_table(
    num_metrics, num_columns, num_rows, tmp_path
):
    rows = make_rows(0.5, metrics=ALL[:num_metrics])
    height, width, _ = draw(tmp_path, rows).shape
    assert (width, height) == (PANEL_WIDTH * num_columns, 300 * num_rows + 40)


def test_metrics_without_a_panel_are_left_out(tmp_path):
    rows = make_rows(0.5, metrics=("dice", "num_lesions", "reference_ml"))
    assert draw(tmp_path, rows).shape[1] == PANEL_WIDTH


def test_all_metrics_that_the_challenge_ranks_by_have_a_panel():
    assert {"dice", "hausdorff95_mm", "lesion_dice", "lesion_hausdorff95_mm"} <= set(PANELS)
    assert set(PANELS) <= set(METRICS)


@pytest.mark.parametrize("num_cases", [1, 2])
def test_one_or_two_cases_are_dots_without_a_box(num_cases, tmp_path):
    picture = draw(tmp_path, make_rows(*[0.5] * num_cases))
    assert len(middles(is_dot(picture), axis=1)) == 3 * num_cases
    assert not is_median(picture).any()


def test_from_three_cases_on_the_box_has_its_median_at_the_middle_score(tmp_path):
    picture = draw(tmp_path, make_rows(0.1, 0.9, 0.4))
    highest, middle, lowest = middles(is_dot(picture), axis=0)
    (median,) = middles(is_median(picture), axis=0)
    assert len(middles(is_median(picture), axis=1)) == 3
    assert median == pytest.approx(middle, abs=2)
    # Scores are on a linear axis: 0.9 - 0.4 to 0.9 - 0.1.
    assert (middle - highest) / (lowest - highest) == pytest.approx(0.5 / 0.8, abs=0.02)


def test_dots_stand_over_their_region_in_the_order_of_the_cases(tmp_path):
    # Column by column: whole 0.1 and 0.2, core 0.5 and 0.6, enhancing 0.8 and 0.9.
    scores = {"whole": (0.1, 0.2), "core": (0.5, 0.6), "enhancing": (0.8, 0.9)}
    rows = [
        {"case": f"case{index}", "region": region, "dice": values[index]}
        for index in range(2)
        for region, values in scores.items()
    ]
    dots = is_dot(draw(tmp_path, rows))
    heights = [np.nonzero(dots[:, int(column)])[0].mean() for column in middles(dots, axis=1)]
    assert len(heights) == 6
    steps = np.diff(heights) / (heights[-1] - heights[0])  # Of 0.8 in all.
    assert steps == pytest.approx([0.125, 0.375, 0.125, 0.25, 0.125], abs=0.02)


def test_distances_are_drawn_on_one_scale_from_0_to_the_worst_and_beyond(tmp_path):
    heights = []
    for distances in ((0, 10, 100), (0, 10, 100, 374), (0, 10, 100, 900)):
        dots = is_dot(draw(tmp_path, make_rows(*distances, metrics=["hausdorff95_mm"])))
        heights.append(middles(dots, axis=0)[::-1])
    near, far, farthest = heights
    assert [len(rows) for rows in heights] == [3, 4, 4]
    assert far[:3] == pytest.approx(near, abs=1)
    # Logarithmic above 1 mm: from 10 to 100 as far as from 100 to 1000.
    assert (farthest[2] - farthest[3]) / (farthest[1] - farthest[2]) == pytest.approx(
        np.log10(900 / 100), abs=0.05
    )


def test_the_same_rows_are_drawn_as_the_same_bytes(tmp_path):
    for name in ("first.png", "second.png"):
        write_score_boxes(tmp_path / name, make_rows(0.1, 0.2, 0.4))
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
