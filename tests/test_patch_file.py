"""What the patch file holds, what its reader gives back, and which files are refused."""

import h5py
import numpy as np
import pytest

from brats.errors import InputError
from brats.patch_file import (
    AGREEMENT,
    PatchReader,
    append_case,
    check_agreement,
    creating_patch_file,
    read_settings,
    write_settings,
)
from brats.patches import CasePatches, cut_patch


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


def test_float16_patches_are_read_as_stored(tmp_path, rng):
    patches = write_noise(tmp_path / "patches.h5", rng, dtype="float16")
    images, _ = PatchReader(tmp_path / "patches.h5", "train").read([0])
    assert images.dtype == np.float16
    rounded = cut_patch(patches.channels, patches.centers[0]).astype(np.float16)
    assert np.array_equal(images[0], rounded)
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


def test_reader_refuses_patches_that_are_compressed_or_share_a_chunk(patch_file):
    for options in ({"chunks": (1, 128, 128), "compression": "lzf"}, {"chunks": (5, 128, 128)}):
        with h5py.File(patch_file, "a") as file:
            labels = file["train/labels"][:]
            del file["train/labels"]
            file.create_dataset("train/labels", data=labels, **options)
        with pytest.raises(InputError, match="train/labels in chunks of .* one patch per chunk"):
            PatchReader(patch_file, "train")


def test_reader_tells_of_a_file_that_shrank(patch_file):
    reader = PatchReader(patch_file, "validation")
    with patch_file.open("rb+") as file:
        file.truncate(4096)
    with pytest.raises(InputError, match="patches.h5 ends before patch 1"):
        reader.read([1])


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
