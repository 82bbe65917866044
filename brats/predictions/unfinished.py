"""Which cases a prediction still has to segment, and which only to score.

In: cases, and the folder of predictions. Out: what is missing in it. The record of a case alone
decides whether the case is done.
"""

from dataclasses import dataclass, field
from pathlib import Path

from brats.errors import InputError
from brats.inputs import find_changes, input_name
from brats.predictions.record import read_record, segmentation_path
from brats.predictions.write import FIGURES, probability_paths


@dataclass(frozen=True)
class Unfinished:
    """What is left to do."""

    missing: list = field(default_factory=list)  # `Case`s to segment.
    unscored: list = field(default_factory=list)  # Segmented `Case`s to score and draw.
    changed: list = field(default_factory=list)  # Sentences about cases whose input changed.


def find_unfinished(output, cases, making, probabilities=False, slices=(), overwrite=False):
    """Finds out what is left to do for some cases.

    Args:
        output: Folder of predictions.
        cases: List of `Case`.
        making: Dict of the "networks" and "settings" of their records.
        probabilities: Whether probabilities are wanted.
        slices: Indices of the axial slices to draw.
        overwrite: Whether to segment all cases, whatever is there.

    Returns:
        An `Unfinished`.

    Raises:
        InputError: If a segmentation was made in another way, or by another tool; says how.
    """
    left = Unfinished()
    for case in cases:
        try:
            record = None if overwrite else read_record(output, case)
        except InputError:
            left.unscored.append(case)  # Scoring fails with the reason.
            continue
        if overwrite or not _is_segmented(output, case, record, making, probabilities):
            left.missing.append(case)
            continue
        try:
            changes = find_changes(case, record["inputs"])
        except InputError:
            left.missing.append(case)  # Its segmentation fails with the reason.
            continue
        images = set(map(input_name, case.images.values()))
        if images & set(changes):
            left.missing.append(case)
            left.changed.append(f"{case.id} is segmented again: {', '.join(changes)} changed.")
        elif changes or not _is_drawn(output, case, record, slices):
            left.unscored.append(case)
    return left


def _is_segmented(output, case, record, making, probabilities):
    path = segmentation_path(output, case)
    if not (path.exists() or record and record["networks"]):
        return False
    if record is None or not record["networks"]:
        raise InputError(
            f"{path} was made by another tool. Add --overwrite to replace it, or give another "
            "--output."
        )
    made, wanted = (
        {"networks": [network["sha256"] for network in each["networks"]]} | each["settings"]
        for each in (record, making)
    )
    differences = [
        f"{name} {made.get(name)}, not {value}"
        for name, value in wanted.items()
        if made.get(name) != value
    ]
    if differences:
        raise InputError(
            f"{path} was made with {'; '.join(differences)}. Give the same settings, another "
            "--output, or --overwrite."
        )
    paths = [path, *(probability_paths(output, case).values() if probabilities else ())]
    return all(path.exists() for path in paths)


def _is_drawn(output, case, record, slices):
    picture = Path(output) / FIGURES / f"{case.id}-modalities.png"
    return picture.exists() and set(slices) <= set(record["slices"])
