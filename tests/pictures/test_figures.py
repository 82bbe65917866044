"""The overlay's colors, and the panels, letters, outlines and orientation of the PNG files."""

import matplotlib.image
import numpy as np
import pytest

from brats.pictures.overlays import (
    largest_tumor_slice,
    overlay,
    remove_pictures,
    write_modalities,
    write_overlays,
    write_pictures,
)
from brats.volumes.case import RawCase
from brats.volumes.geometry import Geometry

RED, GREEN, BLUE = range(3)
BLACK = np.zeros((8, 12))
# Pixels of the pictures: a gap before and between panels, and what lies above and below them.
GAP, TITLE, NAME, LEGEND = 8, 30, 26, 34


def full_of(index, shape=BLACK.shape):
    return np.full(shape, index, dtype=np.uint8)


def read_picture(path):
    return matplotlib.image.imread(path)[..., :3]  # (height, width, 3) in [0, 1]


def read_panels(path, height, width):
    """Returns the panels of a picture, `(rows, columns, height, width, 3)`."""
    picture = read_picture(path)[TITLE:-LEGEND, GAP:]
    num_rows, num_columns = picture.shape[0] // (NAME + height), picture.shape[1] // (width + GAP)
    assert picture.shape[:2] == (num_rows * (NAME + height), num_columns * (width + GAP))
    grid = picture.reshape(num_rows, NAME + height, num_columns, width + GAP, 3)
    return grid[:, NAME:, :, :width].swapaxes(1, 2)


def is_red(picture):
    return (picture[..., RED] > 0.5) & (picture[..., GREEN] < 0.2) & (picture[..., BLUE] < 0.2)


def is_green(picture):
    return (picture[..., GREEN] > 0.4) & (picture[..., RED] < 0.2) & (picture[..., BLUE] < 0.2)


def is_white(picture):
    return (picture > 0.8).all(axis=-1)


def without_letters(panel):
    """Returns a panel without the columns where the letters stand, a tenth on either side."""
    tenth = panel.shape[1] // 10
    return panel[:, tenth:-tenth]


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


def test_classes_differ_in_lightness_for_readers_who_see_no_color():
    # Luma by Rec. 601: 0.299 red + 0.587 green + 0.114 blue. Of the colors alone it is 0.299,
    # 0.8 * 0.587 = 0.470 and 0.299 + 0.587 = 0.886, of which 0.6 shows on any gray.
    for gray in (0, 500, 1000):
        flair = np.array([[gray, gray, gray, 0, 1000]])
        picture = overlay(flair, np.array([[1, 2, 3, 0, 0]], dtype=np.uint8))[0, :3]
        necrosis, edema, enhancing = picture @ (0.299, 0.587, 0.114)
        assert edema - necrosis == pytest.approx(0.6 * (0.470 - 0.299), abs=1e-3)
        assert enhancing - edema == pytest.approx(0.6 * (0.886 - 0.470), abs=1e-3)


def test_panels_are_flair_ground_truth_if_any_and_prediction(tmp_path):
    write_overlays(tmp_path / "two.png", "a", BLACK, full_of(1))
    write_overlays(tmp_path / "three.png", "a", BLACK, predicted=full_of(1), reference=full_of(2))
    # 8 x 12 pixels of 1 mm are drawn as 320 x 480.
    (two,) = read_panels(tmp_path / "two.png", 320, 480)
    (three,) = read_panels(tmp_path / "three.png", 320, 480)
    for panels, expected in (two, [None, is_red]), (three, [None, is_green, is_red]):
        assert len(panels) == len(expected)
        for panel, is_expected in zip(panels, expected, strict=True):
            inside = without_letters(panel)
            assert is_expected(inside).all() if is_expected else not inside.any()


def test_a_published_pixel_is_four_pixels_of_the_picture(tmp_path, rng):
    flair, predicted = rng.random((240, 240)), rng.integers(0, 4, (240, 240)).astype(np.uint8)
    write_overlays(tmp_path / "a.png", "a", flair, predicted)
    ((_, panel),) = read_panels(tmp_path / "a.png", 480, 480)
    expected = overlay(flair, predicted).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_allclose(*map(without_letters, (panel, expected)), atol=1 / 255)


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    # 8 rows of 2 mm and 12 columns of 1 mm: 16 mm x 12 mm, and 480 x 360 in the picture.
    predicted = full_of(0)
    predicted[2:4, 4:8] = 1  # 4 mm x 4 mm: 120 x 120.
    write_overlays(tmp_path / "a.png", "a", BLACK, predicted, pixel_mm=(2.0, 1.0))
    ((_, panel),) = read_panels(tmp_path / "a.png", 480, 360)
    rows, columns = np.nonzero(is_red(panel))
    assert (rows.min(), rows.max()) == (120, 239)
    assert (columns.min(), columns.max()) == (120, 239)


def test_every_panel_has_r_at_the_left_and_l_at_the_right(tmp_path):
    write_overlays(tmp_path / "one.png", "a", BLACK, full_of(0), full_of(0))
    write_modalities(tmp_path / "all.png", "a", [BLACK] * 4, full_of(0))
    one, sheet = (
        read_panels(tmp_path / name, *shape)
        for name, shape in (("one.png", (320, 480)), ("all.png", (160, 240)))
    )
    for panel in [*one.reshape(-1, 320, 480, 3), *sheet.reshape(-1, 160, 240, 3)]:
        inked = is_white(panel)
        middle = panel.shape[1] // 2
        for half, has_bowl in (inked[:, :middle], True), (inked[:, middle:], False):
            rows, columns = np.nonzero(half)
            letter = half[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            # R has its bowl above and at the right, L nothing.
            above, right = letter.shape[0] // 2, letter.shape[1] // 2
            assert letter[:above, right + 1 :].any() == has_bowl
            assert letter[:, 0].all()
        assert not is_white(without_letters(panel)).any()


def test_ground_truth_is_outlined_on_the_prediction_only(tmp_path):
    # The tumor is pixels 60 to 99 by 80 to 139, at 2 pixels each 120 to 199 by 160 to 279.
    reference = full_of(0, (240, 240))
    reference[60:100, 80:140] = 2
    write_overlays(tmp_path / "a.png", "a", np.zeros((240, 240)), 0 * reference, reference)
    ((flair, ground_truth, prediction),) = read_panels(tmp_path / "a.png", 480, 480)
    rows, columns = np.nonzero(is_white(without_letters(prediction)))
    columns += 48
    assert (rows.min(), rows.max()) == (pytest.approx(120, abs=2), pytest.approx(199, abs=2))
    assert (columns.min(), columns.max()) == (pytest.approx(160, abs=2), pytest.approx(279, abs=2))
    assert not prediction[124:196, 164:276].any()
    assert not is_white(without_letters(flair)).any()
    assert not is_white(without_letters(ground_truth)).any()


def test_the_core_is_outlined_in_black_within_the_whole_tumor_in_white(tmp_path):
    reference = full_of(2, (240, 240))
    reference[60:180, 60:180] = 1  # Necrosis, so core: 120 to 359 in the picture.
    reference[:30] = 0  # The whole tumor ends at row 60 of the picture.
    write_overlays(tmp_path / "a.png", "a", np.zeros((240, 240)), full_of(2, (240, 240)), reference)
    ((*_, prediction),) = read_panels(tmp_path / "a.png", 480, 480)
    down = prediction[:, 240]  # A line from anterior to posterior through the middle.
    white, black = (np.flatnonzero(mask) for mask in (is_white(down), (down < 0.2).all(axis=-1)))
    assert white.size and white == pytest.approx(60, abs=2)
    above, below = black[black < 240], black[black > 240]
    assert above.size and above == pytest.approx(120, abs=2)
    assert below.size and below == pytest.approx(360, abs=2)


@pytest.mark.parametrize("index", [0, 1])
def test_a_reference_without_an_edge_has_no_outline(index, tmp_path):
    write_overlays(tmp_path / "a.png", "a", BLACK, full_of(0), full_of(index))
    ((*_, prediction),) = read_panels(tmp_path / "a.png", 320, 480)
    assert not without_letters(prediction).any()


def test_all_modalities_stand_above_their_predictions(tmp_path):
    # Each image is bright in a quarter of its own.
    images = [np.zeros((8, 12)) for _ in range(4)]
    quarters = [(rows, columns) for rows in ("top", "bottom") for columns in ("left", "right")]
    sides = {"top": np.s_[:4], "bottom": np.s_[4:], "left": np.s_[:6], "right": np.s_[6:]}
    for image, (rows, columns) in zip(images, quarters, strict=True):
        image[sides[rows], sides[columns]] = 1
    write_modalities(tmp_path / "a.png", "a", images, full_of(1))
    above, below = read_panels(tmp_path / "a.png", 160, 240)
    for index, image in enumerate(images):
        larger = image.repeat(20, axis=0).repeat(20, axis=1)
        np.testing.assert_array_equal(
            without_letters(above[index])[..., GREEN], without_letters(larger)
        )
        assert (without_letters(below[index])[..., RED] >= 0.6).all()


def test_older_pictures_of_a_case_are_removed_and_no_others(tmp_path):
    kept = ["BraTS-1-000-9.png", "BraTS-2-7.png", "BraTS-1-x.png", "BraTS-2-modalities.png"]
    for name in ["BraTS-1-82.png", "BraTS-1-7.png", "BraTS-1-modalities.png", *kept]:
        (tmp_path / name).touch()
    remove_pictures(tmp_path, "BraTS-1")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    remove_pictures(tmp_path / "absent", "BraTS-1")


def made_case():
    """Returns a raw case of noise and predicted classes.

    Of five axial slices from the feet up, the last but one has most tumor: at the patient's left,
    in front.
    """
    rng = np.random.default_rng(0)
    arrays = [rng.integers(1, 100, (5, 40, 60)) for _ in range(4)]
    classes = np.zeros((5, 40, 60), dtype=np.uint8)
    classes[3, 4:10, 40:50], classes[1, 30:33, 5:10] = 1, 2
    geometry = Geometry((1.0, 1.5, 4.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    return RawCase(arrays, classes, geometry), classes


def test_tumor_in_front_at_the_left_is_drawn_above_at_the_l(tmp_path):
    path = write_pictures(tmp_path, "a", *made_case())
    assert path == tmp_path / "a-3.png"
    # 40 rows of 1.5 mm and 60 columns of 1 mm: 480 x 480.
    ((_, reference, _),) = read_panels(path, 480, 480)
    rows, columns = np.nonzero(reference[..., RED] > reference[..., BLUE] + 0.3)
    assert (rows.min(), rows.max()) == (4 * 12, 10 * 12 - 1)
    assert (columns.min(), columns.max()) == (40 * 8, 50 * 8 - 1)


def test_slices_asked_for_replace_the_one_with_most_tumor(tmp_path):
    write_pictures(tmp_path, "a", *made_case())
    assert write_pictures(tmp_path, "a", *made_case(), slices=(1, 0)) == tmp_path / "a-1.png"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a-0.png",
        "a-1.png",
        "a-modalities.png",
    ]
    ((_, reference, _),) = read_panels(tmp_path / "a-1.png", 480, 480)
    assert (reference[..., GREEN] > reference[..., BLUE] + 0.3).any()


def test_a_case_without_ground_truth_has_its_pictures(tmp_path):
    raw, classes = made_case()
    path = write_pictures(tmp_path, "a", RawCase(raw.volumes, None, raw.geometry), classes)
    assert read_panels(path, 480, 480).shape[:2] == (1, 2)
    assert read_panels(tmp_path / "a-modalities.png", 240, 240).shape[:2] == (2, 4)
