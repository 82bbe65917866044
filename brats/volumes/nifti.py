"""The stored voxels of NIfTI files, and in a sentence what is wrong with a file.

In: the path of a NIfTI-1 file. Out: its voxels, or an error. ITK, which reads the geometry, takes
the missing voxels of a truncated file, and NaN and infinity, for 0 without a word, an axis of
negative length for one of length 1, does not compare checksums, and waits at a pipe.

Reference: the NIfTI-1 header, nifti1.h, https://nifti.nimh.nih.gov/nifti-1.
"""

import contextlib
import gzip
import math
import stat
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brats.errors import InputError

HEADER_BYTES = 348  # Also the first number of the header.
MIN_OFFSET = 352  # Four bytes on extensions come between header and voxels.
MOST_BYTES = 2**31  # What a header may ask to be passed over before the voxels.
MOST_MM = 1e6  # A kilometer: no scanner's coordinates, and over infinite ones ITK never ends.
MAGIC = b"n+1\0"
GZIP_MAGIC = b"\x1f\x8b"
GZIP_FORMAT = 31  # To zlib: the header and the checksum of gzip.
# By the header's `datatype`.
TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
NO_NUMBERS = {1: "bits", 32: "complex numbers", 128: "colors", 2304: "colors"}


@dataclass(frozen=True)
class Layout:
    """Where the voxels of a file lie, after decompression.

    Attributes:
        offset: First byte of the voxels.
        size: Bytes up to the end of the last voxel.
        dtype: NumPy type of the voxels, with their byte order.
        is_scaled: Whether the header has a slope and an intercept for them.
    """

    offset: int
    size: int
    dtype: np.dtype
    is_scaled: bool


def check_stored_voxels(path):
    """Checks that a file has room for all the voxels its header promises.

    Args:
        path: Path of a NIfTI-1 file.

    Returns:
        The `Layout` of the file.

    Raises:
        InputError: If the file cannot be read, is of another kind, truncated or damaged, or its
            header makes no sense; names it.
    """
    with _naming(path):
        layout = _read_layout(path)
        stored = _stored_bytes(path, layout.size)
    if stored < layout.size:
        raise InputError(
            f"{path} holds {stored} bytes, but its header promises {layout.size}: it was cut "
            "short. Copy it again."
        )
    return layout


def read_stored_voxels(path, layout):
    """Reads the voxels of a file as they are stored, before any scaling.

    Faster than ITK, which does not compare the checksum of a compressed file either.

    Args:
        path: Path of a NIfTI-1 file.
        layout: Its `Layout`.

    Returns:
        Array `(V,)` in the type of the file, in the order of the file; read only.

    Raises:
        InputError: If the file is damaged, or holds NaN or infinity; names it.
    """
    with _naming(path):
        content = _read_content(path, layout.size)
    voxels = np.frombuffer(content, layout.dtype, offset=layout.offset)
    if layout.dtype.kind == "f" and not np.isfinite(voxels).all():
        counts = {"NaN": np.isnan(voxels).sum(), "infinity": np.isinf(voxels).sum()}
        found = " and ".join(f"{name} in {count}" for name, count in counts.items() if count)
        raise InputError(
            f"{path} holds {found} of {voxels.size} voxels; expected finite numbers. Repair or "
            "remove the case."
        )
    return voxels.astype(layout.dtype.newbyteorder("="), copy=False)


def check_decompresses(path):
    """Checks that all of a compressed file can be decompressed, checksum included.

    Raises:
        InputError: If not; names it.
    """
    with _naming(path):
        _count_bytes(path, math.inf)


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


@contextlib.contextmanager
def _naming(path):
    """Names the file in what the system or the decompression says of it."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"Cannot decompress {path}: {reason}. Copy it again.") from error
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Check the file and its permissions."
        ) from error


def _open(path):
    return gzip.open(path) if _is_compressed(path) else Path(path).open("rb")


def _is_compressed(path):
    return str(path).endswith(".gz")


def _read_layout(path):
    _check_kind(path)
    header = read_header(path)
    order = next((o for o in "<>" if header[:4] == struct.pack(o + "i", HEADER_BYTES)), None)
    if len(header) < HEADER_BYTES:
        raise InputError(
            f"{path} holds {len(header)} bytes; the header alone of a NIfTI-1 file has "
            f"{HEADER_BYTES}. Copy it again."
        )
    if not order or header[344:] != MAGIC:
        raise InputError(
            f"{path} does not begin with the header of a NIfTI-1 file, which ends in {MAGIC!r}; "
            f"found {header[344:]!r}. Convert it, or copy it again."
        )
    return _check_header(path, header, order)


def _check_header(path, header, order):
    """Returns the `Layout` of a header that makes sense.

    Args:
        path: Path of its file, for the message.
        header: Its 348 bytes.
        order: Byte order, "<" or ">".
    """
    num_axes, *lengths = struct.unpack_from(order + "8h", header, 40)
    (datatype,) = struct.unpack_from(order + "h", header, 70)
    spacing_mm = struct.unpack_from(order + "3f", header, 80)
    (offset,) = struct.unpack_from(order + "f", header, 108)
    size = lengths[: max(num_axes, 0)]
    for is_right, found, expected in (
        (1 <= num_axes <= 7, f"{num_axes} axes", "1 to 7"),
        (all(length > 0 for length in size), f"the size {tuple(size)}", "lengths of at least 1"),
        (
            datatype in TYPES,
            f"the voxel type {datatype} ({NO_NUMBERS.get(datatype, 'unknown')})",
            "whole or floating-point numbers",
        ),
        (
            all(0 < abs(value) < MOST_MM for value in spacing_mm[:num_axes]),
            f"the spacing {spacing_mm} mm",
            f"numbers other than 0 and below {MOST_MM:g} mm",
        ),
        (
            MIN_OFFSET <= offset < MOST_BYTES,
            f"its first voxel at byte {offset:g}",
            f"{MIN_OFFSET} or more",
        ),
        (
            _has_place(header, order),
            "a position that is not finite, or a kilometer off",
            f"numbers below {MOST_MM:g} mm",
        ),
    ):
        if not is_right:
            raise InputError(
                f"The header of {path} gives {found}; expected {expected}. Convert the image "
                "again, or repair its header."
            )
    dtype = np.dtype(order + TYPES[datatype])
    slope, intercept = struct.unpack_from(order + "2f", header, 112)
    # A slope of 0 means none, and so does NaN.
    is_scaled = not (
        (slope in (0, 1) or math.isnan(slope)) and (intercept == 0 or math.isnan(intercept))
    )
    end = int(offset) + math.prod(size) * dtype.itemsize
    return Layout(int(offset), end, dtype, is_scaled)


def _check_kind(path):
    """Checks that a path is a file, compressed if its name says so."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        kind = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe"}.get(stat.S_IFMT(mode), "device")
        raise InputError(f"{path} is a {kind}; expected a NIfTI file. Remove or replace it.")
    with Path(path).open("rb") as file:
        first = file.read(4)
    if not first:
        raise InputError(f"{path} is empty. Copy it again.")
    is_gzip = first.startswith(GZIP_MAGIC)
    if is_gzip != _is_compressed(path):
        found = "a compressed file" if is_gzip else "no compressed file"
        raise InputError(
            f"{path} begins with {first!r}, as {found} does, and its name says otherwise. Rename "
            "it, or copy it again."
        )


def _has_place(header, order):
    """Returns whether the position that a header gives, by quaternion or matrix, can be one."""
    quaternion_code, matrix_code, *numbers = struct.unpack_from(order + "2h18f", header, 252)
    used = numbers[:6] * (quaternion_code > 0) + numbers[6:] * (matrix_code > 0)
    return all(abs(number) < MOST_MM for number in used)


def _stored_bytes(path, expected):
    """Returns the bytes of a file after decompression; where they are enough, perhaps fewer.

    A compressed file says its size in its last four bytes; only where that is not what is
    expected, as in a file of several parts, is it decompressed to count.
    """
    if not _is_compressed(path):
        return Path(path).stat().st_size
    with Path(path).open("rb") as file:
        file.seek(-4, 2)
        if struct.unpack("<I", file.read(4))[0] == expected % 2**32:
            return expected
    return _count_bytes(path, expected)


def _count_bytes(path, enough):
    """Returns the bytes of a file after decompression, or the first number that is enough."""
    count = 0
    with _open(path) as file:
        while count < enough and (block := file.read(2**20)):
            count += len(block)
    return count


def _read_content(path, size):
    """Returns the first bytes of a file after decompression, all of which is checked."""
    if not _is_compressed(path):
        with Path(path).open("rb") as file:
            return file.read(size)
    stored = Path(path).read_bytes()
    if stored[-4:] == struct.pack("<I", size % 2**32):  # As in every file of one part.
        with contextlib.suppress(zlib.error):  # What is wrong is told below.
            # Into memory of just that size: otherwise it is copied, which takes as long again.
            content = zlib.decompress(stored, GZIP_FORMAT, size)
            if len(content) == size:
                return content
    check_decompresses(path)
    with _open(path) as file:
        return file.read(size)
