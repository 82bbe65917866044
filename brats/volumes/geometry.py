"""Where volumes lie in the scanner, and their axes: as files store them, and as BraTS does.

In: SimpleITK images, and arrays in the axes of their file. Out: `Geometry`, and arrays `(Z, Y, X)`
in the axes of BraTS: x runs to the patient's left, y to the back, z to the head (LPS in the letters
of DICOM). Between reading and writing every volume has those, so that its slices across z are
axial, whatever tool stored it.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies in the scanner: SimpleITK's values, in the order (x, y, z).

    Attributes:
        spacing_mm: Voxel size.
        origin_mm: Position of the first voxel.
        direction: Row-major 3x3 matrix of the axes, nine values.
        stored: The `Geometry` of the file, where its axes are others than those of BraTS.
    """

    spacing_mm: tuple
    origin_mm: tuple
    direction: tuple
    stored: "Geometry | None" = None

    @property
    def as_stored(self):
        """The `Geometry` in the axes of the file."""
        return self.stored or self

    @property
    def voxel_ml(self):
        """Volume of a voxel."""
        return math.prod(self.spacing_mm) / 1000

    def is_close_to(self, other):
        """Returns whether two geometries agree to 0.001 mm and 0.0001 in direction.

        Volumes of which files store the axes in other orders are compared in those of BraTS, and
        their origins to a tenth of a voxel: they follow from spacing and size.
        """
        here, there, origin_mm = self.as_stored, other.as_stored, 1e-3
        if not np.allclose(here.direction, there.direction, rtol=0, atol=1e-4):
            here, there, origin_mm = self, other, min(self.spacing_mm) / 10
        return (
            np.allclose(here.spacing_mm, there.spacing_mm, rtol=0, atol=1e-3)
            and np.allclose(here.origin_mm, there.origin_mm, rtol=0, atol=origin_mm)
            and np.allclose(here.direction, there.direction, rtol=0, atol=1e-4)
        )


def read_grid(image):
    """Returns the grid of an image, or of its header, in the axes of BraTS.

    Args:
        image: SimpleITK image or reader, of three dimensions, or of four, whose first three count.

    Returns:
        `(shape, geometry)`: the shape `(Z, Y, X)`, and a `Geometry`.
    """
    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:3, :3]
    stored = Geometry(
        image.GetSpacing()[:3], image.GetOrigin()[:3], tuple(direction.ravel().tolist())
    )
    return turn_grid(image.GetSize()[:3], stored)


def turn_grid(size, stored):
    """Turns a grid from the axes of its file to those of BraTS.

    Args:
        size: Voxels along the x, y and z axis of the file.
        stored: The `Geometry` in the axes of the file.

    Returns:
        `(shape, geometry)`: the shape `(Z, Y, X)`, and a `Geometry`.
    """
    axes, signs = _patient_axes(stored)
    shape = tuple(size[axis] for axis in reversed(axes))
    if axes == (0, 1, 2) and min(signs) > 0:
        return shape, stored
    spacing_mm = tuple(stored.spacing_mm[axis] for axis in axes)
    columns = np.reshape(stored.direction, (3, 3))[:, axes]
    # A file that runs the other way begins where the volume ends.
    lengths_mm = [
        length * (size[axis] - 1) if sign < 0 else 0.0
        for length, axis, sign in zip(spacing_mm, axes, signs, strict=True)
    ]
    origin_mm = tuple((np.array(stored.origin_mm) + columns @ lengths_mm).tolist())
    return shape, Geometry(spacing_mm, origin_mm, tuple((columns * signs).ravel().tolist()), stored)


def turn(volume, geometry):
    """Turns a volume from the axes of its file to those of BraTS; no voxel is interpolated.

    Args:
        volume: Array in the axes of its file, of any dtype: its z axis first, its x axis last.
        geometry: Its `Geometry`.

    Returns:
        Array `(Z, Y, X)`; the same one if its axes are those of BraTS.
    """
    if geometry.stored is None:
        return volume
    axes, signs = _patient_axes(geometry.stored)
    # The order of BraTS, not the file's, is that of memory, too, where slices are worked on.
    return np.ascontiguousarray(volume.transpose(_array_axes(axes))[_steps(signs)])


def turn_back(volume, geometry):
    """Turns a volume from the axes of BraTS to those of its file, the inverse of `turn`."""
    if geometry.stored is None:
        return volume
    axes, signs = _patient_axes(geometry.stored)
    return volume[_steps(signs)].transpose(np.argsort(_array_axes(axes)))


def _patient_axes(geometry):
    """Finds the axis (x, y or z) of the file along each axis of the patient.

    Returns:
        `(axes, signs)`, three each, for the patient's left, posterior and superior: the axis, 0
        to 2, and whether the file runs that way, 1, or the other, -1.
    """
    direction = np.reshape(geometry.direction, (3, 3))  # Rows: patient. Columns: file.
    patient = range(3)
    # In whole numbers: midway between two axes, rounding must not decide.
    nearness = np.rint(np.abs(direction) * 1e4).astype(int)
    axes = max(itertools.permutations(range(3)), key=lambda axes: nearness[patient, axes].sum())
    return axes, [1 if value >= 0 else -1 for value in direction[patient, axes]]


def _array_axes(axes):
    """Returns the axes of an array, which run (z, y, x), for axes in the order (x, y, z)."""
    return [2 - axis for axis in reversed(axes)]


def _steps(signs):
    return tuple(slice(None, None, sign) for sign in reversed(signs))
