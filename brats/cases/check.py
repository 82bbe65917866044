"""Checks every voxel of the cases, for `extract_patches.py --check`.

In: cases. Out: a `CaseCheck` per case, with its errors, which no script can work with, and its
warnings, which a person has to judge; and a table of them. `docs/data.md` lists what is checked.
"""

import functools
import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np

from brats.cases.voxels import SAMPLE, case_warnings
from brats.editions import CLASSES, count_classes, label_warnings, labels_to_classes
from brats.errors import InputError
from brats.volumes.case import empty_error, grid_error, read_modalities
from brats.volumes.files import read_volume
from brats.volumes.geometry import orientation

SEGMENTATION = "seg"


@dataclass(frozen=True)
class CaseCheck:
    """The result of checking one case.

    Attributes:
        case_id: Id of the case.
        errors: Sentences about what no script can work with.
        warnings: Sentences about what a person has to judge.
        contents: Dict from modality to bytes that are equal if the images are.
        facts: Dict from column of the table to text.
    """

    case_id: str
    errors: list
    warnings: list
    contents: dict = field(default_factory=dict)
    facts: dict = field(default_factory=dict)


def check_case(case):
    """Checks every voxel of a case.

    Args:
        case: A `Case`, with or without a reference.

    Returns:
        A `CaseCheck`.
    """
    paths = case.images | ({SEGMENTATION: case.segmentation} if case.segmentation else {})
    read, errors = _read_files(case)
    grids = {name: (volume.shape, geometry) for name, (volume, geometry) in read.items()}
    first = next(iter(grids), None)
    grid_errors = [
        error
        for name, grid in grids.items()
        if (error := grid_error(case, paths[name], grid, paths[first], grids[first]))
    ]
    errors += grid_errors
    volumes = {name: volume for name, (volume, _) in read.items()}
    classes, warnings = None, []
    if not case.segmentation:
        warnings.append("No segmentation: usable for prediction only.")
    elif SEGMENTATION in volumes:
        labels = volumes.pop(SEGMENTATION)
        warnings += label_warnings(labels, case.edition)
        try:
            classes = labels_to_classes(labels, case.edition)
        except InputError as error:
            errors.append(f"{case.segmentation}: {error}")
    masks = {name: volume != 0 for name, volume in volumes.items()}
    values = {name: volume[masks[name]] for name, volume in volumes.items()}
    errors += [empty_error(paths[name]) for name, found in values.items() if not found.size]
    values = {name: found for name, found in values.items() if found.size}
    facts = {"files": str(len(set(paths.values())))}
    if volumes:
        facts |= _file_facts(volumes, *grids[first], is_same_grid=not grid_errors)
    if values and not grid_errors:
        brain = functools.reduce(np.logical_or, masks.values())
        warnings += case_warnings(brain, values, classes, grids[first][1].voxel_ml)
        facts |= _voxel_facts(brain, values, classes)
    contents = {name: _digest(found) for name, found in values.items()}
    return CaseCheck(case.id, errors, warnings, contents, facts)


def compare_cases(checks):
    """Returns the checks with warnings about images that are the same, in a case or in two."""
    holders = defaultdict(list)  # Pairs of case id and modality, by content.
    for check in checks:
        for modality, content in check.contents.items():
            holders[content].append((check.case_id, modality))
    compared = []
    for check in checks:
        within, between = {}, defaultdict(list)
        for modality, content in check.contents.items():
            same = [name for case_id, name in holders[content] if case_id == check.case_id]
            if len(same) > 1:
                within[content] = f"{' and '.join(same)} are the same image."
            others = (case_id for case_id, _ in holders[content] if case_id != check.case_id)
            if other := next(others, None):
                between[other].append(modality)
        warnings = check.warnings + list(within.values())
        for other, names in between.items():
            warnings.append(f"{', '.join(names)}: the same as of {other}: one patient, two ids.")
        compared.append(replace(check, warnings=warnings))
    return compared


def check_no_errors(checks):
    """Raises an `InputError` with the errors of all cases if a `CaseCheck` has errors."""
    wrong = [check for check in checks if check.errors]
    if wrong:
        lines = "".join(
            f"\n  {check.case_id}: {error}" for check in wrong for error in check.errors
        )
        raise InputError(
            f"{len(wrong)} of {len(checks)} cases have errors. Repair or remove them:{lines}"
        )


def table(checks):
    """Returns the checks as text: an aligned line per case, its errors and warnings, and totals."""
    columns = list(dict.fromkeys(name for check in checks for name in check.facts))
    rows = [["case", *columns]]
    rows += [[c.case_id, *(c.facts.get(name, "-") for name in columns)] for c in checks]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    text = lines[:1]
    for line, check in zip(lines[1:], checks, strict=True):
        text += [line, *(f"  error: {error}" for error in check.errors)]
        text += [f"  warning: {warning}" for warning in check.warnings]
    num_errors = sum(bool(check.errors) for check in checks)
    num_warnings = sum(bool(check.warnings) for check in checks)
    text.append(f"{len(checks)} cases, {num_errors} with errors, {num_warnings} with warnings")
    return "\n".join(text)


def _read_files(case):
    """Returns `(volume, geometry)` of each modality and the reference by name, and the errors."""
    groups = [list(case.images)] if case.edition.components else [[name] for name in case.images]
    readers = [(names, functools.partial(read_modalities, case, names)) for names in groups]
    if case.segmentation:
        readers.append(([SEGMENTATION], lambda: [read_volume(case.segmentation)]))
    read, errors = {}, []
    for names, reader in readers:
        try:
            read |= dict(zip(names, reader(), strict=True))
        except (InputError, OSError) as error:
            errors.append(str(error))
    return read, errors


def _file_facts(volumes, shape, geometry, is_same_grid):
    """Returns the columns of the table about the files, by the grid of the first one."""
    return {
        "size": " x ".join(map(str, shape[::-1])),
        "spacing mm": " x ".join(f"{length:g}" for length in geometry.spacing_mm),
        "orientation": orientation(geometry.as_stored),
        "grid": "same" if is_same_grid else "differs",
        "type": ", ".join(sorted({str(volume.dtype) for volume in volumes.values()})),
    }


def _voxel_facts(brain, values, classes):
    """Returns the columns of the table about the voxels. Shares are of all voxels."""
    lowest = min(found.min() for found in values.values())
    highest = max(found.max() for found in values.values())
    facts = {"intensities": f"{lowest:g} to {highest:g}", "brain %": f"{100 * brain.mean():.2f}"}
    if classes is not None:
        shares = 100 * count_classes(classes)[1:] / classes.size
        facts |= {f"{n} %": f"{share:.2f}" for n, share in zip(CLASSES[1:], shares, strict=True)}
    return facts


def _digest(values):
    """Returns bytes that are equal for equal values, whatever their type; a sample is enough."""
    sample = np.ascontiguousarray(values[:: max(values.size // SAMPLE, 1)], dtype=np.float32)
    return hashlib.blake2b(sample, digest_size=16).digest()
