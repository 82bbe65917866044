"""The axial slices of a volume, turned as radiologists look at them, however it is stored.

In: arrays `(Z, Y, X)` in the axes of their file, and their `Geometry`. Out: views of them whose
rows run from anterior to posterior and whose columns run from the patient's right to the left.

Axial slices are those across the axis of the file that is nearest to the patient's long axis,
counted from 0 as the file stores them: the third axis in BraTS, from the feet up.
"""

import itertools

import numpy as np

from brats.errors import InputError


def axial_slices(volume, geometry):
    """Turns a volume so that its axial slices can be drawn: no voxel is copied or interpolated.

    Args:
        volume: Array `(Z, Y, X)` in the axes of its file, any dtype.
        geometry: Its `Geometry`.

    Returns:
        A view `(slices, rows, columns)`: the file's axial slices in the file's order, rows from
        anterior to posterior, columns from the patient's right to the left.
    """
    left, posterior, _ = range(3)
    axes, signs = _patient_axes(geometry)
    view = volume.transpose([2 - axis for axis in reversed(axes)])  # Arrays run (z, y, x).
    return view[:, :: signs[posterior], :: signs[left]]


def axial_pixel_mm(geometry):
    """Returns height and width in mm of a pixel in the slices of `axial_slices`."""
    (left, posterior, _), _ = _patient_axes(geometry)
    return geometry.spacing_mm[posterior], geometry.spacing_mm[left]


def check_axial_slices(case_id, volume, geometry, indices):
    """Checks that a volume `(Z, Y, X)` has some axial slices, a sequence of ints.

    Raises:
        InputError: If it lacks one; names the case, the slice and those that it has.
    """
    num_slices = len(axial_slices(volume, geometry))
    missing = [index for index in indices if index >= num_slices]
    if missing:
        raise InputError(
            f"Case {case_id} has axial slices 0 to {num_slices - 1}, and no slice {missing[0]}. "
            "Give other --slices, or name the cases that have it with --cases."
        )


def _patient_axes(geometry):
    """Finds the axis (x, y or z) of the file along each axis of the patient.

    Returns:
        `(axes, signs)`, three each, for the patient's left, posterior and superior: the axis, 0
        to 2, and whether the file runs that way, 1, or the other, -1.
    """
    direction = np.reshape(geometry.direction, (3, 3))  # Rows: patient. Columns: file.
    patient = range(3)
    axes = max(
        itertools.permutations(range(3)), key=lambda axes: np.abs(direction[patient, axes]).sum()
    )
    return axes, [1 if value >= 0 else -1 for value in direction[patient, axes]]
