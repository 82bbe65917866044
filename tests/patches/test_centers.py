"""Where patches may lie, and that the patches of a case are those around their centers."""

import numpy as np
import pytest
import SimpleITK

from brats.cases.find import find_cases
from brats.editions import MODALITIES
from brats.patches.centers import (
    admissible_centers,
    cut_patch,
    sample_balanced_centers,
    sample_case,
    sample_centers,
)
from brats.phantom.cohort import write_cohort
from brats.volumes.case import read_case
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry
from brats.volumes.network_input import crop_window
from brats.volumes.normalization import BACKGROUND, normalize

PUBLISHED_WINDOW = slice(29, 221), slice(42, 194)


def test_centers_of_a_published_window_are_25_columns_by_65_rows():
    # Columns 64 to 152 - 64 and rows 64 to 192 - 64, both ends included.
    centers = admissible_centers(np.ones((2, 192, 152), dtype=np.float32))
    assert (centers.shape, centers.dtype.name) == ((2 * 65 * 25, 3), "int32")
    assert centers.min(axis=0).tolist() == [0, 64, 64]
    assert centers.max(axis=0).tolist() == [1, 128, 88]


def test_centers_are_brain():
    flair = np.ones((1, 130, 129), dtype=np.float32)  # 3 x 2 positions.
    flair[0, 64, 64], flair[0, 66, 65] = 0, BACKGROUND
    expected = [[0, 64, 65], [0, 65, 64], [0, 65, 65], [0, 66, 64]]
    assert admissible_centers(flair).tolist() == expected


def test_centers_are_drawn_without_repeats_from_the_admissible_ones(rng):
    centers = admissible_centers(np.ones((3, 131, 129), dtype=np.float32))  # 3 x 4 x 2 = 24
    drawn = sample_centers(centers, 20, rng).tolist()
    assert len({tuple(center) for center in drawn}) == 20
    assert all(center in centers.tolist() for center in drawn)


def test_fewer_centers_than_asked_for_are_all_taken(rng):
    centers = np.array([[0, 64, 64], [1, 65, 66], [2, 64, 65]], dtype=np.int32)
    assert sorted(sample_centers(centers, 5, rng).tolist()) == centers.tolist()


def test_balanced_centers_come_in_equal_shares_from_the_brain_and_each_class(rng):
    # Edema at one corner and enhancing tumor of 5 voxels; no necrosis.
    flair = np.full((3, 40, 50), BACKGROUND, np.float32)
    flair[:, :30, :35] = 1
    classes = np.zeros(flair.shape, np.uint8)
    classes[1, :6, :5] = 2
    classes[2, 29, 30:35] = 3
    centers = sample_balanced_centers(flair, classes, 60, rng)
    assert centers.dtype == np.int32
    drawn = classes[tuple(centers.T)]
    # Shares of 20: edema has 30 voxels, enhancing tumor all its 5, and the brain gives the rest.
    assert len(centers) == 60
    assert np.count_nonzero(drawn == 2) >= 20 and np.count_nonzero(drawn == 3) >= 5
    assert np.count_nonzero(drawn == 0) > 25
    assert (flair[tuple(centers.T)] == 1).all()
    assert len(set(drawn[:20])) > 1  # In random order.


def test_all_of_a_small_brain_is_taken_once_by_balanced_centers(rng):
    flair = np.full((1, 9, 11), BACKGROUND, np.float32)
    flair[0, 2:4, 3:6] = 1
    centers = sample_balanced_centers(flair, np.zeros(flair.shape, np.uint8), 50, rng)
    expected = [[0, row, column] for row in (2, 3) for column in (3, 4, 5)]
    assert sorted(centers.tolist()) == expected


def test_a_patch_that_sticks_out_of_the_volume_is_filled_up():
    # Above the first row and beyond the last column: 64 - 3 rows and 64 - (140 - 100) columns.
    volume = np.arange(2 * 70 * 140 * 2).reshape(2, 70, 140, 2)
    patch = cut_patch(volume, (1, 3, 100), beyond=-9)
    assert patch.shape == (128, 128, 2)
    np.testing.assert_array_equal(patch[61:128, :104], volume[1, :67, 36:])
    assert (patch[:61] == -9).all() and (patch[:, 104:] == -9).all()
    # Beyond the last row and before the first column, of a volume without channels.
    patch = cut_patch(volume[..., 0], (0, 69, 10), beyond=7)
    np.testing.assert_array_equal(patch[:65, 54:], volume[0, 5:, :74, 0])
    assert (patch[65:] == 7).all() and (patch[:, :54] == 7).all()


def read_pixels(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def independent_patch(case, center, window):
    """Cuts a patch out of the files of a case, by the formulas rather than by `brats`.

    The window, of rows and columns, is where the statistics of a slice come from.
    """
    z, y, x = center
    inside = slice(y - 64, y + 64), slice(x - 64, x + 64)
    channels = []
    for path in case.images.values():
        pixels = read_pixels(path)[z].astype(float)
        low, high = np.percentile(pixels[window], (1, 99))
        brain = np.clip(pixels[window], low, high)
        brain = brain[brain != 0]
        channel = (np.clip(pixels, low, high) - brain.mean()) / brain.std()
        channels.append(np.where(pixels == 0, -9, channel)[inside])
    labels = read_pixels(case.segmentation)[z][inside]
    classes = np.select([labels == 1, labels == 2, labels == 4], [1, 2, 3], 0)
    return np.stack(channels, axis=-1), classes


def brain_window(case):
    """Returns rows and columns of the box of the brain; larger than a patch here."""
    pixels = [read_pixels(path) for path in case.images.values()]
    _, rows, columns = np.nonzero(np.any(pixels, axis=0))
    window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    assert all(part.stop - part.start > 128 for part in window)
    return window


def check_patches(case, window, num_patches):
    patches = sample_case(case, num_patches, np.random.default_rng(0))
    assert len(patches.centers) == num_patches
    for inside, center in zip(patches.centers, patches.centers + patches.origin, strict=True):
        images, classes = independent_patch(case, center, window)
        np.testing.assert_allclose(cut_patch(patches.channels, inside), images, rtol=0, atol=1e-5)
        assert np.array_equal(cut_patch(patches.classes, inside), classes)


def test_patches_of_a_phantom_are_those_around_their_centers(tmp_path):
    write_cohort(tmp_path / "cohort", num_cases=1, seed=0, shape=(9, 240, 250))
    ((case,), _) = find_cases(tmp_path / "cohort", need_segmentation=True)
    check_patches(case, brain_window(case), 6)


def test_patches_of_a_real_case_are_those_around_their_centers(real_cases):
    case = find_cases(real_cases, need_segmentation=True)[0][0]
    check_patches(case, PUBLISHED_WINDOW, 3)


def test_centers_of_a_case_are_where_its_flair_is_brain(tmp_path, rng):
    # Slices of 128 x 130 have three positions, in row 64. FLAIR lacks those of slice 1, T1 one
    # of slice 0, which does not matter.
    shape, folder = (3, 128, 130), tmp_path / "BraTS2021_00000"
    volumes = {name: rng.integers(1, 500, shape).astype(np.int16) for name in MODALITIES}
    volumes["flair"][1, 64], volumes["t1"][0, 64, 64] = 0, 0
    geometry = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    for name, volume in (volumes | {"seg": np.zeros(shape, dtype=np.uint8)}).items():
        write_volume(folder / f"{folder.name}_{name}.nii.gz", volume, geometry)
    ((case,), _) = find_cases(tmp_path, need_segmentation=True)
    centers = sample_case(case, 99, rng, force=True).centers.tolist()
    assert sorted(centers) == [[z, 64, x] for z in (0, 2) for x in (64, 65, 66)]


@pytest.mark.parametrize("shape", [(9, 97, 141), (8, 160, 120), (7, 61, 50)])
def test_patches_of_small_slices_lie_around_their_centers(tmp_path, shape):
    # What lies outside the volume is background, and takes no part in the statistics.
    write_cohort(tmp_path / "cohort", num_cases=1, seed=0, shape=shape)
    ((case,), _) = find_cases(tmp_path / "cohort", need_segmentation=True)
    raw = read_case(case)
    window = crop_window(raw.volumes)
    channels = np.full((*shape, 4), -9, dtype=np.float32)
    for index, volume in enumerate(raw.volumes):
        channels[(*window, index)] = normalize(volume[window], slice(None), slice(None))
    margin = [(0, 0), (128, 128), (128, 128)]
    channels = np.pad(channels, [*margin, (0, 0)], constant_values=-9)
    classes = np.pad(raw.classes, margin)
    patches = sample_case(case, 99, np.random.default_rng(0))
    assert len(patches.centers) > 0
    for inside, (z, y, x) in zip(patches.centers, patches.centers + patches.origin, strict=True):
        assert raw.volumes[0][z, y, x] != 0
        around = z, slice(y + 64, y + 192), slice(x + 64, x + 192)
        assert np.array_equal(cut_patch(patches.channels, inside), channels[around])
        assert np.array_equal(cut_patch(patches.classes, inside), classes[around])
