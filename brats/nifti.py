"""What the NIfTI reader of ITK lets pass: headers that lie, files cut short, values not finite.

In: the path of a NIfTI-1 file. Out: nothing, or an error. ITK reads the missing voxels of a
truncated file, and NaN and infinity, as 0 without a word.

Reference: the NIfTI-1 header, nifti1.h, https://nifti.nimh.nih.gov/nifti-1.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brats.errors import InputError

HEADER_BYTES = 348
MOST_MM = 1e6  # A kilometer: no scanner's coordinates.
MAGICS = (b"n+1\0", b"ni1\0")  # By these or by its size ITK tells a header.
# NumPy's names of the header's datatypes, those that hold one real number per voxel.
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
TYPES |= {1024: "i8", 1280: "u8"}


@dataclass(frozen=True)
class Layout:
    """Where the voxels of a file lie, after decompression.

    Attributes:
        offset: First byte of the voxels.
        size: Bytes up to the end of the last voxel.
        dtype: NumPy type of the voxels.
    """

    offset: int
    size: int
    dtype: np.dtype


def check_stored_voxels(path, finite=True):
    """Checks that a header is sound, that its voxels are all there, and none NaN or infinite.

    Args:
        path: Path of a NIfTI-1 file; one of another kind passes, for ITK to judge.
        finite: Whether to look for NaN and infinity, which takes reading all of a float image.

    Raises:
        InputError: If the file cannot be read, is truncated or damaged, has voxels that are not
            one real number each, or a value is not finite; names it.
    """
    try:
        layout = _read_layout(path)
        if layout is None:
            return
        stored = _stored_bytes(path, layout.size)
        if finite and layout.dtype.kind == "f" and stored >= layout.size:
            _check_finite(path, layout)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"Cannot read {path} as a NIfTI image: {error}.") from error
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Check the file and its permissions."
        ) from error
    if stored < layout.size:
        raise InputError(
            f"{path} holds {stored} bytes, but its header promises {layout.size}: it was cut "
            "short. Copy it again."
        )


def read_header(path):
    """Returns the first bytes of a file, decompressed: 348, the NIfTI-1 header, or fewer."""
    with _open(path) as file:
        return file.read(HEADER_BYTES)


def read_note(path):
    """Returns the text of the header's field `descrip`, "" if the header cannot be read."""
    try:
        field = read_header(path)[148:228]
    except (EOFError, zlib.error, OSError):
        return ""
    return field.partition(b"\0")[0].decode("ascii", "replace")


def _open(path):
    return gzip.open(path) if _is_compressed(path) else Path(path).open("rb")


def _is_compressed(path):
    return str(path).endswith(".gz")


def _read_layout(path):
    header = read_header(path)
    if not _is_nifti(header):
        return None
    # The number of axes tells the order of bytes, as in ITK.
    order = "<" if 1 <= struct.unpack_from("<h", header, 40)[0] <= 7 else ">"
    num_axes, *lengths = struct.unpack_from(order + "8h", header, 40)
    lengths = lengths[: max(num_axes, 0)]
    if num_axes not in range(1, 8) or min(lengths) < 1:
        raise InputError(
            f"The header of {path} is damaged: it tells {num_axes} axes of lengths {lengths}; "
            "expected 1 to 7, each of at least one voxel. Copy the file again."
        )
    (datatype,) = struct.unpack_from(order + "h", header, 70)
    if datatype not in TYPES:
        raise InputError(
            f"{path} has voxels of NIfTI type {datatype}; expected whole numbers or floats of at "
            "most 64 bits, one per voxel. Convert it."
        )
    (offset,) = struct.unpack_from(order + "f", header, 108)
    if not 0 <= offset < 2**31:
        raise InputError(
            f"The header of {path} is damaged: its voxels begin at byte {offset:g}. Copy the file "
            "again."
        )
    _check_geometry(path, header, order)
    dtype = np.dtype(order + TYPES[datatype])
    return Layout(int(offset), int(offset) + math.prod(lengths) * dtype.itemsize, dtype)


def _check_geometry(path, header, order):
    """Checks the numbers that ITK takes the geometry from: over infinite ones it never ends."""
    numbers = list(struct.unpack_from(order + "3f", header, 80))  # The size of a voxel.
    for code, first, count in ((252, 256, 6), (254, 280, 12)):  # qform and sform.
        if struct.unpack_from(order + "h", header, code)[0]:
            numbers += struct.unpack_from(f"{order}{count}f", header, first)
    if not all(abs(number) < MOST_MM for number in numbers):
        raise InputError(
            f"The header of {path} is damaged: its geometry holds numbers that are not finite or "
            f"not below {MOST_MM:g} mm. Copy the file again."
        )


def _is_nifti(header):
    """Returns whether ITK takes the first bytes of a file for a NIfTI-1 header."""
    if len(header) < HEADER_BYTES:
        return False
    sizes = [struct.unpack_from(order + "i", header)[0] for order in "<>"]
    return HEADER_BYTES in sizes or header[344:348] in MAGICS


def _stored_bytes(path, expected):
    """Returns the bytes of a file after decompression.

    A compressed file says its size in its last four bytes; only where that is not what is
    expected, as in a file of several parts, is it decompressed to count.
    """
    if not _is_compressed(path):
        return Path(path).stat().st_size
    with Path(path).open("rb") as file:
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == expected % 2**32:
            return expected
    stored = 0
    with gzip.open(path) as file:
        # No further than what is needed: a small file may hold far more.
        while stored < expected and (part := file.read(2**20)):
            stored += len(part)
    return stored


def _check_finite(path, layout):
    with _open(path) as file:
        voxels = np.frombuffer(file.read(layout.size)[layout.offset :], layout.dtype)
    if not np.isfinite(voxels).all():
        raise InputError(
            f"{path} holds {np.count_nonzero(~np.isfinite(voxels))} voxels that are NaN or "
            "infinite; expected finite intensities. Repair or remove the case."
        )
