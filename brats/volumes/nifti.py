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

import nibabel
import numpy as np

from brats.errors import InputError
from brats.volumes.position import find_geometry, place

GZIP_FORMAT = 31  # Tells zlib to expect the header and the checksum of gzip.
# Kinds of headers by their size, their first number, and what they say in a file of their own.
HEADERS = {348: (nibabel.Nifti1Header, b"n+1"), 540: (nibabel.Nifti2Header, b"n+2")}
SCALE = ("scl_slope", "scl_inter")


def read_nifti(path):
    """Checks and reads a file, as `brats.volumes.files.read_image`.

    The voxels are scaled as the header says. The `Geometry` is that of the first three axes.
    """
    with _naming(path):
        header = _read_header(path)
        size, dtype, offset = _find_voxels(path, header)
        num_voxels = math.prod(size)
        content = _read_content(path, offset + num_voxels * dtype.itemsize)
    voxels = np.frombuffer(content, dtype, num_voxels, offset)
    check_finite(path, voxels, "Repair or remove the case.")
    voxels = voxels.astype(dtype.newbyteorder("="), copy=False)
    slope, intercept = (0 if math.isnan(header[name]) else float(header[name]) for name in SCALE)
    if slope != 0 and (slope, intercept) != (1, 0):  # By the standard, 0 means no scaling.
        voxels = _scale(voxels, slope, intercept)
        check_finite(path, voxels, "Repair scl_slope and scl_inter in its header.")
    try:
        geometry = find_geometry(header, (*size, 1, 1)[:3])
    except InputError as error:
        raise InputError(f"Cannot use {path}: {error}") from error
    return voxels.reshape(size[::-1]), geometry


def build_nifti(voxels, geometry):
    """Returns the bytes of a NIfTI-1 file of an array `(Z, Y, X)`, placed by a `Geometry`."""
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape[::-1])
    header.set_slope_inter(1, 0)
    header.set_data_offset(len(header.binaryblock) + 4)  # Four bytes announce extensions.
    place(header, geometry)
    voxels = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    return header.binaryblock + bytes(4) + voxels.tobytes()


def _read_header(path):
    """Returns the header of a file, of nibabel."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise InputError(f"{path} is a folder, pipe or device; expected a file. Remove it.")
    with _open(path) as file:
        content = file.read(max(HEADERS))
    if len(content) < min(HEADERS):
        raise InputError(
            f"{path} holds {len(content)} bytes, but the header of a NIfTI file has "
            f"{min(HEADERS)}. Copy it again."
        )
    for order in "<>":
        (num_bytes,) = struct.unpack_from(order + "i", content)
        if num_bytes in HEADERS and len(content) >= num_bytes:
            kind, magic = HEADERS[num_bytes]
            header = kind(content[:num_bytes], order, check=False)
            if header["magic"].item()[:3] == magic:
                return header
    raise InputError(
        f"{path} does not begin with the header of a NIfTI file. If its voxels are in another file "
        "(.hdr and .img), convert it to .nii.gz. If not, copy it again."
    )


def _find_voxels(path, header):
    """Returns size, NumPy type and first byte of the voxels, and makes voxel sizes positive.

    Axes of one voxel after the third are left out of the size.
    """
    num_axes, *lengths = header["dim"].tolist()
    size, offset = tuple(lengths[: max(num_axes, 0)]), float(header["vox_offset"])
    header["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1
    header["pixdim"][1:] = abs(header["pixdim"][1:])
    header["pixdim"][num_axes + 1 : 4] = 1
    kind, least = int(header["datatype"]), header.single_vox_offset
    types = nibabel.nifti1.data_type_codes
    dtype = types.dtype[kind] if kind in types.code else np.dtype("V0")
    is_number = dtype.kind in "uif" and dtype.itemsize <= 8
    facts = {
        f"{num_axes} axes; expected 1 to 7": 1 <= num_axes <= 7,
        f"the size {size}; expected lengths of at least 1": all(length > 0 for length in size),
        f"the voxel type {kind}; expected integers or floats": is_number,
        f"its first voxel at byte {offset:g}; expected {least} or more": least <= offset < 2**31,
    }
    for fact, is_right in facts.items():
        if not is_right:
            raise InputError(
                f"The header of {path} gives {fact}. Convert the image again, or repair its header."
            )
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    return size, dtype.newbyteorder(header.endianness), int(offset)


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
    """Returns whether a file is compressed, whatever its name says."""
    with Path(path).open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
