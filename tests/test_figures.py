"""The overlay's colors, and the panels, order and orientation of the PNG file."""

import matplotlib.image
import numpy as np
import pytest

from brats.figures import largest_tumor_slice, overlay, remove_pictures, write_overlays

RED, GREEN, BLUE = range(3)
BLACK = np.zeros((8, 12))


def full_of(index, shape=BLACK.shape):
    return np.full(shape, index, dtype=np.uint8)


def read_picture(path):
    return matplotlib.image.imread(path)[..., :3]  # (height, width, 3) in [0, 1]


def is_red(picture):
    return (picture[..., RED] > 0.5) & (picture[..., GREEN] < 0.2) & (picture[..., BLUE] < 0.2)


def is_green(picture):
    return (picture[..., GREEN] > 0.4) & (picture[..., RED] < 0.2) & (picture[..., BLUE] < 0.2)


@pytest.mark.parametrize("gray", [0, 500, 1000])
def test_necrosis_is_red_edema_green_enhancing_yellow_on_any_gray(gray):
    flair = np.array([[gray, gray, gray, gray, 0, 1000]])
    classes = np.array([[0, 1, 2, 3, 0, 0]], dtype=np.uint8)
    normal, necrosis, edema, enhancing = overlay(flair, classes)[0, :4]
    assert normal[RED] == normal[GREEN] == normal[BLUE]
    assert necrosis[RED] > necrosis[GREEN] and necrosis[RED] > necrosis[BLUE]
    assert edema[GREEN] > edema[RED] and edema[GREEN] > edema[BLUE]
    assert enhancing[RED] == enhancing[GREEN] > enhancing[BLUE]


def test_overlay_is_gray_between_the_minimum_and_almost_the_maximum():
    # The 99.5th percentile of 201 pixels is the second largest: a single bright pixel is cut.
    flair = np.array([[-100] + [0] * 198 + [100, 9999]])
    picture = overlay(flair, full_of(0, flair.shape))
    assert picture.shape == (1, 201, 3)
    assert picture[0, [0, 1, 199, 200], RED].tolist() == [0, 0.5, 1, 1]


def test_overlay_of_an_empty_slice_is_black():
    assert not overlay(BLACK, full_of(0)).any()


def test_largest_tumor_slice_is_the_one_with_most_tumor_of_any_class():
    classes = np.zeros((5, 6, 7), dtype=np.uint8)
    classes[1, 0, :3] = 3
    classes[3, 0, :4] = 1, 2, 1, 2
    assert largest_tumor_slice(classes) == 3


def test_largest_tumor_slice_is_the_middle_one_without_tumor():
    assert largest_tumor_slice(np.zeros((5, 6, 7), dtype=np.uint8)) == 2


def test_picture_has_three_panels_with_ground_truth_and_two_without(tmp_path):
    write_overlays(tmp_path / "two.png", "a", BLACK, full_of(1))
    write_overlays(tmp_path / "three.png", "a", BLACK, full_of(1), full_of(2))
    two, three = (read_picture(tmp_path / name) for name in ("two.png", "three.png"))
    assert two.shape[0] == three.shape[0]
    assert two.shape[1] * 3 == three.shape[1] * 2


def test_panels_are_flair_ground_truth_prediction(tmp_path):
    write_overlays(tmp_path / "a.png", "a", BLACK, predicted=full_of(1), reference=full_of(2))
    flair, reference, predicted = np.array_split(read_picture(tmp_path / "a.png"), 3, axis=1)
    assert is_green(reference).any() and not is_red(reference).any()
    assert is_red(predicted).any() and not is_green(predicted).any()
    assert not is_green(flair).any() and not is_red(flair).any()
    assert (flair == 0).all(axis=-1).mean() > 0.4  # The black slice fills most of its panel.


def test_row_0_is_at_the_top_and_column_0_at_the_left(tmp_path):
    # 1 1 . . .      Rows of the slice are rows of the picture: red above green, and red to the
    # . . . . .      left of green.
    # . . . 2 2
    predicted = np.zeros((9, 15), dtype=np.uint8)
    predicted[:3, :6], predicted[6:, 9:] = 1, 2
    write_overlays(tmp_path / "a.png", "a", np.zeros((9, 15)), predicted)
    picture = read_picture(tmp_path / "a.png")
    (red_rows, red_columns), (green_rows, green_columns) = (
        np.nonzero(color(picture)) for color in (is_red, is_green)
    )
    assert red_rows.max() < green_rows.min()
    assert red_columns.max() < green_columns.min()
    # Three rows by six columns stay twice as wide as they are high.
    assert np.ptp(red_columns) == pytest.approx(2 * np.ptp(red_rows), abs=3)


def test_same_slice_is_drawn_as_the_same_bytes(tmp_path, rng):
    flair, predicted = rng.random((8, 12)), rng.integers(0, 4, (8, 12)).astype(np.uint8)
    for name in ("first.png", "second.png"):
        write_overlays(tmp_path / "figures" / name, "a", flair, predicted, predicted)
    folder = tmp_path / "figures"
    assert (folder / "first.png").read_bytes() == (folder / "second.png").read_bytes()
    assert len(list(folder.iterdir())) == 2


def test_older_pictures_of_a_case_are_removed_and_no_others(tmp_path):
    kept = ["BraTS-1-000-9.png", "BraTS-2-7.png", "BraTS-1-x.png"]
    for name in ["BraTS-1-82.png", "BraTS-1-7.png", *kept]:
        (tmp_path / name).touch()
    remove_pictures(tmp_path, "BraTS-1")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_pictures(tmp_path / "absent", "BraTS-1")
