"""The voxels of a NIfTI file as they are stored, and a sentence about what is wrong with a file.

In: the path of a NIfTI-1 file. Out: its voxels, or an error.

We check these files ourselves because ITK reads damaged ones without an error. It fills a truncated
file with 0, replaces NaN and infinity by 0, does not compare checksums, and waits at a pipe.

Reference: the NIfTI-1 header, nifti1.h, https://nifti.nimh.nih.gov/nifti-1.
"""

import contextlib
import gzip
import math
import os
import stat
import struct
import zlib
from pathlib import Path

import numpy as np

from brats.errors import InputError

HEADER_BYTES = 348  # Also the first number of the header.
MIN_OFFSET = 352  # Four bytes that announce extensions follow the header.
MAX_MM = 1e6  # A scanner is smaller than a kilometer. ITK hangs on infinite positions.
MAGIC = b"n+1\0"
GZIP_FORMAT = 31  # Tells zlib to expect the header and the checksum of gzip.
# The header's `datatype` as a NumPy type.
TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
NO_NUMBERS = {1: "bits", 32: "complex numbers", 128: "colors", 2304: "colors"}


def read_stored_voxels(path):
    """Checks a file; returns its voxels `(V,)` before any scaling, and whether they are scaled."""
    with _naming(path):
        _check_kind(path)
        offset, num_voxels, dtype, is_scaled = _read_header(path)
        content = _read_content(path, offset + num_voxels * dtype.itemsize)
    voxels = np.frombuffer(content, dtype, num_voxels, offset)
    if dtype.kind == "f" and not np.isfinite(voxels).all():
        counts = {"NaN": np.isnan(voxels).sum(), "infinity": np.isinf(voxels).sum()}
        found = " and ".join(f"{name} in {count}" for name, count in counts.items() if count)
        raise InputError(
            f"{path} holds {found} of {voxels.size} voxels; expected finite numbers. Repair or "
            "remove the case."
        )
    return voxels.astype(dtype.newbyteorder("="), copy=False), is_scaled


@contextlib.contextmanager
def _naming(path):
    """Turns errors of the system and of the decompression into an `InputError`."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"Cannot decompress {path}: {reason}. Copy it again.") from error
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Check the file and its permissions."
        ) from error


def _check_kind(path):
    """Checks that a path is a file, and that it is compressed if its name says so."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode):
        kind = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe"}.get(stat.S_IFMT(mode), "device")
        raise InputError(f"{path} is a {kind}; expected a NIfTI file. Remove or replace it.")
    with Path(path).open("rb") as file:
        first = file.read(4)
    if not first:
        raise InputError(f"{path} is empty. Copy it again.")
    is_gzip = first.startswith(b"\x1f\x8b")
    if is_gzip != _is_compressed(path):
        found = "is compressed" if is_gzip else "is not compressed"
        raise InputError(f"{path} {found}, but its name says otherwise. Copy or convert it again.")


def _read_header(path):
    """Returns the first byte of the voxels, their number and type, and whether they are scaled."""
    header, order = _read_header_bytes(path)
    num_axes, *lengths = struct.unpack_from(order + "8h", header, 40)
    size = lengths[: max(num_axes, 0)]
    (datatype,) = struct.unpack_from(order + "h", header, 70)
    spacing_mm = struct.unpack_from(order + "3f", header, 80)
    offset, slope, intercept = struct.unpack_from(order + "3f", header, 108)
    kind, limit = NO_NUMBERS.get(datatype, "unknown"), f"{MAX_MM:g} mm"
    has_spacing = all(0 < abs(value) < MAX_MM for value in spacing_mm[:num_axes])
    has_offset = MIN_OFFSET <= offset < 2**31
    is_placed = _has_position(header, order)
    for is_right, found, expected in (
        (1 <= num_axes <= 7, f"{num_axes} axes", "1 to 7"),
        (all(length > 0 for length in size), f"the size {tuple(size)}", "lengths of at least 1"),
        (datatype in TYPES, f"the voxel type {datatype} ({kind})", "integers or floats"),
        (has_spacing, f"the spacing {spacing_mm} mm", f"numbers other than 0 and below {limit}"),
        (has_offset, f"its first voxel at byte {offset:g}", f"{MIN_OFFSET} or more"),
        (is_placed, "a position that is infinite, NaN or very far away", f"numbers below {limit}"),
    ):
        if not is_right:
            raise InputError(
                f"The header of {path} gives {found}; expected {expected}. Convert the image "
                "again, or repair its header."
            )
    # A slope of 0 or NaN means that there is none.
    has_slope = not (slope in (0, 1) or math.isnan(slope))
    is_scaled = has_slope or not (intercept == 0 or math.isnan(intercept))
    return int(offset), math.prod(size), np.dtype(order + TYPES[datatype]), is_scaled


def _read_header_bytes(path):
    """Returns the 348 bytes of a header, and its byte order, "<" or ">"."""
    with _open(path) as file:
        header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        raise InputError(
            f"{path} holds {len(header)} bytes, but the header of a NIfTI-1 file has "
            f"{HEADER_BYTES}. Copy it again."
        )
    order = next((o for o in "<>" if header[:4] == struct.pack(o + "i", HEADER_BYTES)), None)
    if not order or header[344:] != MAGIC:
        raise InputError(
            f"{path} does not begin with the header of a NIfTI-1 file, which ends in {MAGIC!r}; "
            f"found {header[344:]!r}. Convert it, or copy it again."
        )
    return header, order


def _has_position(header, order):
    """Returns whether the position in a header, a quaternion or a matrix, makes sense."""
    quaternion_code, matrix_code, *numbers = struct.unpack_from(order + "2h18f", header, 252)
    used = numbers[:6] * (quaternion_code > 0) + numbers[6:] * (matrix_code > 0)
    return all(abs(number) < MAX_MM for number in used)


def _read_content(path, size):
    """Returns the first `size` bytes after decompression. Checks all of a compressed file."""
    if _is_compressed(path):
        stored = Path(path).read_bytes()
        # The last four bytes hold the size, unless the file has several parts.
        if stored[-4:] == struct.pack("<I", size % 2**32):
            with contextlib.suppress(zlib.error):  # The code below explains what is wrong.
                # A buffer of exactly this size saves a copy, which takes as long as reading.
                content = zlib.decompress(stored, GZIP_FORMAT, size)
                if len(content) == size:
                    return content
    with _open(path) as file:
        found = file.seek(0, os.SEEK_END)  # Decompresses all, and verifies the checksum.
        if found < size:
            raise InputError(
                f"{path} holds {found} bytes, but its header promises {size}: it was truncated. "
                "Copy it again."
            )
        file.seek(0)
        return file.read(size)


def _open(path):
    return gzip.open(path) if _is_compressed(path) else Path(path).open("rb")


def _is_compressed(path):
    return str(path).endswith(".gz")
