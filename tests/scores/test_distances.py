"""Hausdorff distances of drawn masks, compared with MedPy and DeepMind's surface-distance."""

import math
from itertools import permutations

import medpy.metric.binary
import numpy as np
import pytest
import surface_distance
from hypothesis import assume, given
from hypothesis.extra.numpy import arrays

from brats.scores.distances import ONE_EMPTY_MM, hausdorff_distances

SHAPE, SPACING_MM = (5, 6, 7), (3, 2, 1)
MASKS = arrays(bool, (3, 4, 5))
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


def test_distance_of_one_empty_mask_is_the_diagonal_of_a_volume():
    assert pytest.approx(math.sqrt(240**2 + 240**2 + 155**2), abs=1e-5) == ONE_EMPTY_MM


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (EMPTY, EMPTY, 0),
        (~EMPTY, EMPTY, 373.12866),
        (EMPTY, ~EMPTY, 373.12866),
        (~EMPTY, ~EMPTY, 0),
    ],
)
def test_distances_of_empty_and_full_masks(predicted, reference, expected):
    distances = hausdorff_distances(predicted, reference, SPACING_MM)
    assert distances == (expected, expected)
    assert {type(distance) for distance in distances} == {float}


def test_one_voxel_masks_are_apart_in_mm_along_z_y_x():
    # 2, 3 and 1 voxels of 3, 2 and 1 mm: 6, 6 and 1 mm.
    distances = hausdorff_distances(voxels((1, 1, 3)), voxels((3, 4, 2)), SPACING_MM)
    assert distances == (math.sqrt(36 + 36 + 1),) * 2


def test_lesion_25_mm_off():
    # A cube of 5 voxels has 98 on its surface. The 25 of the far side, more than 5 %, are 25 mm
    # from the other cube.
    reference = box((5, 5, 40), (0, 4), (0, 4), (2, 6))
    predicted = box((5, 5, 40), (0, 4), (0, 4), (27, 31))
    assert hausdorff_distances(predicted, reference, (1, 1, 1)) == (25, 25)


def test_far_false_voxel_shows_in_the_maximum_only():
    # 1 of 99 surface voxels is less than 5 %. It lies 30 mm from the cube.
    reference = box((5, 5, 40), (0, 4), (0, 4), (2, 6))
    predicted = reference | voxels((2, 2, 36), shape=(5, 5, 40))
    assert hausdorff_distances(predicted, reference, (1, 1, 1)) == (30, 0)
    assert hausdorff_distances(reference, predicted, (1, 1, 1)) == (30, 0)


def test_inner_voxels_do_not_count():
    # The cube of 3 has 26 surface voxels; its center, found alone, is 1 from six of them,
    # sqrt 2 from twelve and sqrt 3 from eight corners. From the center, the surface is 1 away.
    cube, center = box((3, 3, 3), (0, 2), (0, 2), (0, 2)), voxels((1, 1, 1), shape=(3, 3, 3))
    assert hausdorff_distances(center, cube, (1, 1, 1)) == (math.sqrt(3),) * 2
    hollow = cube & ~center
    assert hausdorff_distances(hollow, cube, (1, 1, 1)) == (0, 0)


def test_percentile_is_taken_in_each_direction_and_not_over_both():
    # reference   18 x #    predicted   18 x #
    #             18 x #                18 x .
    #             18 x .                18 x .
    #              ...                   ...
    #             18 x .                # # and 16 x .    5 rows below the reference
    #
    # From the prediction: 18 zeros and 2 fives, and the 19th (95 % of 20) is 5. From the reference:
    # 18 zeros and 18 ones. The fives are the last 3.6 % of all 56, so MedPy returns 1.
    reference = box((1, 7, 18), (0, 0), (0, 1), (0, 17))
    predicted = box((1, 7, 18), (0, 0), (0, 0), (0, 17)) | box((1, 7, 18), (0, 0), (6, 6), (0, 1))
    assert hausdorff_distances(predicted, reference, (1, 1, 1)) == (5, 5)
    assert medpy.metric.binary.hd95(predicted, reference) == 1


# surface-distance 0.1 imports names that SciPy 2 will no longer have.
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_percentile_counts_voxels_and_not_areas():
    # A row of 18 voxels and a false one 5 to its right, 1 of 19 (5.3 %). surface-distance cuts
    # between the centers of the voxels: 8 triangles of sqrt(3)/8 around the lone voxel have an area
    # of 1.7; the ends of the row and 17 times 4 sqrt(1/2) have 49.8. 1.7 of 51.5 is 3.4 %.
    reference = box((1, 1, 25), (0, 0), (0, 0), (0, 17))
    predicted = reference | voxels((0, 0, 22), shape=(1, 1, 25))
    assert hausdorff_distances(predicted, reference, (1, 1, 1))[1] == 5
    found = surface_distance.compute_surface_distances(reference, predicted, (1, 1, 1))
    assert surface_distance.compute_robust_hausdorff(found, 95) == 0


@given(predicted=MASKS, reference=MASKS)
def test_distances_are_those_of_medpy(predicted, reference):
    assume(predicted.any() and reference.any())
    farthest, q95 = hausdorff_distances(predicted, reference, SPACING_MM)
    assert farthest == pytest.approx(medpy.metric.binary.hd(predicted, reference, SPACING_MM))
    directed = getattr(medpy.metric.binary, "__surface_distances")  # noqa: B009
    both = [directed(*pair, SPACING_MM) for pair in permutations((predicted, reference))]
    ranked = [sorted(distances)[-(-95 * len(distances) // 100) - 1] for distances in both]
    assert q95 == pytest.approx(max(ranked))
