"""Postprocessing: each step drawn by hand; applied twice, the steps change no more."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brats.predictions.postprocessing import (
    fill_tumor_holes,
    postprocess,
    remove_small_lesions,
    replace_scarce_enhancing,
)


def draw(*slices):
    """Reads slices drawn with `.` for background and digits for classes."""
    return np.array(
        [[[0 if mark == "." else int(mark) for mark in row] for row in rows] for rows in slices],
        dtype=np.uint8,
    )


EMPTY = [".....", ".....", ".....", "....."]


def test_a_hole_takes_the_class_of_the_nearest_tumor_voxel():
    # One voxel thick above and below, else the hole would be open there.
    middle = [".2222", ".2..3", ".2222", "....."]
    filled = [".2222", ".2223", ".2222", "....."]
    lid = [".....", ".2222", ".....", "....."]
    # The right voxel of the hole has tumor at distance 1 on five sides: any of them is right.
    result = fill_tumor_holes(draw(lid, middle, lid))
    assert result[1, 1, 2] == 2
    assert result[1, 1, 3] in (2, 3)
    result[1, 1, 3] = 2
    np.testing.assert_array_equal(result, draw(lid, filled, lid))


def test_a_hole_that_is_open_in_one_slice_is_left():
    ring = [".....", ".222.", ".2.2.", ".222."]
    classes = draw(ring, ring)
    np.testing.assert_array_equal(fill_tumor_holes(classes), classes)


def test_a_hole_is_closed_although_its_ring_has_no_corners():
    # Background is connected over faces only.
    ring = [".....", "..2..", ".2.2.", "..2.."]
    dot = [".....", ".....", "..2..", "....."]
    filled = [".....", "..2..", ".222.", "..2.."]
    np.testing.assert_array_equal(fill_tumor_holes(draw(dot, ring, dot)), draw(dot, filled, dot))


def test_lesions_below_the_least_size_are_removed():
    classes = draw(["1.33.", ".....", ".....", "22..."], EMPTY)
    np.testing.assert_array_equal(
        remove_small_lesions(classes, 2), draw(["..33.", ".....", ".....", "22..."], EMPTY)
    )
    assert not remove_small_lesions(classes, 3).any()


def test_a_lesion_is_connected_over_corners_slices_and_classes():
    classes = draw(["1....", ".....", ".....", "....."], [".....", ".2...", "..3..", "....."])
    np.testing.assert_array_equal(remove_small_lesions(classes, 3), classes)
    assert not remove_small_lesions(classes, 4).any()


@pytest.mark.parametrize(("min_voxels", "left"), [(0, 3), (3, 3), (4, 1)])
def test_scarce_enhancing_tumor_of_the_whole_volume_becomes_necrosis(min_voxels, left):
    classes = draw(["33...", ".....", "12...", "....."], ["....3", ".....", ".....", "....."])
    result = replace_scarce_enhancing(classes, min_voxels)
    np.testing.assert_array_equal(result, np.where(classes == 3, left, classes))


def test_nothing_is_changed_unless_asked_for():
    classes = draw(["....", ".22.", "...."], ["1.3.", ".2.2", ".22."], ["....", ".22.", "...."])
    np.testing.assert_array_equal(postprocess(classes, voxel_ml=0.001), classes)


def test_the_steps_are_applied_in_their_order():
    # Filled, the lesion has 27 voxels instead of 26 and stays; the single voxel goes; then 1
    # enhancing voxel is left of 2, which is less than 2.
    cube = np.zeros((5, 5, 9), dtype=np.uint8)
    cube[1:4, 1:4, 1:4] = 2
    cube[2, 2, 2] = 0
    cube[1, 1, 1] = cube[2, 2, 7] = 3
    # A voxel has 0.5 ml.
    result = postprocess(cube, 0.5, fill_holes=True, min_lesion_ml=13.5, min_enhancing_ml=1)
    expected = np.zeros_like(cube)
    expected[1:4, 1:4, 1:4] = 2
    expected[1, 1, 1] = 1
    np.testing.assert_array_equal(result, expected)


@settings(max_examples=30)
@given(
    arrays(np.uint8, (4, 5, 6), elements=st.sampled_from([0, 0, 1, 2, 3])),
    st.integers(0, 12),
    st.integers(0, 12),
)
def test_applied_twice_it_changes_no_more_and_the_input_stays(classes, min_lesion, min_enhancing):
    before = classes.copy()
    once = postprocess(classes, 1, True, min_lesion, min_enhancing)
    np.testing.assert_array_equal(postprocess(once, 1, True, min_lesion, min_enhancing), once)
    np.testing.assert_array_equal(classes, before)
    assert once.dtype == np.uint8
