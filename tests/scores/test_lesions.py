"""Lesion-wise scores of drawn lesions; test_tables.py compares them with the challenge's."""

import numpy as np
import pytest

from brats.scores.lesions import lesion_scores

# Voxels, of a letter in a drawing: 64 are a lesion that counts. Surfaces lie at the corners of
# voxels. In a square there are 9 columns of corners. Each inner one has an area of 16.8 mm² in its
# 7 x 2 inner corners and 2 x 2 edges of sqrt(1 / 2); each of the two ends has 10.8.
SIDE = 8
EMPTY = np.zeros((5, 6, 7), dtype=bool)


def mask(row):
    """Returns a row of squares of 8 x 8 voxels, `(1, 8, X)`: # is in, a dot is out.

    A dot separates two lesions: after 3 dilations of each, 2 voxels are left between them.
    """
    return np.kron([[letter == "#" for letter in row.split()]], np.ones((1, SIDE, SIDE))) > 0


def columns(width, *edges):
    """Returns squares of 8 x 8 voxels that begin at the given columns, `(1, 8, width)`."""
    drawn = np.zeros((1, SIDE, width), dtype=bool)
    for first in edges:
        drawn[:, :, first : first + SIDE] = True
    return drawn


def scores(predicted, reference, spacing_mm=(1, 1, 1)):
    """Returns (Dice, HD95, lesions, missed, false)."""
    return tuple(lesion_scores(predicted, reference, spacing_mm).values())


def test_every_lesion_counts_the_same():
    # The left half of the second lesion is found, 12 of 24 columns of voxels. Of its surface of
    # 23 x 16.8 + 2 x 10.8 = 409, the end (2.6 %) is 12 from it, the next column (4.1 %) is 11.
    reference = mask("# . # # #")
    predicted = reference.copy()
    predicted[:, :, 28:] = False
    mean = (1 + 2 * 12 / (12 + 24)) / 2
    assert scores(predicted, reference) == (pytest.approx(mean), (0 + 11) / 2, 2, 0, 0)


def test_split_lesion_is_compared_with_all_its_pieces():
    # Seven columns of corners are 1 2 3 4 3 2 1 from the pieces, 4.1 % of the surface each.
    dice_ = 2 * 2 / (2 + 3)
    assert scores(mask("# . #"), mask("# # #")) == (pytest.approx(dice_), 3, 1, 0, 0)


def test_merged_lesions_are_each_compared_with_the_whole_component():
    # The end of the component (2.6 % of its surface) is 16 from each lesion, the column before 15.
    dice_ = 2 * 1 / (1 + 3)
    assert scores(mask("# # #"), mask("# . #")) == (dice_, 15, 2, 0, 0)


def test_false_components_of_any_size_count_as_lesions():
    predicted = mask("# . . .")
    predicted[0, 0, 24:31:2] = True  # Four voxels, apart.
    assert scores(predicted, mask("# . . .")) == (1 / 5, 4 * 374 / 5, 1, 0, 4)


@pytest.mark.parametrize(
    ("size", "voxel_mm", "num_missed"), [(50, 1, 0), (51, 1, 1), (25, 2, 0), (26, 2, 1)]
)
def test_missed_lesion_of_up_to_50_mm3_is_ignored(size, voxel_mm, num_missed):
    reference = mask("# . #")
    reference[0, :, 16:].flat[size:] = False
    assert reference.sum() == 64 + size
    count = 1 + num_missed
    expected = (1 / count, num_missed * 374 / count, count, num_missed, 0)
    assert scores(mask("# . ."), reference, (voxel_mm, 1, 1)) == expected


def test_found_lesion_of_up_to_50_mm3_is_ignored_and_its_component_is_not_false():
    reference = mask("# . #")
    reference[0, 1:, 16:] = False  # 8 voxels.
    assert scores(mask("# . #"), reference) == (1, 0, 1, 0, 0)


def test_pieces_that_share_a_dilated_component_are_one_lesion():
    # Three dilations from both sides fill the six columns between them. Of the surface of both, 2
    # (7 x 16.8 + 2 x 10.8) = 279, the end (3.9 %) is 14 from the first piece, the next column 13.
    dice_ = 2 * 1 / (1 + 2)
    found = scores(columns(22, 0), columns(22, 0, 8 + 6))
    assert found == (pytest.approx(dice_), 13, 1, 0, 0)
    # They do not fill seven columns.
    assert scores(columns(23, 0), columns(23, 0, 8 + 7)) == (1 / 2, 374 / 2, 2, 1, 0)


def test_component_beside_a_lesion_belongs_to_it_within_three_voxels():
    # Two columns between them: the first column of the component is the third from the lesion,
    # the last the tenth. No voxel in common; the end (7.7 % of its surface) is 10 away.
    assert scores(columns(19, 8 + 2), columns(19, 0)) == (0, 10, 1, 0, 0)
    # Three columns: missed, and false.
    assert scores(columns(19, 8 + 3), columns(19, 0)) == (0, 374, 1, 1, 1)


@pytest.mark.parametrize(("offset", "num_false"), [((2, 2, 2), 0), ((3, 3, 0), 0), ((3, 2, 2), 1)])
def test_dilation_crosses_faces_and_edges_but_not_corners(offset, num_false):
    # One step moves along two axes at most, so three steps move 6 in all and 3 along each axis.
    reference, predicted = np.zeros((2, 10, 11, 12), dtype=bool)
    reference[:4, :4, :4] = True
    predicted[tuple(3 + np.array(offset))] = True
    assert scores(predicted, reference)[4] == num_false


def test_voxels_that_share_a_corner_are_one_component():
    predicted = np.zeros((5, 6, 7), dtype=bool)
    predicted[[0, 1, 2], [0, 1, 2], [0, 1, 2]] = True
    assert scores(predicted, EMPTY)[4] == 1
    predicted[1, 1, 1] = False
    assert scores(predicted, EMPTY)[4] == 2
