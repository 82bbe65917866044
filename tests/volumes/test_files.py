"""Volumes on disk."""

import errno
import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from brats.errors import InputError
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry
from tests.synthetic import build_image

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


def write_half(path, content, write=Path.write_bytes):
    write(path, content[: len(content) // 2])
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


def write_all_but_the_end(path, content, write=Path.write_bytes):
    write(path, content[:-12])


def write_other_voxels(path, content, write=Path.write_bytes):
    content = bytearray(gzip.decompress(content))
    content[-1] ^= 1
    write(path, gzip.compress(content))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (write_half, "Cannot write .*volume.nii.gz: No space left on device"),
        (write_all_but_the_end, "volume.nii.gz does not read back as written: Cannot decompress"),
        (write_other_voxels, "volume.nii.gz does not read back as written. Check the disk"),
    ],
)
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path, monkeypatch, rng, broken, message
):
    labels = rng.integers(0, 4, (40, 50, 60), dtype=np.uint8)
    path = tmp_path / "volume.nii.gz"
    write_volume(path, count_up("uint8"), GEOMETRY)
    before = path.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match=message):
        write_volume(path, labels, GEOMETRY)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("shape", "is_vector", "size"),
    [
        ((2, 5, 6, 7), False, (7, 6, 5, 2)),
        ((6, 7), False, (7, 6)),
        ((5, 6, 7, 3), True, (7, 6, 5, 1, 3)),
    ],
)
@pytest.mark.parametrize("name", ["t1.nii.gz", "t1.mha"])
def test_an_image_that_is_not_three_dimensional_is_refused_with_its_size(
    tmp_path, shape, is_vector, size, name
):
    image = SimpleITK.GetImageFromArray(np.zeros(shape, dtype=np.int16), isVector=is_vector)
    SimpleITK.WriteImage(image, str(tmp_path / name))
    size = re.escape(str(size)) if "nii" in name else ""
    with pytest.raises(InputError, match=f"{name} has size {size}.*; expected three"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("extra", [(1,), (1, 1)])
def test_further_axes_of_one_voxel_do_not_count(tmp_path, extra):
    image = SimpleITK.GetImageFromArray(count_up("int16").reshape(*extra, *SHAPE), isVector=False)
    SimpleITK.WriteImage(image, str(tmp_path / "t1.nii.gz"))
    assert np.array_equal(read_volume(tmp_path / "t1.nii.gz")[0], count_up("int16"))


def test_nifti_2_is_read(tmp_path):
    write_volume(tmp_path / "t1.nii", count_up("int16"), GEOMETRY)
    header = nibabel.load(tmp_path / "t1.nii").header
    header = nibabel.Nifti2Header.from_header(header)
    header.set_data_offset(544)
    header.set_slope_inter(2, 5)
    content = header.binaryblock + bytes(4) + count_up("int16").tobytes()
    (tmp_path / "t1.nii").write_bytes(content)
    volume, geometry = read_volume(tmp_path / "t1.nii")
    assert np.array_equal(volume, 2 * count_up("int16") + 5)
    assert geometry.is_close_to(GEOMETRY)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["t1.mha", "T1.NRRD"])
def test_mha_and_nrrd_are_read_or_refused(tmp_path, name, compressed):
    path = tmp_path / name
    image = build_image(count_up("float32"), GEOMETRY)
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, "RAI"), str(path), compressed)
    volume, geometry = read_volume(path)
    assert np.array_equal(volume, count_up("float32"))
    assert geometry.is_close_to(GEOMETRY)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"Cannot read .*{name}: .* Copy it again, or convert"):
        read_volume(path)
    image[0, 0, 0] = np.nan
    SimpleITK.WriteImage(image, str(path), compressed)
    with pytest.raises(InputError, match=f"{name} holds NaN in 1 of 210 voxels"):
        read_volume(path)
