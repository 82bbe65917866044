"""Where a NIfTI header places its volume, by two transforms that may differ: qform and sform.

In: the fields of a header. Out: a `Geometry`, and a warning if the fields contradict each other.
A prediction gets the same fields, so that other programs show it at the place of its input.

Reference: nifti1.h, "3D image (volume) orientation and location in space".
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from brats.errors import InputError
from brats.volumes.geometry import Geometry

# First byte and format of each field in a header of NIfTI-1.
FIELDS = {
    **{"pixdim": (76, "4f"), "units": (123, "B"), "codes": (252, "2h")},
    **{"quaternion": (256, "6f"), "matrix": (280, "12f")},
}
MILLIMETERS = 2
UNITS_MM = {1: 1000, MILLIMETERS: 1, 3: 0.001}  # Meters and micrometers; in the lowest bits.
SCANNER = 1  # Code of a transform to the coordinates of the scanner.
TO_LPS = np.diag([-1, -1, 1])  # NIfTI's x runs to the right, its y to the front.
MAX_APART_MM = 0.1
MAX_SHEAR = 1e-3  # Larger changes of an axis are no rounding.
ROUNDING = 1e-7  # A smaller rest of the quaternion is rounding.


@dataclass(frozen=True)
class Position:
    """The fields of a header that place its volume, with positive voxel sizes."""

    pixdim: tuple  # Sign of the third axis of the qform, and the voxel size.
    units: tuple
    codes: tuple  # Of qform and sform; 0 means that there is none.
    quaternion: tuple  # The qform: rotation and offset.
    matrix: tuple  # The sform: three rows of four.

    @classmethod
    def of(cls, geometry):
        """Returns the `Position` of a `Geometry` that does not come from a NIfTI file."""
        axes = TO_LPS @ np.reshape(geometry.direction, (3, 3))
        offset = (TO_LPS @ geometry.origin_mm).tolist()
        sign = math.copysign(1, np.linalg.det(axes))
        quaternion = Rotation.from_matrix(axes * [1, 1, sign]).as_quat(canonical=True)
        matrix = np.column_stack([axes * geometry.spacing_mm, offset])
        return cls(
            pixdim=(sign, *geometry.spacing_mm),
            units=(MILLIMETERS,),
            codes=(SCANNER, SCANNER),
            quaternion=(*quaternion[:3].tolist(), *offset),
            matrix=tuple(matrix.ravel().tolist()),
        )

    def find_geometry(self, size):
        """Returns the `Geometry` of a volume, in the axes of its file.

        The choice between qform and sform is that of ITK. The voxel size is `pixdim` in any case.
        `size` is that of the first three axes. The message of an `InputError` has no path.
        """
        unit_mm = UNITS_MM.get(self.units[0] & 7, 1)
        spacing_mm = unit_mm * np.array(self.pixdim[1:])
        forms = {name: unit_mm * TO_LPS @ form for name, form in self._transforms().items()}
        used, warnings = self._choose(forms), []
        if forms:
            placed = np.column_stack([_straighten(forms[used])[0], forms[used][:, 3]])
        else:
            placed = np.eye(3, 4)
            warnings = ["the header has neither qform nor sform; its axes are taken to be LPS"]
        scaled = placed * [*spacing_mm, 1]
        corners = np.array(list(itertools.product(*((0, length - 1) for length in size), [1])))
        for name, form in forms.items():
            apart_mm = np.linalg.norm(corners @ (form - scaled).T, axis=1).max()
            if apart_mm > MAX_APART_MM:
                other = used if used != name else "voxel size (pixdim)"
                warnings.append(
                    f"{name} and {other} of the header place voxels up to {apart_mm:.2g} mm apart; "
                    f"the {other} is used"
                )
        return Geometry(
            tuple(spacing_mm.tolist()),
            tuple(placed[:, 3].tolist()),
            tuple(placed[:, :3].ravel().tolist()),
            position=self,
            warnings=tuple(warnings),
        )

    def _choose(self, forms):
        """Returns the name of the transform to use."""
        if "sform" not in forms:
            return "qform"
        is_straight = _straighten(forms["sform"])[1] < MAX_SHEAR
        if not is_straight and "qform" not in forms:
            raise InputError(
                "the axes of its sform are not at right angles (sheared). Resample the case to "
                "axes at right angles, or give its header a qform."
            )
        prefers_sform = self.codes[1] == SCANNER or "qform" not in forms
        return "sform" if is_straight and prefers_sform else "qform"

    def _transforms(self):
        """Returns qform and sform as 3x4 matrices, without those that are unknown or all 0."""
        found = {}
        if self.codes[0] > 0:
            *vector, x, y, z = self.quaternion
            rest = 1 - np.square(vector).sum()
            scalar = math.sqrt(rest) if rest > ROUNDING else 0
            axes = Rotation.from_quat([*vector, scalar]).as_matrix() * self.pixdim[1:]
            axes[:, 2] *= -1 if self.pixdim[0] < 0 else 1
            found["qform"] = np.column_stack([axes, (x, y, z)])
        matrix = np.reshape(self.matrix, (3, 4))
        if self.codes[1] > 0 and np.linalg.norm(matrix[:, :3], axis=0).all():
            found["sform"] = matrix
        return found


def _straighten(form):
    """Returns the axes of a transform at right angles, of length 1, and how much this changes."""
    axes = form[:, :3] / np.linalg.norm(form[:, :3], axis=0)
    left, _, right = np.linalg.svd(axes)
    return left @ right, np.abs(left @ right - axes).max()
