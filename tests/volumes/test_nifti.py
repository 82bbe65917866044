"""Files that ITK reads without an error although they are damaged are refused, and no others."""

import gzip
import os
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK

from brats.errors import InputError
from brats.volumes.files import read_volume

SHAPE = (5, 6, 7)  # 210 voxels of 2 bytes follow 352 bytes of header: 772.


def write(path, volume):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(path))
    return path


@pytest.fixture
def plain(tmp_path):
    return write(tmp_path / "plain.nii", np.ones(SHAPE, dtype=np.int16)).read_bytes()


def edited(content, offset, kind, *values):
    """Returns the bytes of a file with other values in its header."""
    content = bytearray(content)
    struct.pack_into(kind, content, offset, *values)
    return bytes(content)


@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8", "i1", "u2", "u4", "i8", "u8"])
def test_voxels_are_those_that_itk_reads(tmp_path, rng, name, dtype):
    path = write(tmp_path / name, rng.integers(0, 100, SHAPE).astype(dtype))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    found, _ = read_volume(path)
    assert found.dtype == expected.dtype == dtype
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(0, 0), (1, 0), (1, 5), (0.5, 0), (-2, 3), (np.nan, 0), (np.nan, np.nan), (0, np.nan)],
)
def test_scaled_voxels_are_those_that_itk_reads(tmp_path, plain, slope, intercept):
    path = tmp_path / "t1.nii"
    path.write_bytes(edited(plain, 112, "<2f", slope, intercept))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    found, _ = read_volume(path)
    assert found.dtype == expected.dtype and np.array_equal(found, expected)


@pytest.mark.parametrize("slope", [0, np.nan])
def test_without_a_slope_nothing_is_added(tmp_path, plain, slope):
    # By the standard. ITK adds the intercept.
    path = tmp_path / "t1.nii"
    path.write_bytes(edited(plain, 112, "<2f", slope, 5))
    assert np.array_equal(read_volume(path)[0], np.ones(SHAPE, dtype=np.int16))


@pytest.mark.parametrize(
    "store",
    [
        # As by tools that compress in blocks. The last four bytes hold another size.
        lambda plain: gzip.compress(plain[:500]) + gzip.compress(plain[500:]),
        lambda plain: gzip.compress(plain + bytes(99)),
        lambda plain: plain,
    ],
)
@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz"])
def test_a_file_is_read_whether_it_is_compressed_or_not(tmp_path, plain, store, name):
    (tmp_path / name).write_bytes(store(plain))
    assert np.array_equal(read_volume(tmp_path / name)[0], np.ones(SHAPE))


def test_files_in_the_other_byte_order_are_read_and_checked(tmp_path):
    volume = np.arange(210, dtype=np.float32).reshape(SHAPE)
    stored = write(tmp_path / "t1.nii", volume).read_bytes()
    header = nibabel.Nifti1Header(stored[:348]).as_byteswapped(">").binaryblock + bytes(4)
    (tmp_path / "t1.nii").write_bytes(header + volume.astype(">f4").tobytes())
    assert np.array_equal(read_volume(tmp_path / "t1.nii")[0], volume)
    volume[0, 0, 3] = np.nan
    (tmp_path / "t1.nii").write_bytes(header + volume.astype(">f4").tobytes())
    with pytest.raises(InputError, match="holds NaN in 1 of 210 voxels"):
        read_volume(tmp_path / "t1.nii")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("t1.nii", lambda plain: b"", "holds 0 bytes, but the header"),
        ("t1.nii", lambda plain: plain[:100], "holds 100 bytes, but the header"),
        ("t1.nii", lambda plain: plain[:-1], "holds 771 bytes, but its header promises 772"),
        ("t1.nii", lambda plain: b"not an image" * 100, "does not begin with the header"),
        ("t1.nii", lambda plain: edited(plain, 0, "<i", 0), "does not begin with the header"),
        ("t1.nii.gz", lambda plain: b"\x1f\x8b\x08 nor this", "Cannot decompress"),
        ("t1.nii.gz", lambda plain: gzip.compress(plain)[:-12], "Cannot decompress .*file ended"),
        ("t1.nii.gz", lambda plain: gzip.compress(plain[:-2]), "770 bytes, .* promises 772"),
        # 17 TB: no memory must be reserved for them.
        (
            "t1.nii.gz",
            lambda plain: gzip.compress(edited(plain, 40, "<4h", 3, 32767, 32767, 8191)),
            "holds 772 bytes, but its header promises 17",
        ),
        # float64 with 16 bits: the type decides. 352 + 210 * 8 bytes.
        ("t1.nii", lambda plain: edited(plain, 70, "<2h", 64, 16), "772 bytes, .* promises 2032"),
        (
            "t1.nii",
            lambda plain: edited(plain, 112, "<2f", 3e38, 3e38),
            "infinity in 210 of .*Repair scl_slope",
        ),
        ("t1.nii", lambda plain: edited(plain, 112, "<2f", np.inf, 1), "Repair scl_slope"),
        ("t1.nii", lambda plain: edited(plain, 40, "<h", 0), "gives 0 axes; expected 1 to 7"),
        ("t1.nii", lambda plain: edited(plain, 40, "<h", 9), "gives 9 axes; expected 1 to 7"),
        ("t1.nii", lambda plain: edited(plain, 42, "<3h", 7, -6, 5), r"the size \(7, -6, 5\)"),
        ("t1.nii", lambda plain: edited(plain, 70, "<h", 128), r"voxel type 128"),
        ("t1.nii", lambda plain: edited(plain, 80, "<f", 0), "has voxels of 0 x 1 x 1 mm"),
        ("t1.nii", lambda plain: edited(plain, 80, "<f", np.nan), "a voxel size or a position"),
        ("t1.nii", lambda plain: edited(plain, 108, "<f", np.nan), "first voxel at byte nan"),
        ("t1.nii", lambda plain: edited(plain, 108, "<f", 1e30), r"first voxel at byte 1e\+30"),
        ("t1.nii", lambda plain: edited(plain, 108, "<f", 0), "first voxel at byte 0"),
        # ITK would search for singular values of these until it is killed.
        (
            "t1.nii",
            lambda plain: edited(plain, 280, "<6f", 0.5, 0.5, 3e38, -np.inf, 0.5, 1e-45),
            r"position .* not below 1e\+06 mm",
        ),
    ],
)
def test_a_file_that_is_damaged_or_of_another_kind_is_refused(
    tmp_path, plain, name, change, message
):
    (tmp_path / name).write_bytes(change(plain))
    with pytest.raises(InputError, match=message) as error:
        read_volume(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkdir, "is a folder, pipe or device"),
        (os.mkfifo, "is a folder, pipe or device"),
        (lambda path: None, "No such file or directory. Check"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links. Check"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, make, message):
    make(tmp_path / "t1.nii.gz")
    with pytest.raises(InputError, match=f"t1.nii.gz:? {message}"):
        read_volume(tmp_path / "t1.nii.gz")


@pytest.mark.parametrize(
    ("values", "found"),
    [([np.nan], "NaN in 1"), ([np.inf, np.nan, -np.inf], "NaN in 1 and infinity in 2")],
)
def test_values_that_are_not_finite_are_counted(tmp_path, values, found):
    volume = np.ones(SHAPE, dtype=np.float32)
    volume.flat[-len(values) :] = values
    with pytest.raises(InputError, match=f"t1.nii.gz holds {found} of 210 voxels"):
        read_volume(write(tmp_path / "t1.nii.gz", volume))


@pytest.mark.parametrize("place", [-8, -5, 300_000])  # Checksum, size, and compressed voxels.
@pytest.mark.parametrize("kind", ["one part", "two parts", "scaled"])
def test_a_flipped_bit_that_itk_does_not_notice_is_refused(tmp_path, rng, place, kind):
    path = write(tmp_path / "t1.nii.gz", rng.integers(0, 1000, (24, 160, 160), dtype=np.uint16))
    content = gzip.decompress(path.read_bytes())
    if kind == "two parts":
        path.write_bytes(gzip.compress(content[:700_000], 1) + gzip.compress(content[700_000:], 1))
    if kind == "scaled":
        path.write_bytes(gzip.compress(edited(content, 112, "<2f", 0.5, 0), 1))
    read_volume(path)
    stored = bytearray(path.read_bytes())
    stored[place] ^= 16
    path.write_bytes(stored)
    with pytest.raises(InputError, match="Cannot decompress .*t1.nii.gz: .*Copy it again"):
        read_volume(path)
