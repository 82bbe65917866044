"""What a look at many cases found: images that are there twice, errors, warnings, a table.

In: one `Inspection` per case. Out: the same with warnings from comparing cases; an error that holds
all of theirs; text.
"""

from collections import defaultdict
from dataclasses import replace

from brats.errors import InputError


def compare_cases(inspections):
    """Adds warnings about images that are the same, within a case and between cases.

    Args:
        inspections: List of `Inspection`, all by the same function.

    Returns:
        List of `Inspection` in the same order.
    """
    holders = defaultdict(dict)  # Content to case id to modalities.
    for inspection in inspections:
        for modality, content in inspection.contents.items():
            holders[content].setdefault(inspection.case_id, []).append(modality)
    return [
        replace(inspection, warnings=inspection.warnings + _twins(inspection, holders))
        for inspection in inspections
    ]


def check_no_errors(inspections):
    """Checks that every case can be worked with.

    Raises:
        InputError: If one cannot; holds every error of every case.
    """
    errors = [(found.case_id, error) for found in inspections for error in found.errors]
    if len(errors) == 1:
        raise InputError(errors[0][1])
    if errors:
        num_cases = len({case_id for case_id, _ in errors})
        lines = "".join(f"\n  {case_id}: {error}" for case_id, error in errors)
        raise InputError(
            f"{len(errors)} errors in {num_cases} of {len(inspections)} cases. Mend or remove "
            f"them:{lines}"
        )


def warnings_by_case(inspections, steps=()):
    """Returns the warnings of those cases that have any.

    Args:
        inspections: List of `Inspection`.
        steps: What an extraction noted of the same cases: dicts with "warnings", lists of str.

    Returns:
        Dict from case id to list of str.
    """
    by_case = {found.case_id: list(found.warnings) for found in inspections}
    for warnings, step in zip(by_case.values(), steps, strict=False):
        warnings += step["warnings"]
    return {case_id: warnings for case_id, warnings in by_case.items() if warnings}


def warning_lines(inspections):
    """Returns one line per warning, as text; "none" if there is none."""
    warnings = warnings_by_case(inspections)
    lines = [f"{case_id}: {text}" for case_id, texts in warnings.items() for text in texts]
    return "\n    ".join(["", *lines]) if lines else "none"


def table(inspections):
    """Returns one aligned line per case, below each its errors and warnings, and a last line."""
    columns = list(dict.fromkeys(name for found in inspections for name in found.facts))
    rows = [["case", *columns]]
    rows += [[f.case_id, *(f.facts.get(name, "-") for name in columns)] for f in inspections]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    text = lines[:1]
    for line, found in zip(lines[1:], inspections, strict=True):
        text += [line, *(f"  error: {error}" for error in found.errors)]
        text += [f"  warning: {warning}" for warning in found.warnings]
    num_wrong, num_odd = (
        sum(bool(getattr(found, kind)) for found in inspections) for kind in ("errors", "warnings")
    )
    return "\n".join(
        [*text, f"{len(inspections)} cases, {num_wrong} with errors, {num_odd} with warnings"]
    )


def _twins(inspection, holders):
    """Returns the warnings on images of a case that are there twice; names one other case each."""
    within, between = {}, defaultdict(list)
    for modality, content in inspection.contents.items():
        same = holders[content][inspection.case_id]
        if len(same) > 1:
            within[content] = same
        others = (case_id for case_id in holders[content] if case_id != inspection.case_id)
        if other := next(others, None):
            between[other].append(modality)
    return [f"{' and '.join(names)} are the same image." for names in within.values()] + [
        f"{', '.join(names)}: the same as of {other}: one patient under two ids."
        for other, names in between.items()
    ]
