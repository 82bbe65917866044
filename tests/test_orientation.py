"""Slices come out the same way up from every orientation of the file, checked by SimpleITK."""

import itertools

import numpy as np
import pytest
import SimpleITK

from brats.errors import InputError
from brats.orientation import axial_pixel_mm, axial_slices, check_axial_slices
from brats.volumes import Geometry

IDENTITY = tuple(np.eye(3).ravel())
SPACING_MM = (1.0, 2.0, 3.0)  # Along the patient's left, posterior and superior.
# The 48 ways to store a volume: RAI, LAI, ... in the letters of DICOM.
ORIENTATIONS = [
    "".join(letters)
    for pairs in itertools.permutations(("RL", "AP", "IS"))
    for letters in itertools.product(*pairs)
]


def stored_as(orientation, volume):
    """Stores a volume that runs left, posterior, superior in another orientation."""
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing(SPACING_MM)
    stored = SimpleITK.DICOMOrient(image, orientation)
    geometry = Geometry(stored.GetSpacing(), stored.GetOrigin(), stored.GetDirection())
    return SimpleITK.GetArrayFromImage(stored), geometry


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_slices_look_the_same_however_the_volume_is_stored(orientation, rng):
    volume = rng.integers(0, 99, (5, 6, 7))
    stored, geometry = stored_as(orientation, volume)
    # SimpleITK's letters tell where an axis runs to; slices keep the order of the file.
    expected = volume[::-1] if "I" in orientation else volume
    np.testing.assert_array_equal(axial_slices(stored, geometry), expected)
    assert axial_pixel_mm(geometry) == (2.0, 1.0)


def test_a_volume_in_the_orientation_of_brats_is_left_as_it_is(rng):
    volume = rng.integers(0, 99, (5, 6, 7))
    view = axial_slices(volume, Geometry(SPACING_MM, (0.0, -239.0, 0.0), IDENTITY))
    np.testing.assert_array_equal(view, volume)
    assert np.shares_memory(view, volume)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_columns_run_to_the_left_and_rows_to_the_back_in_the_scanner(orientation, rng):
    stored, geometry = stored_as(orientation, rng.permutation(5 * 6 * 7).reshape(5, 6, 7))
    value = 100
    (index,) = np.argwhere(stored == value)  # (z, y, x)
    direction = np.reshape(geometry.direction, (3, 3))
    # Millimeters to the patient's left, back and top, as NIfTI and DICOM define a voxel's place.
    left, back, _ = geometry.origin_mm + direction @ (geometry.spacing_mm * index[::-1])
    ((_, row, column),) = np.argwhere(axial_slices(stored, geometry) == value)
    assert (left, back) == pytest.approx((1.0 * column, 2.0 * row))


def test_an_oblique_volume_is_turned_by_its_nearest_axes(rng):
    # The file's x runs 30 degrees off the patient's right, its y 30 degrees off the front.
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    direction = (-cosine, sine, 0, -sine, -cosine, 0, 0, 0, 1)
    volume = rng.integers(0, 99, (5, 6, 7))
    view = axial_slices(volume, Geometry((1, 1, 1), (0, 0, 0), direction))
    np.testing.assert_array_equal(view, volume[:, ::-1, ::-1])


def test_slices_are_counted_along_the_axial_axis_and_missing_ones_are_named(rng):
    stored, geometry = stored_as("SPL", np.zeros((5, 6, 7)))  # x of the file is superior.
    assert stored.shape == (7, 6, 5)
    check_axial_slices("a", stored, geometry, (0, 4))
    with pytest.raises(InputError, match="Case a has axial slices 0 to 4, and no slice 5"):
        check_axial_slices("a", stored, geometry, (4, 5, 9))
