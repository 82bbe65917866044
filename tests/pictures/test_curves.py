"""The learning curves: what is drawn where, from numbers and from text, for short and long runs."""

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from brats.pictures.curves import RATE_COLOR, REGION_COLORS, write_learning_curves

DICE = {"whole": 0.9, "core": 0.5, "enhancing": 0.1}


def run_of(num_epochs, prefixes=("", "val_")):
    """Returns a history with constant soft Dice and a rate that falls tenfold per epoch."""
    return [
        {"epoch": epoch, "learning_rate": 10.0**-epoch}
        | {f"{prefix}loss": 1 / epoch for prefix in prefixes}
        | {f"{prefix}dice_{region}": DICE[region] for prefix in prefixes for region in DICE}
        for epoch in range(1, num_epochs + 1)
    ]


def draw(folder, history):
    """Returns the picture, red, green and blue in [0, 1] `(height, width, 3)`."""
    write_learning_curves(folder / "curves.png", history)
    return matplotlib.image.imread(folder / "curves.png")[..., :3]


def find_color(picture, color, left=0.0, right=1.0):
    """Returns the rows and columns of a color between two shares of the picture's width."""
    width = picture.shape[1]
    columns = slice(int(left * width), int(right * width))
    distance = np.abs(picture[:, columns] - matplotlib.colors.to_rgb(color)).max(axis=-1)
    return np.nonzero(distance < 0.1)


def dice_curves(picture, region):
    """Returns where a region's curves are in the middle panel, above the legend."""
    above = picture[: int(0.85 * len(picture))]
    return find_color(above, REGION_COLORS[region], 0.36, 0.66)


def test_every_region_has_its_color_at_the_height_of_its_dice(tmp_path):
    picture = draw(tmp_path, run_of(5))
    heights = {region: np.mean(dice_curves(picture, region)[0]) for region in DICE}
    # Dice of .9, .5 and .1 lie equally far from each other, and row 0 is at the top.
    assert heights["whole"] < heights["core"] < heights["enhancing"]
    middle = (heights["whole"] + heights["enhancing"]) / 2
    assert heights["core"] == pytest.approx(middle, abs=2)


@pytest.mark.parametrize("dice", [0.02, 0.98])
@pytest.mark.parametrize("num_epochs", [1, 5])
def test_the_legend_hides_no_curve_however_low_or_high_the_dice(num_epochs, dice, tmp_path):
    # As wide as the same curve at the height of 0.3.
    spans = []
    for value in (0.3, dice):
        history = [
            row | {"dice_whole": value, "val_dice_whole": value} for row in run_of(num_epochs)
        ]
        _, columns = dice_curves(draw(tmp_path, history), "whole")
        spans.append((columns.min(), columns.max()))
    assert spans[0] == pytest.approx(spans[1], abs=1)


@pytest.mark.parametrize(("prefix", "solid"), [("", False), ("val_", True)])
def test_validation_is_solid_and_training_is_dashed(prefix, solid, tmp_path):
    _, columns = dice_curves(draw(tmp_path, run_of(3, [prefix])), "core")
    drawn = np.unique(columns)
    assert (len(drawn) == np.ptp(drawn) + 1) == solid


def test_the_learning_rate_is_on_a_logarithmic_axis(tmp_path):
    # 0.1, 0.01, 0.001: a straight line, through the middle of its box.
    rows, columns = find_color(draw(tmp_path, run_of(3)), RATE_COLOR)
    assert rows[columns.argmin()] < rows[columns.argmax()]
    middle = rows[columns == (columns.min() + columns.max()) // 2]
    assert np.mean(middle) == pytest.approx((rows.min() + rows.max()) / 2, abs=3)


@pytest.mark.parametrize("num_epochs", [2, 40, 41, 400])
def test_curves_reach_over_all_epochs(num_epochs, tmp_path):
    history = [row | {"learning_rate": 0.1} for row in run_of(num_epochs)]
    _, columns = find_color(draw(tmp_path, history), RATE_COLOR, 0.72, 0.99)
    # Half an epoch is left free on both sides: of 2 epochs, half of the width.
    assert np.ptp(columns) / (0.27 * 1300) == pytest.approx(1 - 1 / num_epochs, abs=0.15)


def test_a_single_epoch_is_drawn_as_points(tmp_path):
    rows, columns = find_color(draw(tmp_path, run_of(1)), RATE_COLOR)
    assert 0 < np.ptp(rows) < 10 and 0 < np.ptp(columns) < 10


def test_values_read_back_as_text_are_drawn_as_the_same_bytes(tmp_path):
    history = run_of(3)
    history[0]["dice_core"] = 0.0  # Is drawn, while a missing value is not.
    draw(tmp_path, history)
    numbers = (tmp_path / "curves.png").read_bytes()
    draw(tmp_path, [{name: str(value) for name, value in row.items()} for row in history])
    assert (tmp_path / "curves.png").read_bytes() == numbers
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


def test_a_column_that_an_epoch_lacks_is_drawn_where_it_is(tmp_path):
    history = run_of(4)
    draw(tmp_path, history[:1] + [row | {"val_loss": 0.5} for row in history[1:]])
    whole = (tmp_path / "curves.png").read_bytes()
    del history[0]["val_loss"]
    draw(tmp_path, history)
    absent = (tmp_path / "curves.png").read_bytes()
    draw(tmp_path, [history[0] | {"val_loss": ""}, *history[1:]])
    assert (tmp_path / "curves.png").read_bytes() == absent != whole
