"""The voxels of a case.

In: a `Case`. Out: its modalities and its reference, in LPS axes and on one grid.
"""

from dataclasses import dataclass, field

import numpy as np

from brats.editions import MODALITIES, label_warnings, labels_to_classes
from brats.errors import InputError
from brats.volumes.files import read_image, read_volume
from brats.volumes.geometry import Geometry, grid_difference, orient


@dataclass(frozen=True)
class RawCase:
    """The voxels of one case.

    Attributes:
        volumes: One array `(Z, Y, X)` per modality, in the order of `MODALITIES`, in the
            type of its file.
        classes: Reference, uint8 class indices `(Z, Y, X)`, or None.
        geometry: `Geometry` of the first file. The other files have the same grid.
        warnings: Sentences about labels and headers that look wrong.
    """

    volumes: list
    classes: np.ndarray | None
    geometry: Geometry
    warnings: list = field(default_factory=list)


def read_modalities(case, modalities=MODALITIES):
    """Reads modalities of a case, from one file each or from the file that holds all of them.

    Args:
        case: A `Case`.
        modalities: Names of modalities.

    Returns:
        List of `(volume, geometry)`, in the order of `modalities`: an array `(Z, Y, X)` in the
        type of the file, and a `Geometry`.

    Raises:
        InputError: If a file cannot be read, is truncated, has other dimensions than its edition
            says, or holds values that are not finite. The message names the file.
    """
    components = case.edition.components
    if not components:
        return [read_volume(case.images[modality]) for modality in modalities]
    path = case.images[modalities[0]]
    volumes, geometry = read_image(path)  # (M, Z, Y, X)
    if volumes.ndim != 4 or len(volumes) != len(components):
        raise InputError(
            f"{path} has size {volumes.shape[::-1]}; in a folder {path.parent.name}, expected four "
            f"dimensions, the last of {len(components)}: {', '.join(components)}. Put a case with "
            "one file per modality into a folder of its own, named as in docs/data.md."
        )
    return [orient(volumes[components[modality]], geometry) for modality in modalities]


def read_case(case):
    """Reads the modalities of a case, and its reference if it has one.

    Args:
        case: A `Case`.

    Returns:
        A `RawCase`.

    Raises:
        InputError: If a file cannot be read, the files differ in size or geometry, an image is 0
            everywhere or holds a value that is not finite, or the reference holds an unknown
            label. The message names the case and the file.
    """
    paths, read = list(case.images.values()), read_modalities(case)
    if case.segmentation:
        paths, read = [*paths, case.segmentation], [*read, read_volume(case.segmentation)]
    volumes, geometries = zip(*read, strict=True)
    grids = [(volume.shape, geometry) for volume, geometry in read]
    for path, grid in zip(paths, grids, strict=True):
        if error := grid_error(case, path, grid, paths[0], grids[0]):
            raise InputError(error)
    for path, volume in zip(case.images.values(), volumes, strict=False):
        if _is_empty(volume):
            raise InputError(empty_error(path))
    classes, warnings = None, _header_warnings(paths, geometries)
    if case.segmentation:
        try:
            classes = labels_to_classes(volumes[-1], case.edition)
        except InputError as error:
            raise InputError(f"Case {case.id}, {case.segmentation}: {error}") from error
        warnings += label_warnings(volumes[-1], case.edition)
    return RawCase(list(volumes[: len(MODALITIES)]), classes, geometries[0], warnings)


def grid_error(case, path, grid, first_path, first):
    """Returns a sentence if a file's grid, `(shape, geometry)`, is not the first's, or None."""
    if not (difference := grid_difference(grid, first)):
        return None
    return (
        f"The files of case {case.id} do not lie on one grid: {path.name} has {difference[0]}, "
        f"{first_path.name} has {difference[1]}. Resample them to one grid."
    )


def empty_error(path):
    """Returns the sentence for an image that shows no brain."""
    return f"{path} is 0 everywhere. Replace the image, or remove the case."


def _is_empty(volume):
    """Returns whether a volume is 0 everywhere. The middle slice answers this for most volumes."""
    return not (volume[len(volume) // 2].any() or volume.any())


def _header_warnings(paths, geometries):
    """Returns the warnings about headers, each with the name of the first file that it is about."""
    names = {}
    for path, geometry in zip(paths, geometries, strict=True):
        for warning in geometry.as_stored.warnings:
            names.setdefault(warning, {})[path.name] = None
    return [
        f"{next(iter(each))}{' and others' if len(each) > 1 else ''}: {warning}."
        for warning, each in names.items()
    ]
