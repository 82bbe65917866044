"""A look at cases before the work: what they are, what is wrong with them, and what is odd.

In: cases. Out: one `Inspection` per case with its errors, which stop the work, and its warnings,
which a person has to judge. `docs/data.md` lists what is looked for.
"""

import functools
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK

from brats.cases.voxels import SAMPLE, case_warnings
from brats.editions import CLASSES, count_classes, label_warnings, labels_to_classes
from brats.errors import InputError
from brats.volumes.files import empty_error, read_header_grid, read_modalities, read_volume
from brats.volumes.grids import grid_error
from brats.volumes.nifti import check_stored_voxels, read_header

SEGMENTATION = "seg"


@dataclass(frozen=True)
class Inspection:
    """What was found in one case.

    Attributes:
        case_id: Id of the case.
        errors: Sentences on what no script can work with.
        warnings: Sentences on what a person has to judge.
        contents: Dict from modality to bytes that are equal where the images are; by headers,
            where the files are.
        facts: Dict from column of the table to text; empty after a look at headers.
    """

    case_id: str
    errors: list
    warnings: list
    contents: dict
    facts: dict = field(default_factory=dict)


def inspect_headers(cases):
    """Looks at cases without reading their voxels.

    Args:
        cases: Iterable of `Case`.

    Returns:
        List of `Inspection`: whether the files are whole and on one grid, and their contents to
        compare. What takes voxels to know is missing.
    """
    known = {}  # Grids by header: ITK takes 1 ms for each, and most files of a cohort share one.
    inspections = []
    for case in cases:
        grids, errors = _read_each(case, lambda path, names: [_read_grid(path, known)] * len(names))
        errors += _grid_errors(case, grids)
        whole = {name: path for name, path in case.images.items() if name in grids}
        # Modalities that share a file cannot be compared without reading it.
        whole = {} if case.edition.components else whole
        contents = {name: _stored_content(path) for name, path in whole.items()}
        inspections.append(Inspection(case.id, errors, [], contents))
    return inspections


def inspect_case(case):
    """Looks at every voxel of a case.

    Args:
        case: A `Case`, with or without ground truth.

    Returns:
        An `Inspection`.
    """
    found, errors = _read_each(case, functools.partial(_read_voxels, case))
    grids = {name: (volume.shape, geometry) for name, (volume, geometry) in found.items()}
    volumes = {name: volume for name, (volume, _) in found.items()}
    labels = volumes.pop(SEGMENTATION, None)
    masks = {name: volume != 0 for name, volume in volumes.items()}
    values = {name: volume[masks[name]] for name, volume in volumes.items()}
    classes, label_errors = _classes(case, labels)
    empty = [name for name in values if not values[name].size]
    grid_errors = _grid_errors(case, grids)
    errors += grid_errors + label_errors
    errors += [empty_error(case.images[name]) for name in empty]
    num_files = len(set(_paths(case).values()))
    facts = _header_facts(grids, volumes, num_files, same_grid=not grid_errors)
    warnings = [] if case.segmentation else ["No segmentation: good for prediction only."]
    warnings += [] if labels is None else label_warnings(labels, case.edition)
    values = {name: found for name, found in values.items() if found.size}
    if values and not grid_errors:
        brain = functools.reduce(np.logical_or, masks.values())
        geometry = next(iter(grids.values()))[1]
        warnings += case_warnings(brain, values, classes, geometry.voxel_ml)
        facts |= _voxel_facts(brain, values, classes)
    contents = {name: _content(found) for name, found in values.items()}
    return Inspection(case.id, errors, warnings, contents, facts)


def _read_each(case, read):
    """Reads each file of a case.

    Args:
        case: A `Case`.
        read: Function from a path and the names of what is in the file, modalities or
            `SEGMENTATION`, to what it gives for each.

    Returns:
        `(found, errors)`: a dict by name, and the errors of the files that it cannot read.
    """
    names = defaultdict(list)
    for name, path in _paths(case).items():
        names[path].append(name)
    found, errors = {}, []
    for path, inside in names.items():
        try:
            found |= dict(zip(inside, read(path, inside), strict=True))
        except (InputError, OSError) as error:
            errors.append(str(error))
    return found, errors


def _read_voxels(case, path, names):
    """Returns volume and `Geometry` of a segmentation, or of each modality in a file."""
    return [read_volume(path)] if names == [SEGMENTATION] else read_modalities(case, names)


def _paths(case):
    return case.images | ({SEGMENTATION: case.segmentation} if case.segmentation else {})


def _read_grid(path, known):
    """Returns shape `(Z, Y, X)` and `Geometry` of a file that is whole, by its header.

    Args:
        path: Path of a NIfTI file.
        known: Dict of what was returned before, by what headers say of type and grid; added to.
    """
    check_stored_voxels(path)
    header = read_header(path)
    key = header[:4] + header[40:108] + header[120:124] + header[252:]  # Type, grid and units.
    if key not in known:
        known[key] = read_header_grid(path)
    return known[key]


def _grid_errors(case, grids):
    """Returns an error for each grid, `(shape, geometry)`, that is not the first."""
    paths = _paths(case)
    first = next(iter(grids), None)
    errors = [
        grid_error(case.id, paths[name].name, grid, paths[first].name, grids[first])
        for name, grid in grids.items()
        if grid is not grids[first]  # Most files of a cohort share one.
    ]
    return [error for error in errors if error]


def _by(values):
    return " x ".join(f"{value:g}" for value in values)


def _classes(case, labels):
    """Returns `(classes, errors)` of a segmentation, or None for classes where there are none."""
    if labels is None:
        return None, []
    try:
        return labels_to_classes(labels, case.edition), []
    except InputError as error:
        return None, [f"{case.segmentation}: {error}"]


def _header_facts(grids, volumes, num_files, same_grid):
    """Returns the columns of the table that headers know, of the first file."""
    if not volumes:
        return {}
    shape, geometry = next(iter(grids.values()))
    orientation = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines
    return {
        "files": str(num_files),
        "size": _by(shape[::-1]),
        "spacing mm": _by(geometry.spacing_mm),
        "orientation": orientation(geometry.as_stored.direction),
        "grid": "same" if same_grid else "differs",
        "type": ", ".join(sorted({str(volume.dtype) for volume in volumes.values()})),
    }


def _voxel_facts(brain, values, classes):
    """Returns the columns of the table that take voxels to know; shares are of all voxels."""
    lowest = min(found.min() for found in values.values())
    highest = max(found.max() for found in values.values())
    facts = {"intensities": f"{lowest:g} to {highest:g}", "brain %": f"{100 * brain.mean():.2f}"}
    if classes is not None:
        shares = 100 * count_classes(classes) / classes.size
        facts |= {
            f"{name} %": f"{share:.2f}" for name, share in zip(CLASSES[1:], shares[1:], strict=True)
        }
    return facts


def _content(values):
    """Returns bytes that are equal for equal values, whatever their type.

    Of many values, a sample: no two images agree in that by chance.
    """
    sample = np.ascontiguousarray(values[:: max(values.size // SAMPLE, 1)], dtype=np.float32)
    return hashlib.blake2b(sample, digest_size=16).digest()


def _stored_content(path):
    """Returns bytes that are equal for equal files, and hardly for others, without reading all."""
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)  # Where there is brain.
        return hashlib.blake2b(file.read(2**16), digest_size=16, key=str(size).encode()).digest()
