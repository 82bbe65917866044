"""The header of a NIfTI file: what it promises of the voxels, and where it places them.

In: the first bytes of a file. Out: a `Header`, or an error that names the field.

Reference: nifti1.h and nifti2.h, https://nifti.nimh.nih.gov. By these, a slope of 0 means that the
voxels are not scaled, and the voxel size is positive.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np

from brats.errors import InputError
from brats.volumes.position import FIELDS, Position

# First byte and format of each field, by the size of the header, which is its first number.
LAYOUTS = {
    348: FIELDS
    | {"dim": (40, "8h"), "type": (70, "h"), "offset": (108, "f"), "scale": (112, "2f")},
    540: {
        **{"dim": (16, "8q"), "type": (12, "h"), "offset": (168, "q"), "scale": (176, "2d")},
        **{"pixdim": (104, "4d"), "units": (500, "i"), "codes": (344, "2i")},
        **{"quaternion": (352, "6d"), "matrix": (400, "12d")},
    },
}
MAGICS = {348: (344, b"n+1\0"), 540: (4, b"n+2\0")}  # First byte, and what stands there.
BITS = 72  # First byte of the number of bits per voxel. The type says so, too.
MAX_MM = 1e6  # A scanner is smaller than a kilometer.
# The header's type as a NumPy type.
TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}
NO_NUMBERS = {1: "bits", 32: "complex numbers", 128: "colors", 2304: "colors"}


@dataclass(frozen=True)
class Header:
    """What a header says of the voxels."""

    size: tuple  # Without axes of one voxel after the third.
    dtype: np.dtype
    offset: int  # First byte of the voxels.
    scale: tuple | None  # Slope and intercept, or None if they are not scaled.
    position: Position


def parse_header(content, path):
    """Returns the `Header` in the first bytes of a file; `path` is for the message."""
    layout, order, num_bytes = _find_layout(content, path)
    fields = {
        name: struct.unpack_from(order + form, content, first)
        for name, (first, form) in layout.items()
    }
    (num_axes, *size), (kind,), (offset,) = fields["dim"], fields["type"], fields["offset"]
    size = tuple(size[: max(num_axes, 0)])
    _check(path, fields, size, num_bytes + 4)  # Four bytes after the header announce extensions.
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    slope, intercept = fields["scale"]
    intercept = 0 if math.isnan(intercept) else intercept
    is_scaled = slope != 0 and not math.isnan(slope) and (slope, intercept) != (1, 0)
    spacing = [abs(length) for length in fields["pixdim"][1 : num_axes + 1]]
    pixdim = (fields["pixdim"][0], *spacing, *[1.0] * (3 - len(spacing)))
    position = Position(**{name: fields[name] for name in FIELDS} | {"pixdim": pixdim})
    scale = (slope, intercept) if is_scaled else None
    return Header(size, np.dtype(order + TYPES[kind]), int(offset), scale, position)


def build_header(voxels, position):
    """Returns the header of a NIfTI-1 file of an array `(Z, Y, X)`, and the four bytes after it."""
    header, (num_bytes, layout) = bytearray(352), next(iter(LAYOUTS.items()))
    place, magic = MAGICS[num_bytes]
    kind = next(code for code, name in TYPES.items() if np.dtype(name) == voxels.dtype)
    fields = {"dim": (3, *voxels.shape[::-1], 1, 1, 1, 1), "type": (kind,), "offset": (352,)}
    fields |= {"scale": (1, 0)} | vars(position)
    for name, (first, form) in layout.items():
        struct.pack_into("<" + form, header, first, *fields[name])
    struct.pack_into("<i", header, 0, num_bytes)
    struct.pack_into("<h", header, BITS, 8 * voxels.dtype.itemsize)
    header[place : place + len(magic)] = magic
    return bytes(header)


def _find_layout(content, path):
    """Returns the layout of a header, its byte order, "<" or ">", and its size."""
    if len(content) < min(LAYOUTS):
        raise InputError(
            f"{path} holds {len(content)} bytes, but the header of a NIfTI file has "
            f"{min(LAYOUTS)}. Copy it again."
        )
    for order in "<>":
        (num_bytes,) = struct.unpack_from(order + "i", content)
        place, magic = MAGICS.get(num_bytes, (0, None))
        if magic and len(content) >= num_bytes and content[place:].startswith(magic):
            return LAYOUTS[num_bytes], order, num_bytes
    raise InputError(
        f"{path} does not begin with the header of a NIfTI file that holds its voxels, too. "
        "Convert it to .nii.gz, or copy it again."
    )


def _check(path, fields, size, least_offset):
    """Raises an `InputError` that names the first field that makes no sense."""
    (offset,), (kind,) = fields["offset"], fields["type"]
    spacing, limit = fields["pixdim"][1:], f"{MAX_MM:g} mm"
    has_spacing = all(0 < abs(length) < MAX_MM for length in spacing[: len(size)])
    codes, numbers = fields["codes"], (fields["quaternion"], fields["matrix"])
    used = [each for code, form in zip(codes, numbers, strict=True) if code > 0 for each in form]
    is_placed = all(abs(number) < MAX_MM for number in used)
    num_axes, unknown = fields["dim"][0], NO_NUMBERS.get(kind, "unknown")
    for is_right, found, expected in (
        (1 <= num_axes <= 7, f"{num_axes} axes", "1 to 7"),
        (all(length > 0 for length in size), f"the size {size}", "lengths of at least 1"),
        (kind in TYPES, f"the voxel type {kind} ({unknown})", "integers or floats"),
        (has_spacing, f"the spacing {spacing} mm", f"numbers other than 0 and below {limit}"),
        (
            least_offset <= offset < 2**31,
            f"its first voxel at byte {offset:g}",
            f"{least_offset} or more",
        ),
        (is_placed, "a position that is infinite, NaN or very far away", f"numbers below {limit}"),
    ):
        if not is_right:
            raise InputError(
                f"The header of {path} gives {found}; expected {expected}. Convert the image "
                "again, or repair its header."
            )
