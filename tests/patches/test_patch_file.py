"""What the patch file holds, and which files are refused."""

import h5py
import numpy as np
import pytest

from brats.errors import InputError
from brats.patches.file import (
    AGREEMENT,
    append_case,
    check_agreement,
    laying_out,
    read_settings,
    stored_bytes,
)
from brats.patches.reader import PatchReader
from tests.synthetic import noise_patches, write_noise


@pytest.fixture
def patch_file(tmp_path, rng):
    path = tmp_path / "patches.h5"
    write_noise(path, rng)
    return path


def test_patch_file_holds_what_was_appended(tmp_path, rng):
    first, second = noise_patches(3, rng), noise_patches(2, rng)
    with laying_out(tmp_path / "patches.h5", "float32") as (file, _):
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


def test_reserved_space_that_was_not_needed_is_given_back(tmp_path, rng):
    path = tmp_path / "patches.h5"
    with laying_out(path, "float32", num_patches=50) as (file, _):
        append_case(file["train"], 0, noise_patches(2, rng))
    assert path.stat().st_size < stored_bytes(3, "float32")
    assert len(PatchReader(path, "train").read([0, 1])[0]) == 2


def test_a_patch_takes_17_bytes_per_pixel_and_9_in_float16():
    assert stored_bytes(2, "float32") == 2 * 128 * 128 * 17
    assert stored_bytes(2, "float16") == 2 * 128 * 128 * 9


def test_settings_read_back_with_all_that_the_stages_agree_on(patch_file):
    assert read_settings(patch_file) == AGREEMENT | {"seed": 3}


def test_missing_patch_file_is_told_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.h5 does not exist. Make it with extract"):
        read_settings(tmp_path / "absent.h5")


def test_text_file_is_no_patch_file(tmp_path):
    (tmp_path / "notes.h5").write_text("not patches")
    with pytest.raises(InputError, match="notes.h5 is not an HDF5 file. Give another"):
        read_settings(tmp_path / "notes.h5")


@pytest.mark.parametrize("attributes", [{}, {"backend": "tensorflow"}, {"sizes": [1, 2]}])
def test_hdf5_file_of_another_program_is_refused(tmp_path, attributes):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs.update(attributes)
    with pytest.raises(InputError, match="weights.h5 is not a patch file"):
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
    with pytest.raises(InputError, match=f"source has no {name}; expected"):
        check_agreement(without, "source")
