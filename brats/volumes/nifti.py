"""The voxels of a NIfTI file, and a sentence about what is wrong with a file.

In: the path of a file. Out: its voxels and its geometry, or an error.

We check these files ourselves because ITK reads damaged ones without an error. It fills a truncated
file with 0, replaces NaN and infinity by 0, does not compare checksums, and waits at a pipe.
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
from brats.volumes.header import LAYOUTS, build_header, parse_header
from brats.volumes.position import Position

GZIP_FORMAT = 31  # Tells zlib to expect the header and the checksum of gzip.


def read_nifti(path):
    """Checks and reads a file.

    Args:
        path: Path of a NIfTI file with header and voxels.

    Returns:
        `(voxels, geometry)`: an array with the file's first axis last, scaled as the header says,
        and the `Geometry` of its first three axes, as stored.

    Raises:
        InputError: If the file cannot be read, is damaged, or holds values that are not finite.
    """
    with _naming(path):
        _check_kind(path)
        with _open(path) as file:
            header = parse_header(file.read(max(LAYOUTS)), path)
        dtype, num_voxels = header.dtype, math.prod(header.size)
        content = _read_content(path, header.offset + num_voxels * dtype.itemsize)
    voxels = np.frombuffer(content, dtype, num_voxels, header.offset)
    check_finite(path, voxels, "Repair or remove the case.")
    voxels = voxels.astype(dtype.newbyteorder("="), copy=False)
    if header.scale:
        voxels = _scale(voxels, *header.scale)
        check_finite(path, voxels, "Repair scl_slope and scl_inter in its header.")
    try:
        geometry = header.position.find_geometry((*header.size, 1, 1)[:3])
    except InputError as error:
        raise InputError(f"Cannot use {path}: {error}") from error
    return voxels.reshape(header.size[::-1]), geometry


def build_nifti(voxels, geometry):
    """Returns the bytes of a NIfTI-1 file of an array `(Z, Y, X)`, placed by a `Geometry`."""
    position = geometry.position or Position.of(geometry)
    return (
        build_header(voxels, position)
        + voxels.astype(voxels.dtype.newbyteorder("<"), copy=False).tobytes()
    )


def _scale(voxels, slope, intercept):
    """Returns scaled voxels as ITK does: small integers become float32, others float64."""
    is_small = voxels.dtype.itemsize < 4 or voxels.dtype == np.float32
    with np.errstate(over="ignore", invalid="ignore"):  # Such values are found next.
        scaled = voxels * np.float64(slope) + np.float64(intercept)
        return scaled.astype(np.float32) if is_small else scaled


def check_finite(path, voxels, remedy):
    """Raises an `InputError` if an array holds values that are not finite."""
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        counts = {"NaN": np.isnan(voxels).sum(), "infinity": np.isinf(voxels).sum()}
        found = " and ".join(f"{name} in {count}" for name, count in counts.items() if count)
        raise InputError(
            f"{path} holds {found} of {voxels.size} voxels; expected finite numbers. {remedy}"
        )


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
    return str(path).lower().endswith(".gz")
