"""The check of a case: what extraction and prediction do before they use it, and `--check`.

In: a `Case`. Out: its voxels with the background repaired, and what is wrong with them: errors,
which stop the case, and warnings, which a person has to judge. `docs/data.md` lists what is
checked.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace

import numpy as np

from brats.cases.repair import repair_backgrounds
from brats.cases.voxels import SAMPLE, find_faults
from brats.editions import CLASSES, MODALITIES, count_classes
from brats.errors import InputError, shortened
from brats.volumes.case import read_case
from brats.volumes.geometry import orientation


@dataclass(frozen=True)
class CaseCheck:
    """The result of checking one case."""

    case_id: str
    errors: list  # Sentences about what no script can work with.
    warnings: list = field(default_factory=list)  # Sentences about what a person has to judge.
    contents: dict = field(default_factory=dict)  # Modality to bytes, equal for equal images.
    facts: dict = field(default_factory=dict)  # Column of the table to text.


def read_checked_case(case, force=False):
    """Reads a case, repairs the background of its images, and checks them.

    Args:
        case: A `Case`.
        force: Whether to use a case that no network can segment.

    Returns:
        A `RawCase`, whose warnings hold all that is odd about the case.

    Raises:
        InputError: If the case cannot be read or, unless `force`, no network can segment it. The
            message names the case and says how to prepare it.
    """
    raw, faults = _check(read_case(case))
    if faults.errors and not force:
        raise InputError(
            f"Case {case.id} in {case.folder} cannot be used. {' '.join(faults.errors)} Or use "
            "them as they are, with --force."
        )
    return replace(raw, warnings=raw.warnings + faults.errors + faults.warnings + faults.reference)


def read_case_to_score(case):
    """Reads a case whose segmentation is to be scored: only its reference has to be right."""
    raw = read_case(case)
    return replace(raw, warnings=raw.warnings + _check(raw)[1].reference)


def check_case(case):
    """Checks every voxel of a case; returns a `CaseCheck`."""
    try:
        raw = read_case(case)
    except InputError as error:
        return CaseCheck(case.id, str(error).splitlines())
    checked, faults = _check(raw, every_voxel=True)
    warnings = [] if case.segmentation else ["No segmentation: usable for prediction only."]
    warnings += checked.warnings + faults.warnings + faults.reference
    values = [volume[volume != 0] for volume in raw.volumes]
    contents = dict(zip(MODALITIES, map(_digest, values), strict=True))
    facts = _facts(case, raw, values, checked.volumes)
    return CaseCheck(case.id, faults.errors, warnings, contents, facts)


def compare_cases(checks):
    """Returns the checks with warnings about images that two cases share."""
    holders = defaultdict(list)  # Ids of cases, by content.
    for check in checks:
        for content in check.contents.values():
            holders[content].append(check.case_id)
    compared = []
    for check in checks:
        shared = defaultdict(list)
        for modality, content in check.contents.items():
            if other := next((each for each in holders[content] if each != check.case_id), None):
                shared[other].append(modality)
        warnings = [
            f"{', '.join(names)}: the same images as {other} has: one patient with two ids?"
            for other, names in shared.items()
        ]
        compared.append(replace(check, warnings=check.warnings + warnings))
    return compared


def check_no_errors(checks):
    """Raises an `InputError` if a `CaseCheck` has errors."""
    if wrong := [check.case_id for check in checks if check.errors]:
        raise InputError(
            f"The check found errors in {len(wrong)} of {len(checks)} cases, see above: "
            f"{shortened(', '.join(wrong))}. Repair these cases or remove them."
        )


def table(checks):
    """Returns the checks as text: an aligned line per case, its errors and warnings, and totals."""
    columns = list(dict.fromkeys(name for check in checks for name in check.facts))
    rows = [["case", *columns]]
    rows += [[c.case_id, *(c.facts.get(name, "-") for name in columns)] for c in checks]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    header, *lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    text = [header]
    for line, check in zip(lines, checks, strict=True):
        text += [line, *(f"  error: {error}" for error in check.errors)]
        text += [f"  warning: {warning}" for warning in check.warnings]
    num_errors = sum(bool(check.errors) for check in checks)
    num_warnings = sum(bool(check.warnings) for check in checks)
    number = "1 case" if len(checks) == 1 else f"{len(checks)} cases"
    text.append(f"{number}, {num_errors} with errors, {num_warnings} with warnings")
    return "\n".join(text)


def _check(raw, every_voxel=False):
    """Returns a `RawCase` with its background repaired, and its `Faults`."""
    images, repairs = repair_backgrounds(dict(zip(MODALITIES, raw.volumes, strict=True)))
    faults = find_faults(images, raw.classes, raw.geometry.voxel_ml, every_voxel)
    return replace(raw, volumes=list(images.values()), warnings=raw.warnings + repairs), faults


def _facts(case, raw, values, volumes):
    """Returns the columns of the table. Shares are of all voxels; `values` are those not 0."""
    lowest, highest = min(map(np.min, values)), max(map(np.max, values))
    brain = np.logical_or.reduce([volume != 0 for volume in volumes])
    facts = {
        "files": str(len({*case.images.values(), case.segmentation} - {None})),
        "size": " x ".join(map(str, brain.shape[::-1])),
        "spacing mm": " x ".join(f"{length:g}" for length in raw.geometry.spacing_mm),
        "orientation": orientation(raw.geometry.as_stored),
        "type": ", ".join(sorted({str(volume.dtype) for volume in raw.volumes})),
        "intensities": f"{lowest:g} to {highest:g}",
        "brain %": f"{100 * brain.mean():.2f}",
    }
    if raw.classes is not None:
        shares = 100 * count_classes(raw.classes)[1:] / brain.size
        facts |= {f"{n} %": f"{share:.2f}" for n, share in zip(CLASSES[1:], shares, strict=True)}
    return facts


def _digest(values):
    """Returns bytes that are equal for equal values, whatever their type; a sample is enough."""
    sample = np.ascontiguousarray(values[:: max(values.size // SAMPLE, 1)], dtype=np.float32)
    return hashlib.blake2b(sample, digest_size=16).digest()
