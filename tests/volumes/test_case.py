"""The files of a case become volumes in the order of the modalities, and classes."""

import re

import numpy as np
import pytest
import SimpleITK

from brats.cases.find import find_cases
from brats.editions import EDITIONS, MODALITIES
from brats.errors import InputError
from brats.volumes.case import read_case
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import build_image

SHAPE = (5, 6, 7)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ROTATED = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0)  # By 37 degrees around z.
GEOMETRY = Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.0), STRAIGHT)


def write_case(root, volumes=None, geometries=None, segmentation=None, edition="2017"):
    """Writes a case of constant images, or of those given by modality, and finds it again."""
    folder = root / "case"
    suffixes = EDITIONS[edition].suffixes | {"seg": EDITIONS[edition].segmentation}
    files = dict.fromkeys(MODALITIES, np.ones(SHAPE, dtype=np.int16)) | (volumes or {})
    if segmentation is not None:
        files["seg"] = np.asarray(segmentation, dtype=np.uint8)
    for name, volume in files.items():
        geometry = (geometries or {}).get(name, GEOMETRY)
        write_volume(folder / f"case{suffixes[name][0]}.nii.gz", volume, geometry)
    return find_cases(root, need_segmentation=False)[0][0]


def test_a_case_is_read_in_the_order_of_the_modalities(tmp_path):
    volumes = {
        name: np.full(SHAPE, value, np.int16) for value, name in enumerate(MODALITIES, start=5)
    }
    labels = np.array([0, 1, 2, 4] * 52 + [0, 1]).reshape(SHAPE)
    raw = read_case(write_case(tmp_path, volumes, segmentation=labels))
    assert [volume.flat[0] for volume in raw.volumes] == [5, 6, 7, 8]
    assert raw.classes.dtype == np.uint8
    assert raw.classes.ravel()[:5].tolist() == [0, 1, 2, 3, 0]
    assert raw.geometry.is_close_to(GEOMETRY)


def test_a_case_without_a_reference_has_no_classes(tmp_path):
    raw = read_case(write_case(tmp_path))
    assert raw.classes is None and len(raw.volumes) == 4


@pytest.mark.parametrize(
    ("name", "geometry", "difference"),
    [
        ("t1ce", Geometry((3.0, 2.0, 1.01), (-7.5, 20.0, 4.0), STRAIGHT), "spacing (3, 2, 1.01)"),
        ("seg", Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.01), STRAIGHT), "origin (-7.5, 20, 4.01)"),
        ("t2", Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.0), ROTATED), "direction (0.8, -0.6, 0, "),
    ],
)
def test_files_on_two_grids_are_refused_with_the_case_and_both_files(
    tmp_path, name, geometry, difference
):
    case = write_case(tmp_path, geometries={name: geometry}, segmentation=np.zeros(SHAPE))
    message = f"files of case case do not lie on one grid: case_{name}.nii.gz has {difference}"
    with pytest.raises(InputError, match=f"{re.escape(message)}.*case_flair.nii.gz has"):
        read_case(case)


def test_an_image_that_is_0_everywhere_is_refused(tmp_path):
    volume = np.zeros(SHAPE, np.int16)
    case = write_case(tmp_path, {"t1ce": volume})
    with pytest.raises(InputError, match="case_t1ce.nii.gz is 0 everywhere. Replace"):
        read_case(case)
    volume[4, 5, 6] = 1  # One voxel outside the middle slice is enough.
    read_case(write_case(tmp_path, {"t1ce": volume}))


def test_the_label_3_belongs_to_2023_and_is_refused_in_2017(tmp_path):
    case = write_case(tmp_path / "2023", segmentation=np.full(SHAPE, 3), edition="2023")
    assert (read_case(case).classes == 3).all()
    case = write_case(tmp_path / "2017", segmentation=np.full(SHAPE, 3))
    with pytest.raises(InputError, match="case_seg.nii.gz: Unknown label values 3;"):
        read_case(case)


def write_msd_case(root, num_volumes=4, orientation="LPS"):
    """Writes an image of MSD whose k-th volume is 10 k and its place, and finds it again."""
    place = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    labels = np.array([0, 1, 2, 3] * 52 + [0, 1], dtype=np.uint8).reshape(SHAPE)
    images = [
        build_image(volume, GEOMETRY)
        for volume in [*(10 * k + place for k in range(num_volumes)), labels]
    ]
    *images, labels = (SimpleITK.DICOMOrient(image, orientation) for image in images)
    for name, image in (("imagesTr", SimpleITK.JoinSeries(images)), ("labelsTr", labels)):
        (root / name).mkdir()
        SimpleITK.WriteImage(image, str(root / name / "BRATS_001.nii.gz"))
    return find_cases(root, need_segmentation=True)[0][0], place


@pytest.mark.parametrize("orientation", ["LPS", "RIA"])
def test_an_image_of_msd_is_read_as_four_volumes_in_its_first_three_axes(tmp_path, orientation):
    # FLAIR, T1w, T1gd, T2w; labels 1 edema, 2 necrosis, 3 enhancing.
    case, place = write_msd_case(tmp_path, orientation=orientation)
    raw = read_case(case)
    for k, volume in enumerate(raw.volumes):
        assert (volume.shape, volume.dtype.name) == (SHAPE, "float32")
        assert np.array_equal(volume, 10 * k + place)
    assert raw.classes.ravel()[:5].tolist() == [0, 2, 1, 3, 0]
    assert raw.geometry.is_close_to(GEOMETRY)


@pytest.mark.parametrize("num_volumes", [2, 5])
def test_an_image_of_msd_with_another_number_of_volumes_is_refused(tmp_path, num_volumes):
    case, _ = write_msd_case(tmp_path, num_volumes)
    size = rf"BRATS_001.nii.gz has size \(7, 6, 5, {num_volumes}\)"
    with pytest.raises(InputError, match=f"{size}.*the last of 4: flair, t1, t1ce"):
        read_case(case)


def test_an_image_of_msd_in_three_dimensions_is_refused(tmp_path):
    case, place = write_msd_case(tmp_path)
    write_volume(case.images["t1"], place, GEOMETRY)
    with pytest.raises(InputError, match=r"size \(7, 6, 5\); in a folder imagesTr, expected four"):
        read_case(case)
