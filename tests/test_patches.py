"""Where patches may lie, what the patch file holds, and what its reader gives back."""

import h5py
import numpy as np
import pytest
import SimpleITK

from brats.cases import MODALITIES, find_cases
from brats.errors import InputError
from brats.patches import (
    AGREEMENT,
    CasePatches,
    PatchReader,
    admissible_centers,
    append_case,
    check_agreement,
    creating_patch_file,
    cut_patch,
    read_settings,
    sample_case,
    sample_centers,
    write_settings,
)
from brats.phantom import write_cohort
from brats.volumes import BACKGROUND, Geometry, write_volume

PUBLISHED_WINDOW = slice(29, 221), slice(42, 194)


def noise_patches(num_centers, rng):
    """Returns patches of noise, with every class, in a window of 3 x 131 x 130."""
    shape = (3, 131, 130)
    centers = [(index % 3, 64 + index % 4, 64 + index % 2) for index in range(num_centers)]
    return CasePatches(
        channels=rng.normal(size=(*shape, 4)).astype(np.float32),
        classes=rng.integers(0, 4, shape).astype(np.uint8),
        centers=np.array(centers, dtype=np.int32),
        origin=np.array([1, 29, 42], dtype=np.int32),
        class_counts=np.zeros(4, dtype=np.int64),
    )


def write_noise(path, rng, dtype="float32"):
    """Writes five training patches and two validation patches; returns the training ones."""
    train = noise_patches(5, rng)
    with creating_patch_file(path, dtype) as file:
        append_case(file["train"], 0, train)
        append_case(file["validation"], 1, noise_patches(2, rng))
        write_settings(file, {"seed": 3})
    return train


@pytest.fixture
def patch_file(tmp_path, rng):
    path = tmp_path / "patches.h5"
    write_noise(path, rng)
    return path


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


def test_window_smaller_than_a_patch_has_no_centers():
    assert admissible_centers(np.ones((2, 127, 152), dtype=np.float32)).shape == (0, 3)


def test_patch_around_every_extreme_center_has_full_size_and_the_right_corner():
    rows, columns = np.mgrid[:192, :152]
    volume = np.stack([rows, columns], axis=-1)[np.newaxis]  # (1, 192, 152, 2)
    for y in (64, 128):
        for x in (64, 88):
            patch = cut_patch(volume, (0, y, x))
            assert patch.shape == (128, 128, 2)
            assert patch[0, 0].tolist() == [y - 64, x - 64]
            assert patch[-1, -1].tolist() == [y + 63, x + 63]


def test_centers_are_drawn_without_repeats_from_the_admissible_ones(rng):
    centers = admissible_centers(np.ones((3, 131, 129), dtype=np.float32))  # 3 x 4 x 2 = 24
    drawn = sample_centers(centers, 20, rng).tolist()
    assert len({tuple(center) for center in drawn}) == 20
    assert all(center in centers.tolist() for center in drawn)


def test_centers_follow_from_the_seed():
    centers = admissible_centers(np.ones((3, 131, 129), dtype=np.float32))
    first, again, other = (
        sample_centers(centers, 10, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_fewer_centers_than_asked_for_are_all_taken(rng):
    centers = np.array([[0, 64, 64], [1, 65, 66], [2, 64, 65]], dtype=np.int32)
    assert sorted(sample_centers(centers, 5, rng).tolist()) == centers.tolist()


def independent_patch(case, center, window):
    """Cuts a patch out of the files of a case, by the formulas rather than by `brats`.

    The window, of rows and columns, is where the statistics of a slice come from.
    """
    z, y, x = center
    inside = slice(y - 64, y + 64), slice(x - 64, x + 64)
    channels = []
    for path in case.images.values():
        pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[z].astype(float)
        low, high = np.percentile(pixels[window], (1, 99))
        brain = np.clip(pixels[window], low, high)
        brain = brain[brain != 0]
        channel = (np.clip(pixels, low, high) - brain.mean()) / brain.std()
        channels.append(np.where(pixels == 0, -9, channel)[inside])
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(case.segmentation)))[z][inside]
    classes = np.select([labels == 1, labels == 2, labels == 4], [1, 2, 3], 0)
    return np.stack(channels, axis=-1), classes


def brain_window(case):
    """Returns rows and columns of the box of the brain; larger than a patch here."""
    pixels = [
        SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(p))) for p in case.images.values()
    ]
    _, rows, columns = np.nonzero(np.any(pixels, axis=0))
    window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    assert all(part.stop - part.start > 128 for part in window)
    return window


def check_extracted_patches(case, window, path, num_patches):
    """Extracts a case and checks every patch against `independent_patch`."""
    patches = sample_case(case, num_patches, np.random.default_rng(0))
    with creating_patch_file(path, "float32") as file:
        append_case(file["validation"], 7, patches)
    with h5py.File(path, "r") as file:
        split = {name: values[:] for name, values in file["validation"].items()}
        assert len(file["train/images"]) == 0
    assert split["images"].shape == (num_patches, 128, 128, 4)
    assert split["case"].tolist() == [7] * num_patches
    for index, center in enumerate(split["center"]):
        images, classes = independent_patch(case, center, window)
        np.testing.assert_allclose(split["images"][index], images, rtol=0, atol=1e-5)
        assert np.array_equal(split["labels"][index], classes)


def test_stored_patches_of_a_phantom_are_those_around_their_centers(tmp_path):
    write_cohort(tmp_path / "cohort", num_cases=1, seed=0, shape=(9, 240, 250))
    (case,) = find_cases(tmp_path / "cohort", need_segmentation=True)
    check_extracted_patches(case, brain_window(case), tmp_path / "patches.h5", 6)


def test_stored_patches_of_a_real_case_are_those_around_their_centers(real_cases, tmp_path):
    case = find_cases(real_cases, need_segmentation=True)[0]
    check_extracted_patches(case, PUBLISHED_WINDOW, tmp_path / "patches.h5", 3)


def test_centers_of_a_case_are_where_its_flair_is_brain(tmp_path, rng):
    # Slices of 128 x 130 have three positions, in row 64. FLAIR lacks those of slice 1, T1 one
    # of slice 0, which does not matter.
    shape, folder = (3, 128, 130), tmp_path / "BraTS2021_00000"
    volumes = {name: rng.integers(1, 500, shape).astype(np.int16) for name in MODALITIES}
    volumes["flair"][1, 64], volumes["t1"][0, 64, 64] = 0, 0
    geometry = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    for name, volume in (volumes | {"seg": np.zeros(shape, dtype=np.uint8)}).items():
        write_volume(folder / f"{folder.name}_{name}.nii.gz", volume, geometry)
    (case,) = find_cases(tmp_path, need_segmentation=True)
    centers = sample_case(case, 99, rng).centers.tolist()
    assert sorted(centers) == [[z, 64, x] for z in (0, 2) for x in (64, 65, 66)]


def test_class_counts_are_those_of_the_whole_volume(cohort):
    case = find_cases(cohort, need_segmentation=True)[0]
    labels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(case.segmentation)))
    counts = sample_case(case, 1, np.random.default_rng(0)).class_counts
    assert counts.tolist() == [np.count_nonzero(labels == label) for label in (0, 1, 2, 4)]


def test_case_smaller_than_a_patch_is_refused_with_both_sizes(tmp_path, rng):
    write_cohort(tmp_path / "cohort", num_cases=1, seed=0, shape=(8, 160, 120))
    (case,) = find_cases(tmp_path / "cohort", need_segmentation=True)
    with pytest.raises(InputError, match=f"{case.id} has .* of 128 x 120; .* 128 x 128"):
        sample_case(case, 1, rng)


def test_patch_file_holds_what_was_appended(tmp_path, rng):
    first, second = noise_patches(3, rng), noise_patches(2, rng)
    with creating_patch_file(tmp_path / "patches.h5", "float32") as file:
        append_case(file["train"], 4, first)
        append_case(file["train"], 9, second)
    with h5py.File(tmp_path / "patches.h5", "r") as file:
        types = {name: values.dtype.name for name, values in file["train"].items()}
        assert types == {"images": "float32", "labels": "uint8", "case": "int32", "center": "int32"}
        assert file["train/case"][:].tolist() == [4, 4, 4, 9, 9]
        # Centers are stored in the uncropped volume, 1, 29 and 42 further.
        assert file["train/center"][1].tolist() == [1 + 1, 65 + 29, 65 + 42]
        assert np.array_equal(file["train/images"][4], second.channels[1, 1:129, 1:129])
        assert np.array_equal(file["train/labels"][2], first.classes[2, 2:130, 0:128])


def test_reader_gives_patches_in_the_order_asked_for_with_repeats(patch_file):
    reader = PatchReader(patch_file, "train")
    one_by_one = [reader.read([index]) for index in range(len(reader))]
    images, classes = reader.read([3, 0, 3, 4])
    assert (len(reader), images.shape, classes.shape) == (5, (4, 128, 128, 4), (4, 128, 128))
    assert (images.dtype.name, classes.dtype.name) == ("float32", "uint8")
    for position, index in enumerate([3, 0, 3, 4]):
        assert np.array_equal(images[position], one_by_one[index][0][0])
        assert np.array_equal(classes[position], one_by_one[index][1][0])


def test_reader_gives_the_patches_that_were_written(tmp_path, rng):
    patches = write_noise(tmp_path / "patches.h5", rng)
    images, classes = PatchReader(tmp_path / "patches.h5", "train").read(np.arange(5))
    for index, center in enumerate(patches.centers):
        assert np.array_equal(images[index], cut_patch(patches.channels, center))
        assert np.array_equal(classes[index], cut_patch(patches.classes, center))


def test_float16_patches_are_read_as_float32(tmp_path, rng):
    patches = write_noise(tmp_path / "patches.h5", rng, dtype="float16")
    images, _ = PatchReader(tmp_path / "patches.h5", "train").read([0])
    assert images.dtype == np.float32
    rounded = cut_patch(patches.channels, patches.centers[0]).astype(np.float16)
    assert np.array_equal(images[0], rounded.astype(np.float32))
    with h5py.File(tmp_path / "patches.h5", "r") as file:
        assert file["train/images"].dtype == np.float16


def test_reader_refuses_a_file_without_the_split(patch_file):
    with h5py.File(patch_file, "a") as file:
        del file["validation"]
    with pytest.raises(InputError, match="patches.h5 has no patches for validation"):
        PatchReader(patch_file, "validation")


def test_reader_refuses_images_and_labels_of_different_number(patch_file):
    with h5py.File(patch_file, "a") as file:
        file["train/labels"].resize(4, axis=0)
    with pytest.raises(InputError, match="holds 5 images but 4 labels for train"):
        PatchReader(patch_file, "train")


def test_settings_read_back_with_all_that_the_stages_agree_on(patch_file):
    assert read_settings(patch_file) == AGREEMENT | {"seed": 3}


def test_missing_patch_file_is_told_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.h5 does not exist. Make it with extract"):
        read_settings(tmp_path / "absent.h5")


def test_text_file_is_no_patch_file(tmp_path):
    (tmp_path / "notes.h5").write_text("not patches")
    with pytest.raises(InputError, match="notes.h5 is not a patch file of extract_patches.py"):
        read_settings(tmp_path / "notes.h5")


@pytest.mark.parametrize("attributes", [{}, {"backend": "tensorflow"}, {"sizes": [1, 2]}])
def test_hdf5_file_of_another_program_is_refused(tmp_path, attributes):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs.update(attributes)
    with pytest.raises(InputError, match="weights.h5 (is not a patch file|has format missing)"):
        read_settings(tmp_path / "weights.h5")


def test_another_version_is_refused_with_both_versions(patch_file):
    with h5py.File(patch_file, "a") as file:
        file.attrs["version"] = "0"
    with pytest.raises(InputError, match="patches.h5 has version 0; expected 1. Make the patches"):
        read_settings(patch_file)


@pytest.mark.parametrize("name", AGREEMENT)
def test_every_agreement_is_compared_and_required(name):
    with pytest.raises(InputError, match=f"source has {name} other; expected"):
        check_agreement(AGREEMENT | {name: "other"}, "source")
    without = {key: value for key, value in AGREEMENT.items() if key != name}
    with pytest.raises(InputError, match=f"source has {name} missing; expected"):
        check_agreement(without, "source")


@pytest.mark.parametrize("error", [ValueError, InputError, KeyboardInterrupt])
def test_failure_leaves_neither_a_patch_file_nor_a_temporary_one(tmp_path, rng, error):
    with pytest.raises(error), creating_patch_file(tmp_path / "patches.h5", "float32") as file:
        append_case(file["train"], 0, noise_patches(1, rng))
        raise error("in the middle")
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_patch_file(patch_file):
    before = patch_file.read_bytes()
    with pytest.raises(ValueError), creating_patch_file(patch_file, "float32"):
        raise ValueError
    assert list(patch_file.parent.iterdir()) == [patch_file]
    assert patch_file.read_bytes() == before
