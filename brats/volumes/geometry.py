"""Where a volume lies in the scanner, and the order of its axes.

In: SimpleITK images, and arrays in the axes of their file. Out: arrays `(Z, Y, X)` in LPS axes, as
BraTS stores them: x runs to the patient's left, y to the back, z to the head. Slices across z are
then axial, however a tool stored the file.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK

AXES = "LPS"


@dataclass(frozen=True)
class Geometry:
    """Where a volume lies in the scanner: SimpleITK's values, in the order (x, y, z).

    Attributes:
        spacing_mm: Voxel size.
        origin_mm: Position of the first voxel.
        direction: Row-major 3x3 matrix of the axes, nine values.
        stored: The `Geometry` in the axes of the file, or None if these are LPS.
        header: The header of the NIfTI file that it was read from, of nibabel, or None.
        warnings: Sentences about contradictions in the header.
    """

    spacing_mm: tuple
    origin_mm: tuple
    direction: tuple
    stored: "Geometry | None" = None
    header: object = None
    warnings: tuple = ()

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

        If the files store their axes in different orders, both are compared in LPS axes and the
        origins may differ by a tenth of a voxel, because they are computed from spacing and size.
        """
        here, there, origin_mm = self.as_stored, other.as_stored, 1e-3
        if not np.allclose(here.direction, there.direction, rtol=0, atol=1e-4):
            here, there, origin_mm = self, other, min(self.spacing_mm) / 10
        return (
            np.allclose(here.spacing_mm, there.spacing_mm, rtol=0, atol=1e-3)
            and np.allclose(here.origin_mm, there.origin_mm, rtol=0, atol=origin_mm)
            and np.allclose(here.direction, there.direction, rtol=0, atol=1e-4)
        )


def orient(voxels, stored):
    """Returns `(volume, geometry)` in LPS axes of voxels `(Z, Y, X)` in the axes of their file.

    `stored` is the `Geometry` of the file. No voxel is interpolated.
    """
    # Departure: the original expects LPS axes in every file.
    if orientation(stored) == AXES:
        return voxels, stored
    image = _place(SimpleITK.GetImageFromArray(voxels), stored)
    image = SimpleITK.DICOMOrient(image, AXES)
    return SimpleITK.GetArrayFromImage(image), replace(read_geometry(image), stored=stored)


def to_stored_axes(volume, geometry):
    """Returns an array `(Z, Y, X)` in the axes of the file that its `Geometry` comes from."""
    if not geometry.stored:
        return volume
    image = _place(SimpleITK.GetImageFromArray(volume), geometry)
    return SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, orientation(geometry.stored)))


def orientation(geometry):
    """Returns where the axes of a `Geometry` run, in the letters of DICOM, such as "LPS"."""
    return SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(geometry.direction)


def grid_difference(grid, other):
    """Returns None if two grids, `(shape, Geometry)`, are the same, otherwise a text about each.

    The texts say what differs, with numbers in the order (x, y, z).
    """
    if grid[0] == other[0] and grid[1].is_close_to(other[1]):
        return None
    here, there = _grid_facts(*grid), _grid_facts(*other)
    # If rounding hides the difference, the texts name everything.
    odd = [name for name in here if here[name] != there[name]] or list(here)
    return tuple(" and ".join(f"{name} {facts[name]}" for name in odd) for facts in (here, there))


def read_geometry(header):
    """Returns the `Geometry` of a SimpleITK image, in its own axes."""
    direction = np.reshape(header.GetDirection(), (header.GetDimension(),) * 2)[:3, :3]
    return Geometry(
        header.GetSpacing()[:3], header.GetOrigin()[:3], tuple(direction.ravel().tolist())
    )


def _place(image, geometry):
    """Sets spacing, origin and direction of a SimpleITK image, and returns it."""
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    return image


def _grid_facts(shape, geometry):
    return {
        "size": _numbers(shape[::-1]),
        "spacing": f"{_numbers(geometry.spacing_mm)} mm",
        "origin": _numbers(geometry.origin_mm),
        "direction": _numbers(geometry.direction),
    }


def _numbers(values):
    return "(" + ", ".join(f"{value + 0:g}" for value in values) + ")"
