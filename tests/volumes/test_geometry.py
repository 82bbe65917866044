"""Volumes come in with the axes of BraTS from every order of a file's, and go back the same way."""

import itertools

import numpy as np
import pytest
import SimpleITK

from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry, read_grid, turn, turn_back, turn_grid

SPACING_MM = (1.0, 2.0, 3.0)  # Along the patient's left, posterior and superior.
ORIGIN_MM = (-7.5, 20.0, 4.0)
STRAIGHT = tuple(np.eye(3).ravel())
# The 48 ways to store a volume: RAI, LAI, ... in the letters of DICOM.
ORIENTATIONS = [
    "".join(letters)
    for pairs in itertools.permutations(("RL", "AP", "IS"))
    for letters in itertools.product(*pairs)
]


def image_of(volume):
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(ORIGIN_MM)
    return image


@pytest.fixture
def volume(rng):
    return rng.permutation(5 * 6 * 7).reshape(5, 6, 7).astype(np.int16)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_volume_is_read_the_same_however_it_is_stored_and_written_back_as_it_was(
    orientation, volume, tmp_path
):
    stored = SimpleITK.DICOMOrient(image_of(volume), orientation)
    SimpleITK.WriteImage(stored, str(tmp_path / "stored.nii"))
    read, geometry = read_volume(tmp_path / "stored.nii")
    np.testing.assert_array_equal(read, volume)
    assert read.flags.c_contiguous
    assert geometry.is_close_to(Geometry(SPACING_MM, ORIGIN_MM, STRAIGHT))

    write_volume(tmp_path / "written.nii.gz", read, geometry)
    written = SimpleITK.ReadImage(str(tmp_path / "written.nii.gz"))
    np.testing.assert_array_equal(
        SimpleITK.GetArrayViewFromImage(written), SimpleITK.GetArrayViewFromImage(stored)
    )
    for name in ("Spacing", "Origin", "Direction"):
        value = getattr(written, f"Get{name}")()
        assert value == pytest.approx(getattr(stored, f"Get{name}")(), abs=1e-5)


def test_a_volume_with_the_axes_of_brats_is_left_as_it_is(volume):
    shape, geometry = read_grid(image_of(volume))
    assert (shape, geometry) == (volume.shape, Geometry(SPACING_MM, ORIGIN_MM, STRAIGHT))
    assert turn(volume, geometry) is volume and turn_back(volume, geometry) is volume


def test_an_oblique_volume_is_turned_by_its_nearest_axes_and_stays_oblique(volume):
    # The file's x runs 30 degrees off the patient's right, its y 30 degrees off the front.
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    image = image_of(volume)
    image.SetDirection((-cosine, sine, 0, -sine, -cosine, 0, 0, 0, 1))
    _, geometry = read_grid(image)
    np.testing.assert_array_equal(turn(volume, geometry), volume[:, ::-1, ::-1])
    assert geometry.direction == pytest.approx((cosine, -sine, 0, sine, cosine, 0, 0, 0, 1))
    x, y, z = 6, 5, 0  # In the file; the first voxel in the axes of BraTS.
    assert geometry.origin_mm == pytest.approx(image.TransformIndexToPhysicalPoint((x, y, z)))


def oblique(degrees):
    """Returns the direction of a volume turned about the patient's long axis."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1)


def image_with(spacing_mm=SPACING_MM, direction=STRAIGHT, flips=(1, 1, 1)):
    image = SimpleITK.Image((240, 240, 155), SimpleITK.sitkUInt8)
    image.SetSpacing(spacing_mm)
    image.SetOrigin(ORIGIN_MM)
    image.SetDirection((np.reshape(direction, (3, 3)) * flips).ravel().tolist())
    return image


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, -1, 1)])
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
def test_grids_that_differ_by_rounding_are_one_however_stored(flips, orientation, change, is_same):
    second = image_with(flips=flips, **change)
    if orientation:
        second = SimpleITK.DICOMOrient(second, orientation)
    (shape, here), (other_shape, there) = read_grid(image_with(flips=flips)), read_grid(second)
    assert shape == other_shape
    assert here.is_close_to(there) == there.is_close_to(here) == is_same


def test_midway_between_two_axes_rounding_does_not_decide():
    grids = [
        turn_grid((5, 6, 7), Geometry(SPACING_MM, ORIGIN_MM, oblique(45 + change)))
        for change in (-1e-6, 0, 1e-6)
    ]
    assert len({shape for shape, _ in grids}) == 1
    assert grids[0][1].is_close_to(grids[2][1])


def test_headers_tell_the_same_grid_as_images(volume, tmp_path):
    stored = SimpleITK.DICOMOrient(image_of(volume), "SAR")
    SimpleITK.WriteImage(stored, str(tmp_path / "stored.nii"))
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(tmp_path / "stored.nii"))
    reader.ReadImageInformation()
    shape, geometry = read_grid(reader)
    assert shape == volume.shape and geometry == read_volume(tmp_path / "stored.nii")[1]
    assert geometry.as_stored.spacing_mm == (3.0, 2.0, 1.0)
