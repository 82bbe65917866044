"""Lesion-wise scores of drawn lesions, and of random ones compared with the challenge's steps."""

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from brats.scores.distances import hausdorff_distances
from brats.scores.lesions import lesion_scores
from brats.scores.overlap import dice

SIDE = 8  # Voxels, of a letter in a drawing: 64 are a lesion that counts.
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


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (EMPTY, EMPTY, (1, 0, 0, 0, 0)),
        (~EMPTY, EMPTY, (0, 374, 0, 0, 1)),
        (EMPTY, ~EMPTY, (0, 374, 1, 1, 0)),
        (~EMPTY, ~EMPTY, (1, 0, 1, 0, 0)),
    ],
)
def test_scores_of_empty_and_full_masks(predicted, reference, expected):
    found = scores(predicted, reference)
    assert found == expected
    assert [type(score) for score in found] == [float, float, int, int, int]


def test_every_lesion_counts_the_same():
    # The left half of the second lesion is found, 12 of 24 columns. The others are 1 to 12 from it,
    # 8 voxels each: after 96 zeros and ten columns (176), the 183rd of 192 distances (95 %) is 11.
    reference = mask("# . # # #")
    predicted = reference.copy()
    predicted[:, :, 28:] = False
    mean = (1 + 2 * 12 / (12 + 24)) / 2
    assert scores(predicted, reference) == (pytest.approx(mean), (0 + 11) / 2, 2, 0, 0)


def test_split_lesion_is_compared_with_all_its_pieces():
    # The middle columns are 1 2 3 4 4 3 2 1 from the pieces, 8 voxels each. After 128 zeros and
    # 16 ones, twos and threes each, the 183rd of 192 distances is 4.
    dice_ = 2 * 2 / (2 + 3)
    assert scores(mask("# . #"), mask("# # #")) == (pytest.approx(dice_), 4, 1, 0, 0)


def test_merged_lesions_are_each_compared_with_the_whole_component():
    # From the component, a lesion is 0 for 64 voxels, then 1 to 16 for 8 each: the 183rd of 192
    # distances is the seventh of the fifteens.
    dice_ = 2 * 1 / (1 + 3)
    assert scores(mask("# # #"), mask("# . #")) == (dice_, 15, 2, 0, 0)


def test_false_components_of_any_size_count_as_lesions():
    predicted = mask("# . . .")
    predicted[0, 0, 24:31:2] = True  # Four voxels, apart.
    assert scores(predicted, mask("# . . .")) == (1 / 5, 4 * 374 / 5, 1, 0, 4)


@pytest.mark.parametrize(
    ("size", "expected"), [(50, (1, 0, 1, 0, 0)), (51, (1 / 2, 374 / 2, 2, 1, 0))]
)
def test_missed_lesion_of_up_to_50_voxels_is_ignored(size, expected):
    reference = mask("# . #")
    reference[0, :, 16:].flat[size:] = False
    assert reference.sum() == 64 + size
    assert scores(mask("# . ."), reference) == expected


def test_found_lesion_of_up_to_50_voxels_is_ignored_and_its_component_is_not_false():
    reference = mask("# . #")
    reference[0, 1:, 16:] = False  # 8 voxels.
    assert scores(mask("# . #"), reference) == (1, 0, 1, 0, 0)


def test_pieces_that_share_a_dilated_component_are_one_lesion():
    # Three dilations from both sides fill the six columns between them. The second piece is 7 to
    # 14 from the first, 8 voxels each: the 122nd of 128 distances is 14.
    dice_ = 2 * 1 / (1 + 2)
    found = scores(columns(22, 0), columns(22, 0, 8 + 6))
    assert found == (pytest.approx(dice_), 14, 1, 0, 0)
    # They do not fill seven columns.
    assert scores(columns(23, 0), columns(23, 0, 8 + 7)) == (1 / 2, 374 / 2, 2, 1, 0)


def test_small_pieces_of_one_lesion_count_together():
    # Two pieces of 32 voxels, 4 columns apart: one lesion of 64.
    reference = mask(". .")
    reference[:, :, :4] = reference[:, :, 8:12] = True
    assert scores(np.zeros_like(reference), reference) == (0, 374, 1, 1, 0)


def test_component_beside_a_lesion_belongs_to_it_within_three_voxels():
    # Two columns between them: the first column of the component is the third from the lesion,
    # the last the tenth. No voxel in common; the 61st of 64 distances is 10.
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


def test_distances_are_in_mm_and_the_rest_in_voxels():
    # The split lesion again, with its columns along X and then along Z.
    predicted, reference = mask("# . #"), mask("# # #")
    expected = scores(predicted, reference, (9, 9, 0.5))
    assert expected == (pytest.approx(0.8), 4 * 0.5, 1, 0, 0)
    turned = [np.moveaxis(drawn, 2, 0) for drawn in (predicted, reference)]
    assert scores(*turned, (0.5, 9, 9)) == expected


def challenge_scores(predicted, reference, spacing_mm):
    """Returns Dice and HD95 by the challenge's steps: every lesion is dilated by itself."""
    predicted, reference = np.pad(predicted, 4), np.pad(reference, 4)
    structure = ndimage.generate_binary_structure(3, 2)
    components = connected(predicted)
    zones = connected(ndimage.binary_dilation(reference, structure, 3))
    overlaps, distances, matched = [], [], set()
    for zone in range(1, zones.max() + 1):
        lesion = reference & (zones == zone)
        near = ndimage.binary_dilation(lesion, structure, 3)
        touching = set(components[near].tolist()) - {0}
        matched |= touching
        if lesion.sum() <= 50:
            continue
        found = np.isin(components, list(touching))
        overlaps.append(dice(found, lesion) if touching else 0)
        distance_mm = hausdorff_distances(found, lesion, spacing_mm)[1] if touching else 374
        distances.append(distance_mm)
    num_false = components.max() - len(matched)
    count = len(overlaps) + num_false
    if not count:
        return 1, 0
    return sum(overlaps) / count, (sum(distances) + 374 * num_false) / count


def connected(drawn):
    image = SimpleITK.GetImageFromArray(drawn.astype(np.uint8))
    return SimpleITK.GetArrayFromImage(SimpleITK.ConnectedComponent(image, True)).astype(int)


def random_masks(seed):
    """Returns two masks of 24 x 28 x 32 voxels: blocks of 4 x 4 x 4, moved, and dust."""
    rng = np.random.default_rng(seed)
    blocks = rng.random((6, 7, 8)) < 0.03
    reference = np.kron(blocks, np.ones((4, 4, 4))) > 0
    predicted = np.roll(reference, rng.integers(-4, 5, 3), axis=(0, 1, 2))
    predicted[:, :14] &= reference[:, :14]
    predicted |= rng.random(predicted.shape) < 0.0005
    return predicted, reference


@given(seed=st.integers(0, 2**32 - 1))
def test_scores_are_those_of_the_challenges_steps(seed):
    masks = random_masks(seed)
    assert scores(*masks, (3, 2, 1))[:2] == pytest.approx(challenge_scores(*masks, (3, 2, 1)))
