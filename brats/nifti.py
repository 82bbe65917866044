"""What the NIfTI reader of ITK lets pass: files cut short, and values that are not finite.

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
FLOAT_TYPES = {16: "f4", 64: "f8"}  # By the header's datatype.


@dataclass(frozen=True)
class Layout:
    """Where the voxels of a file lie, after decompression.

    Attributes:
        offset: First byte of the voxels.
        size: Bytes up to the end of the last voxel.
        dtype: NumPy type of the voxels if they are floats, else None.
    """

    offset: int
    size: int
    dtype: np.dtype | None


def check_stored_voxels(path, finite=True):
    """Checks that a file holds all the voxels its header promises, and no NaN or infinity.

    Args:
        path: Path of a NIfTI-1 file; one of another kind passes, for ITK to judge.
        finite: Whether to look for NaN and infinity, which takes reading all of a float image.

    Raises:
        InputError: If the file cannot be read, is truncated or damaged, or a value is not finite;
            names it.
    """
    try:
        layout = _read_layout(path)
        if layout is None:
            return
        stored = _stored_bytes(path, layout.size)
        if finite and layout.dtype and stored >= layout.size:
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


def _open(path):
    return gzip.open(path) if _is_compressed(path) else Path(path).open("rb")


def _is_compressed(path):
    return str(path).endswith(".gz")


def _read_layout(path):
    header = read_header(path)
    for order in "<>":
        if len(header) == HEADER_BYTES and struct.unpack_from(order + "i", header)[0] == 348:
            num_axes, *lengths = struct.unpack_from(order + "8h", header, 40)
            datatype, bits = struct.unpack_from(order + "2h", header, 70)
            offset = int(struct.unpack_from(order + "f", header, 108)[0])
            size = offset + math.prod(lengths[:num_axes]) * bits // 8
            dtype = FLOAT_TYPES.get(datatype)
            return Layout(offset, size, np.dtype(order + dtype) if dtype else None)
    return None


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
    with gzip.open(path) as file:
        return sum(map(len, iter(lambda: file.read(2**20), b"")))


def _check_finite(path, layout):
    with _open(path) as file:
        voxels = np.frombuffer(file.read()[layout.offset : layout.size], layout.dtype)
    if not np.isfinite(voxels).all():
        raise InputError(
            f"{path} holds {np.count_nonzero(~np.isfinite(voxels))} voxels that are NaN or "
            "infinite; expected finite intensities. Repair or remove the case."
        )
