"""Hausdorff distances of drawn masks."""

import math

import numpy as np
import pytest

from brats.scores.distances import hausdorff_distances

SHAPE, SPACING_MM = (5, 6, 7), (3, 2, 1)
EMPTY = np.zeros(SHAPE, dtype=bool)


def box(shape, *edges):
    """Returns a mask of one box, of (first, last) voxel along Z, Y and X."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(first, last + 1) for first, last in edges)] = True
    return mask


def voxels(*positions, shape=SHAPE):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(np.transpose(positions))] = True
    return mask


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (EMPTY, EMPTY, 0),
        (~EMPTY, EMPTY, 374),
        (EMPTY, ~EMPTY, 374),
        (~EMPTY, ~EMPTY, 0),
    ],
)
def test_distances_of_empty_and_full_masks(predicted, reference, expected):
    distances = hausdorff_distances(predicted, reference, SPACING_MM)
    assert distances == (expected, expected)
    assert {type(distance) for distance in distances} == {float}


def test_one_voxel_masks_are_apart_in_mm_along_z_y_x():
    # 2, 3 and 1 voxels of 3, 2 and 1 mm: 6, 6 and 1 mm, between their farthest corners.
    distances = hausdorff_distances(voxels((1, 1, 3)), voxels((3, 4, 2)), SPACING_MM)
    assert distances == pytest.approx((math.sqrt(36 + 36 + 1),) * 2)


def test_a_hole_has_a_surface():
    # Eight triangles of sqrt(3) / 8 mm² in corners 1 mm from the outside. That is 1.7 of 44.4: the
    # sides have 6 x 4, the 12 edges 2 sqrt(1 / 2) each, the corners 1.7.
    cube, center = box((3, 3, 3), (0, 2), (0, 2), (0, 2)), voxels((1, 1, 1), shape=(3, 3, 3))
    assert hausdorff_distances(cube & ~center, cube, (1, 1, 1)) == (1, 0)


@pytest.mark.parametrize(("length", "expected"), [(18, 0), (8, 4)])
def test_percentile_counts_areas_and_not_voxels(length, expected):
    # A row of voxels and a false one 5 to its right, which has 8 triangles of sqrt(3) / 8, 1.7 in
    # all. The two ends of the row have as much, and each voxel but one adds 4 sqrt(1 / 2). Of 18
    # and 1 voxels, 1 is 5.3 %, but its area 1.7 of 51.5 is 3.4 %. Of 8 and 1, it is 1.7 of 23.3,
    # 7.4 %; the near half of it is 4 away.
    reference = box((1, 1, 25), (0, 0), (0, 0), (0, length - 1))
    predicted = reference | voxels((0, 0, length + 4), shape=(1, 1, 25))
    assert hausdorff_distances(predicted, reference, (1, 1, 1)) == (5, expected)
    assert hausdorff_distances(reference, predicted, (1, 1, 1)) == (5, expected)
