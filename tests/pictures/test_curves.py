"""The learning curves: what is drawn where, for short and long runs."""

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest

from brats.pictures.curves import REGION_COLORS, write_learning_curves

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


def find_color(picture, color):
    """Returns the rows and columns of a color above the legend."""
    distance = np.abs(picture[:340] - matplotlib.colors.to_rgb(color)).max(axis=-1)
    return np.nonzero(distance < 0.1)


def test_every_region_has_its_color_at_the_height_of_its_dice(tmp_path):
    picture = draw(tmp_path, run_of(5))
    whole, core, enhancing = (np.mean(find_color(picture, REGION_COLORS[name])[0]) for name in DICE)
    assert whole < core < enhancing  # Row 0 is at the top.
    assert core == pytest.approx((whole + enhancing) / 2, abs=2)


@pytest.mark.parametrize(("prefix", "solid"), [("", False), ("val_", True)])
def test_validation_is_solid_and_training_is_dashed(prefix, solid, tmp_path):
    _, columns = find_color(draw(tmp_path, run_of(3, [prefix])), REGION_COLORS["core"])
    drawn = np.unique(columns)
    assert (len(drawn) == np.ptp(drawn) + 1) == solid


def test_text_is_drawn_as_numbers_and_missing_values_are_not_drawn(tmp_path):
    numbers = draw(tmp_path, run_of(3))
    text = [{name: str(value) for name, value in row.items()} for row in run_of(3)]
    np.testing.assert_array_equal(draw(tmp_path, text), numbers)
    missing = draw(tmp_path, [text[0] | {"val_loss": ""}, *text[1:]])
    assert (missing != numbers).any()
