"""The overlay's colors, and the panels, letters, outlines and orientation of the PNG files."""

import matplotlib.image
import numpy as np
import pytest

from brats.pictures.overlays import (
    largest_tumor_slice,
    overlay,
    write_modalities,
    write_overlays,
    write_pictures,
)
from brats.volumes.case import RawCase
from brats.volumes.geometry import Geometry

RED, GREEN, BLUE = range(3)
BLACK = np.zeros((240, 240))
GAP, TITLE, NAME, LEGEND = 8, 30, 26, 34  # Pixels between and around panels.


def full_of(index, shape=BLACK.shape):
    return np.full(shape, index, dtype=np.uint8)


def read_panels(path, height=480, width=480):
    """Returns panels `(rows, columns, height, width, 3)` in [0, 1]; where letters are, black."""
    picture = matplotlib.image.imread(path)[TITLE:-LEGEND, GAP:, :3]
    num_rows, num_columns = picture.shape[0] // (NAME + height), picture.shape[1] // (width + GAP)
    assert picture.shape[:2] == (num_rows * (NAME + height), num_columns * (width + GAP))
    grid = picture.reshape(num_rows, NAME + height, num_columns, width + GAP, 3)
    panels = grid[:, NAME:, :, :width].swapaxes(1, 2).copy()
    panels[..., : width // 10, :] = panels[..., -width // 10 :, :] = 0
    return panels


def is_red(picture):
    return picture[..., RED] > picture[..., GREEN] + 0.3


def box_of(mask):
    """Returns the first and last row and the first and last column of a mask."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize("gray", [0, 500, 1000])
def test_classes_are_red_green_yellow_and_differ_in_lightness_on_any_gray(gray):
    flair = np.array([[gray, gray, gray, gray, 0, 1000]])
    picture = overlay(flair, np.array([[0, 1, 2, 3, 0, 0]], dtype=np.uint8))[0, :4]
    # 0.4 of the gray and 0.6 of (1, 0, 0), (0, 0.8, 0) and (1, 1, 0).
    colors = [(0, 0, 0), (0.6, 0, 0), (0, 0.48, 0), (0.6, 0.6, 0)]
    rest = np.array([[1.0], [0.4], [0.4], [0.4]]) * gray / 1000
    np.testing.assert_allclose(picture, colors + rest, atol=0.02)
    _, *lightness = picture @ (0.299, 0.587, 0.114)  # Rec. 601.
    assert np.diff(lightness).min() > 0.1


def test_overlay_is_gray_between_the_minimum_and_almost_the_maximum():
    # The 99.5th percentile of 201 pixels is the second largest: a single bright pixel is cut.
    flair = np.array([[-100] + [0] * 198 + [100, 9999]])
    picture = overlay(flair, full_of(0, flair.shape))
    assert picture.shape == (1, 201, 3)
    assert picture[0, [0, 1, 199, 200], RED].tolist() == [0, 0.5, 1, 1]
    assert not overlay(BLACK, full_of(0)).any()


def test_largest_tumor_slice_has_most_tumor_of_any_class_or_is_the_middle_one():
    classes = np.zeros((5, 6, 7), dtype=np.uint8)
    assert largest_tumor_slice(classes) == 2
    classes[1, 0, :3] = 3
    classes[3, 0, :4] = 1, 2, 1, 2
    assert largest_tumor_slice(classes) == 3


def test_panels_are_flair_reference_if_any_and_prediction(tmp_path, rng):
    flair, reference, predicted = rng.random((240, 240)), full_of(2), full_of(1)
    expected = [full_of(0), reference, predicted]
    write_overlays(tmp_path / "three.png", "a", flair, predicted, reference)
    write_overlays(tmp_path / "two.png", "a", flair, predicted)
    for name, classes in ("three.png", expected), ("two.png", expected[::2]):
        (panels,) = read_panels(tmp_path / name)
        assert len(panels) == len(classes)
        for panel, each in zip(panels, classes, strict=True):
            # A published pixel is 2 x 2 pixels of the picture.
            large = overlay(flair, each).repeat(2, axis=0).repeat(2, axis=1)
            np.testing.assert_allclose(panel[:, 48:-48], large[:, 48:-48], atol=1 / 255)


def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    # 8 rows of 2 mm and 12 columns of 1 mm: 16 mm x 12 mm, and 480 x 360 in the picture.
    predicted = full_of(0, (8, 12))
    predicted[2:4, 4:8] = 1  # 4 mm x 4 mm: 120 x 120.
    write_overlays(tmp_path / "a.png", "a", BLACK[:8, :12], predicted, pixel_mm=(2.0, 1.0))
    ((_, panel),) = read_panels(tmp_path / "a.png", 480, 360)
    assert box_of(is_red(panel)) == (120, 239, 120, 239)


@pytest.mark.filterwarnings("error")
def test_letters_that_the_font_lacks_are_written_as_escapes(tmp_path):
    for name, title in (("a", "\u60a3 \x01"), ("b", r"\u60a3 \x01")):
        write_overlays(tmp_path / f"{name}.png", title, BLACK, full_of(0))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_r_is_at_the_left_and_l_at_the_right(tmp_path):
    write_modalities(tmp_path / "all.png", "a", [BLACK] * 4, full_of(0))
    picture = matplotlib.image.imread(tmp_path / "all.png")[TITLE + NAME : TITLE + NAME + 240]
    for start, has_bowl in (GAP, True), (GAP + 240 - 24, False):
        inked = picture[:, start : start + 24, RED] > 0.8
        top, bottom, left, right = box_of(inked)
        letter = inked[top : bottom + 1, left : right + 1]
        # R has a bowl in its upper right part, L has nothing there.
        assert letter[: letter.shape[0] // 2, letter.shape[1] // 2 + 1 :].any() == has_bowl
        assert letter[:, 0].all()


def test_whole_tumor_is_outlined_in_white_and_core_in_black_on_the_prediction_only(tmp_path):
    reference = full_of(0)
    reference[30:200, 60:180] = 2  # 60 to 399 by 120 to 359 in the picture.
    reference[60:180, 80:160] = 1  # Core: 120 to 359.
    write_overlays(tmp_path / "a.png", "a", BLACK, full_of(2), reference)
    ((flair, drawn, prediction),) = read_panels(tmp_path / "a.png")
    white = (prediction > 0.8).all(axis=-1)
    assert box_of(white) == pytest.approx((60, 399, 120, 359), abs=2)
    black = np.flatnonzero((prediction[100:390, 240] < 0.2).all(axis=-1)) + 100
    assert black.min() == pytest.approx(120, abs=2) and black.max() == pytest.approx(359, abs=2)
    assert not (black[(black > 130) & (black < 350)]).size
    assert not flair.any() and not (drawn > 0.8).all(axis=-1).any()
    for index in (0, 1):  # Without an edge there is no outline.
        write_overlays(tmp_path / "a.png", "a", BLACK, full_of(0), full_of(index))
        assert not read_panels(tmp_path / "a.png")[0, 2].any()


def test_all_modalities_stand_above_their_predictions(tmp_path):
    images = np.zeros((4, 240, 240))  # Each is bright in other rows.
    for index, image in enumerate(images):
        image[60 * index : 60 * index + 60] = 1
    write_modalities(tmp_path / "a.png", "a", images, full_of(1))
    above, below = read_panels(tmp_path / "a.png", 240, 240)
    np.testing.assert_array_equal(above[..., 24:-24, GREEN], images[..., 24:-24])
    assert (below[..., 24:-24, RED] >= 0.6).all()


def made_case():
    """Returns a raw case and classes; slice 3 has most tumor, in front at the patient's left."""
    arrays = list(np.random.default_rng(0).integers(1, 100, (4, 5, 40, 60)))
    classes = np.zeros((5, 40, 60), dtype=np.uint8)
    classes[3, 4:10, 40:50], classes[1, 30:33, 5:10] = 1, 2
    geometry = Geometry((1.0, 1.5, 4.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    return RawCase(arrays, classes, geometry), classes


def test_tumor_in_front_at_the_left_is_drawn_above_at_the_l(tmp_path):
    write_pictures(tmp_path, "a", *made_case())
    # 40 rows of 1.5 mm and 60 columns of 1 mm: 480 x 480.
    ((_, reference, _),) = read_panels(tmp_path / "a-3.png")
    assert box_of(is_red(reference)) == (4 * 12, 10 * 12 - 1, 40 * 8, 50 * 8 - 1)


def test_pictures_are_cut_to_the_brain_in_all_slices_and_images(tmp_path):
    raw, classes = made_case()
    volumes = [np.zeros_like(volume) for volume in raw.volumes]
    volumes[0][0, 8:16, 12:24] = 9
    volumes[3][4, 10:20, 15:30] = 9
    classes = classes * 0
    write_pictures(tmp_path, "a", RawCase(volumes, None, raw.geometry), classes, slices=[0])
    # Rows 8 to 19 and columns 12 to 29, with a margin of 3: 18 of 1.5 mm, and 24 of 1 mm.
    ((flair, _),) = read_panels(tmp_path / "a-0.png", 480, round(480 * 24 / 27))
    # The brain of slice 0 has rows 3 to 10 of the 18.
    assert box_of(flair[:400, :, RED] > 0.5)[:2] == pytest.approx((80, 293), abs=2)


def test_slices_asked_for_replace_the_case_s_older_ones(tmp_path):
    others = {"a-1-7.png", "a-x.png", "b-7.png"}
    for name in {"a-7.png", *others}:
        (tmp_path / name).touch()
    raw, classes = made_case()
    raw = RawCase(raw.volumes, None, raw.geometry)  # Without a reference.
    write_pictures(tmp_path, "a", raw, classes, slices=(1, 0))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == others | {"a-0.png", "a-1.png", "a-modalities.png"}
    ((_, prediction),) = read_panels(tmp_path / "a-1.png")
    assert (prediction[..., GREEN] > prediction[..., BLUE] + 0.3).any()
    assert read_panels(tmp_path / "a-modalities.png", 240, 240).shape[:2] == (2, 4)
