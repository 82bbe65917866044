"""Volumes on disk."""

import re

import numpy as np
import pytest
import SimpleITK

from brats.errors import InputError
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry

SHAPE = (5, 6, 7)
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GEOMETRY = Geometry((3.0, 2.0, 1.0), (-7.5, 20.0, 4.0), STRAIGHT)


def count_up(dtype):
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_a_volume_reads_back_as_written_and_the_bytes_repeat(tmp_path, dtype):
    first, second = (tmp_path / name for name in ("first.nii.gz", "second.nii.gz"))
    for path in (first, second):
        write_volume(path, count_up(dtype), GEOMETRY)
    volume, geometry = read_volume(first)
    assert (volume.dtype.name, volume.shape) == (dtype, SHAPE)
    assert np.array_equal(volume, count_up(dtype))
    assert geometry.is_close_to(GEOMETRY)
    assert first.read_bytes() == second.read_bytes()


def test_a_voxel_lies_in_the_file_where_other_programs_look_for_it(tmp_path):
    write_volume(tmp_path / "volume.nii.gz", count_up("int16"), GEOMETRY)
    image = SimpleITK.ReadImage(str(tmp_path / "volume.nii.gz"))
    x, y, z = 6, 5, 1
    assert image.GetSize() == SHAPE[::-1]
    assert image.GetPixel(x, y, z) == (z * 6 + y) * 7 + x
    assert image.TransformIndexToPhysicalPoint((x, y, z)) == (-7.5 + 3 * x, 20 + 2 * y, 4 + z)


def write_and_fail(image, path, useCompression):  # noqa: N803, the name that SimpleITK gives it.
    with open(path, "wb") as file:
        file.write(b"half")
    raise RuntimeError("No space left on device")


def write_all_but_the_end(image, path, useCompression, write=SimpleITK.WriteImage):  # noqa: N803
    """Cuts off the last slices, which are empty: ITK reads what is missing as 0."""
    write(image, path, useCompression=useCompression)
    with open(path, "rb+") as file:
        file.truncate(file.seek(0, 2) - 12)


def write_other_voxels(image, path, useCompression, write=SimpleITK.WriteImage):  # noqa: N803
    write(image + 1, path, useCompression=useCompression)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (write_and_fail, "Cannot write .*volume.nii.gz. Is the disk full"),
        (write_all_but_the_end, "Cannot write .*volume.nii.gz. Is the disk full"),
        (write_other_voxels, "volume.nii.gz does not read back as written"),
    ],
)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path, monkeypatch, rng, broken, message
):
    labels = rng.integers(0, 4, (40, 50, 60), dtype=np.uint8)
    labels[20:] = 0
    path = tmp_path / "volume.nii.gz"
    write_volume(path, count_up("uint8"), GEOMETRY)
    before = path.read_bytes()
    monkeypatch.setattr(SimpleITK, "WriteImage", broken)
    with pytest.raises(OSError, match=message):
        write_volume(path, labels, GEOMETRY)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("shape", "is_vector"), [((2, 5, 6, 7), False), ((6, 7), False), ((5, 6, 7, 3), True)]
)
def test_an_image_that_is_not_three_dimensional_is_refused_with_its_size(
    tmp_path, shape, is_vector
):
    image = SimpleITK.GetImageFromArray(np.zeros(shape, dtype=np.int16), isVector=is_vector)
    SimpleITK.WriteImage(image, str(tmp_path / "t1.nii.gz"))
    size = re.escape(str(image.GetSize()))
    with pytest.raises(InputError, match=f"t1.nii.gz has size {size}.*; expected three"):
        read_volume(tmp_path / "t1.nii.gz")
