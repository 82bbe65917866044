"""Where a NIfTI header places its volume, by two transforms that may differ: qform and sform.

In: the header of a file. Out: a `Geometry`, with a warning if the header contradicts itself. A
prediction gets the same fields, so that other programs show it at the place of its input.

Reference: nifti1.h, "3D image (volume) orientation and location in space".
"""

import itertools

import nibabel
import numpy as np

from brats.errors import InputError
from brats.volumes.geometry import Geometry

# The fields of each transform, by the field of its code.
QUATERNION = ("quatern_b", "quatern_c", "quatern_d")
TRANSFORMS = {
    "qform_code": (*QUATERNION, "qoffset_x", "qoffset_y", "qoffset_z"),
    "sform_code": ("srow_x", "srow_y", "srow_z"),
}
FIELDS = ("pixdim", "xyzt_units", *TRANSFORMS, *itertools.chain(*TRANSFORMS.values()))
UNITS_MM = {1: 1000, 3: 0.001}  # Meters and micrometers; other units are taken for mm.
UNITS_OF_SPACE = 7  # The bits of the unit. The others hold the unit of time.
SCANNER = 1  # Code of a transform to the coordinates of the scanner.
TO_LPS = np.diag([-1, -1, 1])  # NIfTI's x runs to the right, its y to the front.
MAX_APART_MM = 0.1
MAX_MM = 1e6  # A scanner is smaller than a kilometer.
MAX_LEANING = 5e-4  # Of axes of length 1 at right angles.


def find_geometry(header, size):
    """Returns the `Geometry` of a volume of a size, in the axes of its file.

    The choice between qform and sform is that of ITK: the sform if its code is 1 or there is no
    qform. The voxel size is `pixdim` in any case. The header is one of nibabel, with positive voxel
    sizes. The message of an `InputError` has no path.
    """
    unit_mm = UNITS_MM.get(int(header["xyzt_units"]) & UNITS_OF_SPACE, 1)
    spacing_mm = unit_mm * header["pixdim"][1:4].astype(float)
    forms = {name: unit_mm * TO_LPS @ affine[:3] for name, affine in _read_affines(header).items()}
    used, warnings, placed = _choose(forms, header["sform_code"]), [], np.eye(3, 4)
    if used:
        placed = np.column_stack([_straighten(forms[used])[0], forms[used][:, 3]])
    else:
        warnings = ["the header has neither qform nor sform; its axes are taken to be LPS"]
    scaled = placed * [*spacing_mm, 1]
    corners = np.array(list(itertools.product(*((0, length - 1) for length in size), [1])))
    for name, form in forms.items():
        apart_mm = np.linalg.norm(corners @ (form - scaled).T, axis=1).max()
        if apart_mm > MAX_APART_MM:
            other = used if used != name else "voxel size (pixdim)"
            warnings.append(
                f"{name} and {other} of the header place voxels up to {apart_mm:.1f} mm apart; "
                f"the {other} is used, as ITK does. If it is wrong, repair the header"
            )
    return Geometry(
        tuple(spacing_mm.tolist()),
        tuple(placed[:, 3].tolist()),
        tuple(placed[:, :3].ravel().tolist()),
        header=header,
        warnings=tuple(warnings),
    )


def place(header, geometry):
    """Sets the position fields of a header of nibabel to those of a `Geometry`."""
    if geometry.header is not None:
        for name in FIELDS:
            header[name] = geometry.header[name]
        return
    axes = TO_LPS @ np.reshape(geometry.direction, (3, 3)) * geometry.spacing_mm
    affine = nibabel.affines.from_matvec(axes, TO_LPS @ geometry.origin_mm)
    header.set_qform(affine, SCANNER)
    header.set_sform(affine, SCANNER)
    header.set_xyzt_units("mm")


def _read_affines(header):
    """Returns the transforms of a header that are not 0, 4x4 in RAS axes, by name."""
    names = [name for code, names in TRANSFORMS.items() if header[code] for name in names]
    numbers = np.hstack([header["pixdim"][1:4], *(header[name] for name in names)])
    if not (abs(numbers) < MAX_MM).all():
        raise InputError(
            f"its header gives a voxel size or a position that is NaN or not below {MAX_MM:g} mm. "
            "Convert the image again, or repair its header."
        )
    header = header.copy()
    length = np.linalg.norm([header[name] for name in QUATERNION])
    for name in QUATERNION:
        header[name] /= max(length, 1)  # As in ITK. nibabel raises an error if it is above 1.
    affines = {"qform": header.get_qform(coded=True)[0], "sform": header.get_sform(coded=True)[0]}
    return {
        name: affine
        for name, affine in affines.items()
        if affine is not None and affine[:3, :3].any(axis=0).all()
    }


def _choose(forms, sform_code):
    """Returns the name of the transform to use, or None if there is none."""
    if "sform" not in forms:
        return next(iter(forms), None)
    is_straight = _straighten(forms["sform"])[1] < MAX_LEANING
    if not is_straight and "qform" not in forms:
        raise InputError(
            "the axes of its sform are not at right angles (sheared). Resample the case to axes "
            "at right angles, or give its header a qform."
        )
    prefers_sform = sform_code == SCANNER or "qform" not in forms
    return "sform" if is_straight and prefers_sform else "qform"


def _straighten(form):
    """Returns the nearest axes at right angles, of length 1, and how far a form is from them."""
    axes = form[:, :3] / np.linalg.norm(form[:, :3], axis=0)
    left, _, right = np.linalg.svd(axes)
    return left @ right, abs(left @ right - axes).max()
