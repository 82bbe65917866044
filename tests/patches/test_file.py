"""The patch file of a case: what is written is read back, and which files are refused."""

import hashlib
import json
import os
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from brats.errors import InputError
from brats.patches.centers import cut_patch
from brats.patches.file import (
    AGREEMENT,
    check_agreement,
    read_case_file,
    stored_bytes,
    write_case_file,
)
from tests.synthetic import describe_noise, noise_patches, write_noise

NAMES = ("images", "labels", "center", "checksum")


@pytest.fixture
def path(tmp_path, rng):
    """A patch file of 5 patches."""
    write_noise(tmp_path, rng, [5])
    return tmp_path / "a.h5"


def test_a_patch_file_holds_the_patches_contiguous_for_any_reader_of_hdf5(tmp_path, rng):
    (patches,) = write_noise(tmp_path, rng, [5])
    with h5py.File(tmp_path / "a.h5") as file:
        assert {name: file[name].dtype.name for name in file} == {
            "images": "float32", "labels": "uint8", "center": "int32", "checksum": "uint32",
        }  # fmt: skip
        for dataset in file.values():
            assert dataset.chunks is None and dataset.compression is None
            assert dataset.id.get_offset() is not None
        stored = {name: file[name][:] for name in NAMES}
        assert (file.attrs["format"], file.attrs["version"]) == (b"brats-patches", 2)
        assert file.attrs["case"] == b"a"
    assert stored["images"].shape == (5, 128, 128, 4) and stored["labels"].shape == (5, 128, 128)
    # Patch 3 lies around (0, 64 + 3, 64 + 1) in the window, which begins at (1, 29, 42).
    assert stored["center"][3].tolist() == [0 + 1, 67 + 29, 65 + 42]
    assert np.array_equal(stored["images"][3], patches.channels[0, 3:131, 1:129])
    assert np.array_equal(stored["labels"][4], patches.classes[1, :128, :128])
    for image, labels, checksum in zip(*(stored[n] for n in NAMES if n != "center"), strict=True):
        assert checksum == zlib.crc32(image.tobytes() + labels.tobytes())


def test_the_header_of_a_patch_file_is_read_back(path):
    file = read_case_file(path)
    assert file.description == AGREEMENT | describe_noise("a")
    assert (file.id, file.patient, file.grade, file.num_patches) == ("a", "a", None, 5)
    with h5py.File(path) as stored:
        assert file.offsets == tuple(stored[name].id.get_offset() for name in ("images", "labels"))
        checksums = stored["checksum"][:]
    assert file.checksum == hashlib.sha256(checksums.tobytes()).hexdigest()


def test_images_of_float16_are_rounded(tmp_path, rng):
    (patches,) = write_noise(tmp_path, rng, [1], dtype="float16")
    with h5py.File(tmp_path / "a.h5") as file:
        expected = cut_patch(patches.channels, patches.centers[0]).astype(np.float16)
        assert file["images"].dtype == np.float16
        assert np.array_equal(file["images"][0], expected)


def test_beyond_the_window_images_are_background_and_labels_normal(tmp_path, rng):
    patches = noise_patches(1, rng)
    patches.centers[0] = (2, 60, 70)  # Of 131 x 130: 4 rows above and 4 columns to the right.
    write_case_file(tmp_path / "a.h5", patches, describe_noise("a"))
    with h5py.File(tmp_path / "a.h5") as file:
        for name, volume, beyond in (
            ("images", patches.channels, -9),
            ("labels", patches.classes, 0),
        ):
            patch = file[name][0]
            assert np.array_equal(patch[4:, :124], volume[2, :124, 6:])
            assert (patch[:4] == beyond).all() and (patch[:, 124:] == beyond).all()


def test_a_case_without_centers_gives_a_file_without_patches(tmp_path, rng):
    write_noise(tmp_path, rng, [0])
    assert read_case_file(tmp_path / "a.h5").num_patches == 0


def test_a_patch_takes_17_bytes_per_pixel_and_9_in_float16():
    assert stored_bytes(2, "float32") == 2 * 128 * 128 * 17
    assert stored_bytes(2, "float16") == 2 * 128 * 128 * 9


def test_a_file_of_the_old_format_is_refused_with_what_to_run(tmp_path):
    path = tmp_path / "patches.h5"
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = json.dumps("brats-patches"), json.dumps(1)
        file.create_group("train")
    with pytest.raises(
        InputError, match="patches.h5 is of an older version. Make .* extract_patches"
    ):
        read_case_file(path)


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def edit(change):
    """Returns the function that makes a change to an open file."""

    def edit_file(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return edit_file


def replace(name, **options):
    """Returns the function that replaces a dataset by one that is made with other options."""

    def change(file):
        values = file[name][:]
        del file[name]
        file.create_dataset(name, **{"data": values, **options})

    return edit(change)


def link(name, make):
    """Returns the function that replaces a dataset by a link to what `make` gives."""

    def change(file):
        file.move(name, f"other {name}")
        file[name] = make(f"other {name}")

    return edit(change)


def keep_outside(file):
    """Keeps the labels in another file, without a link."""
    shape, folder = file["labels"].shape, Path(file.filename).parent
    del file["labels"]
    outside = [(b"outside.raw", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset("labels", shape, "uint8", external=outside)
    (folder / "outside.raw").write_bytes(bytes(np.prod(shape)))


def describe(**changes):
    text = json.dumps(AGREEMENT | describe_noise("a") | changes)
    return edit(lambda file: file.attrs.update({"description": np.bytes_(text)}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("not patches"), "is not an HDF5 file. Give another"),
        (lambda path: path.write_bytes(b""), "is empty. Give another"),
        (make_pipe, "is not a regular file"),
        (lambda path: os.truncate(path, 9000), "was cut short|damaged HDF5 file: .*truncated"),
        (edit(lambda file: file.attrs.update({"format": "other"})), "is not a patch file"),
        (edit(lambda file: file.attrs.update({"description": "{"})), "damaged description"),
        (describe(patient="b"), "damaged description"),
        (edit(lambda file: file["center"].write_direct(np.ones((5, 3), "i4"))), "damaged descr"),
        (edit(lambda file: file.pop("labels")), "has labels of none; expected"),
        (replace("labels", data=np.zeros((4, 128, 128), "uint8")), r"labels of \(4, 128, 128\)"),
        (replace("images", dtype="float64"), "images of .* float64; expected .* float32"),
        (replace("images", chunks=(1, 128, 128, 4)), "keeps images in chunks"),
        (replace("labels", compression="gzip"), "keeps labels in chunks, compressed"),
        (link("images", h5py.SoftLink), "links images to other images"),
        (link("labels", lambda name: h5py.ExternalLink("a.h5", name)), "links labels to other"),
        (edit(keep_outside), "keeps labels in .* another file"),
    ],
)
def test_other_and_damaged_files_are_refused_by_name(path, damage, message):
    damage(path)
    with pytest.raises(InputError, match=f"a.h5 .*({message})"):
        read_case_file(path)


@pytest.mark.parametrize("name", AGREEMENT)
def test_what_the_stages_agree_on_is_compared_and_required(name):
    with pytest.raises(InputError, match=f"source has {name} other; expected"):
        check_agreement(AGREEMENT | {name: "other"}, "source")
    without = {key: value for key, value in AGREEMENT.items() if key != name}
    with pytest.raises(InputError, match=f"source has {name} missing; expected"):
        check_agreement(without, "source")
