"""Files that ITK reads wrong without a word are refused, and no others."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK

from brats.errors import InputError
from brats.volumes.files import read_volume
from brats.volumes.nifti import TYPES, check_stored_voxels

SHAPE = (5, 6, 7)


def write(path, volume):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(volume), str(path))
    return path


@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_whole_files_pass(tmp_path, rng, name, dtype):
    check_stored_voxels(write(tmp_path / name, rng.integers(0, 200, SHAPE).astype(dtype)))


def test_one_byte_less_than_the_header_promises_is_told_with_both_sizes(tmp_path):
    # 352 bytes of header, 5 * 6 * 7 voxels of 2 bytes: 772.
    path = write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="t1.nii holds 771 bytes, but its header promises 772"):
        check_stored_voxels(path)


def test_compressed_file_without_its_end_is_refused(tmp_path, rng):
    path = write(tmp_path / "t1.nii.gz", rng.integers(0, 999, SHAPE, dtype=np.int16))
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(InputError, match="Cannot decompress .*t1.nii.gz: Compressed file ended"):
        check_stored_voxels(path)


def test_compressed_file_with_too_few_voxels_is_refused(tmp_path):
    plain = write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16))
    path = tmp_path / "t1.nii.gz"
    path.write_bytes(gzip.compress(plain.read_bytes()[:-2]))
    with pytest.raises(InputError, match="holds 770 bytes, but its header promises 772"):
        check_stored_voxels(path)


def test_compressed_file_of_several_parts_passes(tmp_path):
    # Block compression writes such files; their last four bytes tell the last part's size only.
    stored = write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16)).read_bytes()
    path = tmp_path / "t1.nii.gz"
    path.write_bytes(gzip.compress(stored[:500]) + gzip.compress(stored[500:]))
    check_stored_voxels(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz"])
def test_values_that_are_not_finite_are_counted(tmp_path, name, value):
    volume = np.ones(SHAPE, dtype=np.float32)
    volume[4, 5, 6] = volume[0, 0, 0] = value
    with pytest.raises(InputError, match=f"{name} holds (NaN|infinity) in 2 of 210 voxels"):
        read_volume(write(tmp_path / name, volume))


def test_not_finite_values_are_found_in_either_byte_order(tmp_path):
    volume = np.ones(SHAPE, dtype=np.float32)
    volume[0, 0, 0] = np.nan
    stored = write(tmp_path / "t1.nii", volume).read_bytes()
    header = bytearray(stored[:352])
    for offset, count, kind in ((0, 1, "i4"), (40, 8, "i2"), (70, 2, "i2"), (108, 1, "f4")):
        values = np.frombuffer(stored, "<" + kind, count, offset)
        swapped = values.astype(">" + kind).tobytes()
        header[offset : offset + len(swapped)] = swapped
    voxels = np.frombuffer(stored[352:], "<f4").astype(">f4").tobytes()
    (tmp_path / "t1.nii").write_bytes(bytes(header) + voxels)
    with pytest.raises(InputError, match="holds NaN in 1 of"):
        read_volume(tmp_path / "t1.nii")


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "t1.nii").write_bytes(b"not an image" * 100)
    with pytest.raises(InputError, match="t1.nii does not begin with the header of a NIfTI-1 file"):
        read_volume(tmp_path / "t1.nii")


def test_a_compressed_file_is_read_no_further_than_its_header_promises(tmp_path, monkeypatch):
    # 772 bytes, and then 100 MB: a file of a hundredth of that, which would take seconds to unpack.
    stored = write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16)).read_bytes()
    path = tmp_path / "t1.nii.gz"
    path.write_bytes(gzip.compress(stored + bytes(10**8), 1))
    read = []
    stored_read = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile, "read", lambda *each: read.append(stored_read(*each)) or read[-1]
    )
    check_stored_voxels(path)
    assert sum(map(len, read)) <= 2**20 + 348


@pytest.mark.parametrize("name", ["t1.nii", "t1.nii.gz"])
@pytest.mark.parametrize("dtype", TYPES.values())
def test_voxels_are_those_that_itk_reads(tmp_path, rng, name, dtype):
    path = write(tmp_path / name, rng.integers(0, 100, SHAPE).astype(dtype))
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    found, _ = read_volume(path)
    assert found.dtype == expected.dtype == dtype
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("slope", "intercept"),
    [(0, 0), (0, 5), (1, 0), (1, 5), (0.5, 0), (-2, 3), (np.nan, 0), (np.nan, np.nan), (0, np.nan)],
)
def test_scaled_voxels_are_those_that_itk_reads(tmp_path, rng, slope, intercept):
    path = write(tmp_path / "t1.nii", rng.integers(0, 100, SHAPE).astype(np.int16))
    content = bytearray(path.read_bytes())
    struct.pack_into("<2f", content, 112, slope, intercept)
    path.write_bytes(content)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    found, _ = read_volume(path)
    assert found.dtype == expected.dtype and np.array_equal(found, expected)


def noise_file(path, rng, dtype=np.int16, shape=(24, 160, 160)):
    """Writes an image of noise, of a size at which ITK does not come to the checksum."""
    return write(path, rng.integers(0, 1000, shape).astype(dtype))


def flip_bit(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("place", [-8, -5, 100_000, 300_000])  # Checksum, and compressed voxels.
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_flipped_bit_that_itk_reads_over_is_refused(tmp_path, rng, place, dtype):
    path = noise_file(tmp_path / "t1.nii.gz", rng, dtype)
    read_volume(path)
    flip_bit(path, place)
    with pytest.raises(InputError, match="Cannot decompress .*t1.nii.gz: .*Copy it again"):
        read_volume(path)


@pytest.mark.parametrize("slope", [0.5, 1.0])  # Scaled, and in several parts of gzip.
def test_a_flipped_bit_is_refused_where_voxels_are_not_as_stored(tmp_path, rng, slope):
    content = bytearray(gzip.decompress(noise_file(tmp_path / "a.nii.gz", rng).read_bytes()))
    struct.pack_into("<2f", content, 112, slope, 0)
    path = tmp_path / "t1.nii.gz"
    parts = [content] if slope != 1 else [content[:700_000], content[700_000:]]
    path.write_bytes(b"".join(map(gzip.compress, parts)))
    read_volume(path)
    flip_bit(path, 300_000)
    with pytest.raises(InputError, match="Cannot decompress .*t1.nii.gz: "):
        read_volume(path)


@pytest.mark.parametrize(
    ("offset", "kind", "values", "message"),
    [
        (40, "<h", [0], "gives 0 axes; expected 1 to 7"),
        (40, "<h", [9], "gives 9 axes; expected 1 to 7"),
        (42, "<3h", [7, -6, 5], r"gives the size \(7, -6, 5\)"),
        (70, "<h", [128], "gives the voxel type 128 \\(colors\\)"),
        (108, "<f", [np.nan], "first voxel at byte nan"),
        (108, "<f", [np.inf], "first voxel at byte inf"),
        (108, "<f", [1e30], "first voxel at byte 1e\\+30"),
        (108, "<f", [-352], "first voxel at byte -352"),
        (80, "<f", [np.nan], "gives the spacing"),
        # Over these ITK looks for singular values until it is killed.
        (280, "<6f", [0.5, 0.5, 3e38, -np.inf, 0.5, 1e-45], "position .* below 1e\\+06 mm"),
    ],
)
def test_headers_of_impossible_values_are_refused(tmp_path, offset, kind, values, message):
    stored = bytearray(write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16)).read_bytes())
    struct.pack_into(kind, stored, offset, *values)
    (tmp_path / "t1.nii").write_bytes(stored)
    with pytest.raises(InputError, match=f"t1.nii .*{message}"):
        check_stored_voxels(tmp_path / "t1.nii")


def test_the_type_and_not_the_bits_beside_it_tells_the_size(tmp_path):
    # float64 with 16 bits: 352 + 5 * 6 * 7 * 8 bytes are needed, not 772, as ITK reads it.
    stored = bytearray(write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16)).read_bytes())
    struct.pack_into("<2h", stored, 70, 64, 16)
    (tmp_path / "t1.nii").write_bytes(stored)
    with pytest.raises(InputError, match="holds 772 bytes, but its header promises 2032"):
        check_stored_voxels(tmp_path / "t1.nii")


def test_a_header_whose_size_is_damaged_is_refused(tmp_path):
    stored = bytearray(write(tmp_path / "t1.nii", np.ones(SHAPE, dtype=np.int16)).read_bytes())
    struct.pack_into("<i", stored, 0, 0)
    (tmp_path / "t1.nii").write_bytes(stored)
    with pytest.raises(InputError, match="does not begin with the header of a NIfTI-1 file"):
        check_stored_voxels(tmp_path / "t1.nii")
