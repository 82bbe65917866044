"""The voxels of a case.

In: a `Case`. Out: its modalities and its reference, in LPS axes and on one grid.
"""

from dataclasses import dataclass, field

import numpy as np

from brats.editions import label_warnings, labels_to_classes
from brats.errors import InputError
from brats.volumes.files import read_image, read_volume
from brats.volumes.geometry import Geometry, grid_difference, orient
from brats.volumes.resampling import resampling_warnings

SEGMENTATION = "seg"


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


def read_case(case):
    """Reads the modalities of a `Case`, and its reference if it has one, into a `RawCase`.

    Raises:
        InputError: If a file cannot be read, the files differ in size or geometry, an image is 0
            everywhere or holds a value that is not finite, or the reference holds an unknown
            label. The message has a line for each of these errors, with the name of the file.
    """
    read, errors = _read_files(case)
    errors += _grid_errors(case, list(read.values()))
    warnings = [*case.warnings, *_header_warnings(read.values())]
    reference, classes = read.pop(SEGMENTATION, None), None
    errors += [
        f"{path} is 0 everywhere. Replace the image, or remove the case."
        for path, volume, _ in read.values()
        # The middle slice answers this for most volumes.
        if not (volume[len(volume) // 2].any() or volume.any())
    ]
    if reference:
        warnings += label_warnings(reference[1], case.edition)
        try:
            classes = labels_to_classes(reference[1], case.edition)
        except InputError as error:
            errors.append(f"{case.segmentation}: {error}")
    if errors:
        raise InputError("\n".join(errors))
    _, volumes, geometries = zip(*read.values(), strict=True)
    warnings += resampling_warnings(geometries[0].spacing_mm[::-1])
    return RawCase(list(volumes), classes, geometries[0], warnings)


def _read_files(case):
    """Returns `(path, volume, geometry)` of each modality and the reference, and the errors."""
    paths = case.images | ({SEGMENTATION: case.segmentation} if case.segmentation else {})
    groups = [[name] for name in paths]
    if case.edition.components:  # One file holds all modalities.
        groups = [list(case.images), *groups[len(case.images) :]]
    read, errors = {}, []
    for names in groups:
        try:
            for name, found in _read_file(case, names, paths[names[0]]).items():
                read[name] = (paths[name], *found)
        except InputError as error:
            errors.append(str(error))
    return read, errors


def _read_file(case, names, path):
    """Returns `(volume, geometry)` of each of the names that a file holds, as of `read_volume`."""
    if len(names) == 1:
        return {names[0]: read_volume(path)}
    components = case.edition.components
    volumes, geometry = read_image(path)  # (M, Z, Y, X)
    if volumes.ndim != 4 or len(volumes) != len(components):
        raise InputError(
            f"{path} has size {volumes.shape[::-1]}; in a folder {path.parent.name}, expected four "
            f"dimensions, the last of {len(components)}: {', '.join(components)}. Put a case with "
            "one file per modality into a folder of its own, named as in docs/data.md."
        )
    return {name: orient(volumes[components[name]], geometry) for name in names}


def _grid_errors(case, read):
    """Returns a sentence for each file that does not lie on the grid of the first."""
    grids = [(volume.shape, geometry) for _, volume, geometry in read]
    return [
        f"The files of case {case.id} do not lie on one grid: {path.name} has {difference[0]}, "
        f"{read[0][0].name} has {difference[1]}. Resample them to one grid."
        for (path, _, _), grid in zip(read, grids, strict=True)
        if (difference := grid_difference(grid, grids[0]))
    ]


def _header_warnings(read):
    """Returns the warnings about headers, each with the name of the first file that it is about."""
    names = {}
    for path, _, geometry in read:
        for warning in geometry.as_stored.warnings:
            names.setdefault(warning, {})[path.name] = None
    return [
        f"{next(iter(each))}{' and others' if len(each) > 1 else ''}: {warning}."
        for warning, each in names.items()
    ]
