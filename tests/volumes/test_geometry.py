"""Volumes have LPS axes after reading, and files the axes of the input."""

import itertools

import numpy as np
import pytest
import SimpleITK

from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry, grid_difference, orient, read_geometry

SPACING_MM = (1.0, 2.0, 3.0)  # Along the patient's left, posterior and superior.
ORIGIN_MM = (-7.5, 20.0, 4.0)
STRAIGHT = tuple(np.eye(3).ravel())
# The 48 ways to store a volume: RAI, LAI, ... in the letters of DICOM.
ORIENTATIONS = [
    "".join(letters)
    for pairs in itertools.permutations(("RL", "AP", "IS"))
    for letters in itertools.product(*pairs)
]


def place(image, direction=STRAIGHT, spacing_mm=SPACING_MM):
    image.SetSpacing(spacing_mm)
    image.SetOrigin(ORIGIN_MM)
    image.SetDirection(direction)
    return image


def oblique(degrees):
    """Returns the direction of a volume that is rotated about the patient's long axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1)


@pytest.fixture
def volume(rng):
    return rng.permutation(5 * 6 * 7).reshape(5, 6, 7).astype(np.int16)


@pytest.mark.parametrize(
    ("direction", "orientations"),
    [(STRAIGHT, ORIENTATIONS), (oblique(20), ORIENTATIONS[::7])],
    ids=["straight", "oblique"],
)
def test_a_volume_is_read_alike_in_all_48_orientations_and_written_as_it_was(
    direction, orientations, volume, tmp_path
):
    lps = place(SimpleITK.GetImageFromArray(volume), direction)
    for orientation in orientations:
        stored = SimpleITK.DICOMOrient(lps, orientation)
        SimpleITK.WriteImage(stored, str(tmp_path / "stored.nii"))
        read, geometry = read_volume(tmp_path / "stored.nii")
        np.testing.assert_array_equal(read, volume)
        assert read.flags.c_contiguous and read.dtype == np.int16
        assert geometry.is_close_to(Geometry(SPACING_MM, ORIGIN_MM, direction))

        write_volume(tmp_path / "written.nii.gz", read, geometry)
        written = SimpleITK.ReadImage(str(tmp_path / "written.nii.gz"))
        np.testing.assert_array_equal(
            SimpleITK.GetArrayViewFromImage(written), SimpleITK.GetArrayViewFromImage(stored)
        )
        for name in ("Spacing", "Origin", "Direction"):
            value = getattr(written, f"Get{name}")()
            assert value == pytest.approx(getattr(stored, f"Get{name}")(), abs=1e-5)


def test_an_oblique_volume_is_flipped_to_its_nearest_axes_and_stays_oblique(volume):
    # The file's x runs 30 degrees off the patient's right, its y 30 degrees off the front.
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    image = place(
        SimpleITK.GetImageFromArray(volume), (-cosine, sine, 0, -sine, -cosine, 0, 0, 0, 1)
    )
    read, geometry = orient(volume, read_geometry(image))
    np.testing.assert_array_equal(read, volume[:, ::-1, ::-1])
    assert geometry.direction == pytest.approx((cosine, -sine, 0, sine, cosine, 0, 0, 0, 1))
    x, y, z = 6, 5, 0  # In the file; the first voxel in LPS axes.
    assert geometry.origin_mm == pytest.approx(image.TransformIndexToPhysicalPoint((x, y, z)))


@pytest.mark.parametrize("orientation", [None, "RAI"])  # Of the second; None: as the first.
@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({}, True),
        ({"spacing_mm": (1.0 + 1e-5, 2.0, 3.0)}, True),
        ({"direction": oblique(1e-3)}, True),  # 1.7e-5: 8 micrometers at the far end.
        ({"spacing_mm": (1.002, 2.0, 3.0)}, False),
        ({"direction": oblique(0.1)}, False),
    ],
)
def test_grids_that_differ_by_rounding_are_the_same_in_any_orientation(
    orientation, change, is_same
):
    def read(image):
        volume, geometry = orient(SimpleITK.GetArrayViewFromImage(image), read_geometry(image))
        return volume.shape, geometry

    empty = SimpleITK.Image((240, 240, 155), SimpleITK.sitkUInt8)
    second = place(SimpleITK.Image(empty), **change)
    if orientation:
        second = SimpleITK.DICOMOrient(second, orientation)
    here, there = read(place(empty)), read(second)
    assert (grid_difference(here, there) is None) == is_same
    assert (grid_difference(there, here) is None) == is_same


def test_the_difference_of_two_grids_is_described_in_the_order_x_y_z():
    here = (5, 6, 7), Geometry(SPACING_MM, ORIGIN_MM, STRAIGHT)
    there = (5, 7, 6), Geometry((1.0, 2.0, 3.5), ORIGIN_MM, STRAIGHT)
    assert grid_difference(here, there) == (
        "size (7, 6, 5) and spacing (1, 2, 3) mm",
        "size (6, 7, 5) and spacing (1, 2, 3.5) mm",
    )
