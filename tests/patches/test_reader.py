"""Random batches out of patch files: order, several files as one, damage."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from brats.errors import InputError
from brats.patches import reader as reading
from brats.patches.centers import cut_patch
from brats.patches.file import read_case_file
from brats.patches.reader import PatchReader
from tests.synthetic import write_noise


@pytest.fixture
def folder(tmp_path, rng):
    """A folder of the patch files a, b and c, of 5, 0 and 2 patches."""
    write_noise(tmp_path, rng, (5, 0, 2))
    return tmp_path


def open_reader(folder, names="abc"):
    return PatchReader([read_case_file(folder / f"{name}.h5") for name in names])


def test_a_patch_is_read_as_it_was_cut(tmp_path, rng):
    (patches,) = write_noise(tmp_path, rng, [5])
    images, classes = open_reader(tmp_path, "a").read(range(5))
    assert (images.dtype.name, classes.dtype.name) == ("float32", "uint8")
    for index, center in enumerate(patches.centers):
        assert np.array_equal(images[index], cut_patch(patches.channels, center))
        assert np.array_equal(classes[index], cut_patch(patches.classes, center))


def test_a_file_that_was_replaced_while_it_was_in_use_is_refused(folder, rng, monkeypatch):
    monkeypatch.setattr(reading, "MOST_OPEN", 1)  # So that a is closed when c is read.
    reader = open_reader(folder)
    reader.read([0, 5])
    (folder / "a.h5").rename(folder / "old.h5")
    write_noise(folder, rng, [5])
    with pytest.raises(InputError, match="a.h5 was replaced while it was in use"):
        reader.read([0])


def test_patches_come_in_the_order_asked_for_through_all_files(folder):
    with h5py.File(folder / "a.h5") as first, h5py.File(folder / "c.h5") as last:
        stored = [np.concatenate([first[n], last[n]]) for n in ("images", "labels")]
    reader = open_reader(folder)
    indices = [6, 0, 5, 3, 3, 4]
    images, classes = reader.read(indices)
    assert len(reader) == 7
    assert np.array_equal(images, stored[0][indices])
    assert np.array_equal(classes, stored[1][indices])
    assert reader.read([])[0].shape == (0, 128, 128, 4)


def test_float16_is_read_as_stored(tmp_path, rng):
    write_noise(tmp_path, rng, [1], dtype="float16")
    images, _ = open_reader(tmp_path, "a").read([0])
    with h5py.File(tmp_path / "a.h5") as file:
        assert images.dtype == np.float16 and np.array_equal(images, file["images"])


def test_an_index_beyond_the_patches_is_an_error(folder):
    for index in (7, -1):
        with pytest.raises(IndexError, match="not all among 7 patches"):
            open_reader(folder).read([index])


def test_a_reader_of_no_files_has_no_patches():
    assert len(PatchReader([])) == 0


def count_open(folder):
    return sum(path.resolve().parent == folder for path in Path("/proc/self/fd").iterdir())


def test_more_files_than_may_be_open_are_read_all_the_same(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(reading, "MOST_OPEN", 2)
    written = write_noise(tmp_path, rng, [1] * 5)
    reader = open_reader(tmp_path, "abcde")
    indices = rng.integers(0, 5, 30)
    images, _ = reader.read(indices)
    assert count_open(tmp_path) == 2
    for image, index in zip(images, indices, strict=True):
        assert np.array_equal(image, cut_patch(written[index].channels, (0, 64, 64)))
    del reader
    assert count_open(tmp_path) == 0


def overwrite(path, position, content):
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(content)


def test_a_changed_byte_is_detected_when_its_patch_is_read(folder):
    path = folder / "c.h5"
    file = read_case_file(path)
    for offset, size in zip(file.offsets, (128 * 128 * 16, 128 * 128), strict=True):
        byte = path.read_bytes()[offset + size + 77]
        overwrite(path, offset + size + 77, bytes([byte ^ 1]))  # Of patch 1 of 2.
        reader = open_reader(folder)
        reader.read([0, 5])
        with pytest.raises(InputError, match="c.h5 is damaged at patch 1: .* or remove it"):
            reader.read([6])
        overwrite(path, offset + size + 77, bytes([byte]))


def test_zeros_in_the_place_of_a_patch_are_detected(folder):
    # As after a power cut, or on a disk that lost a block.
    path = folder / "a.h5"
    file = read_case_file(path)
    for offset, size in zip(file.offsets, (128 * 128 * 16, 128 * 128), strict=True):
        overwrite(path, offset, bytes(size))
    with pytest.raises(InputError, match="a.h5 is damaged at patch 0"):
        open_reader(folder).read([0])


def test_a_file_that_shrank_meanwhile_is_named(folder):
    reader = open_reader(folder)
    os.truncate(folder / "c.h5", 4096)
    with pytest.raises(InputError, match="c.h5 ends before patch 0"):
        reader.read([5])
