"""Scores of segmentations that are on disk already, of this or any other tool.

In: a folder of label volumes `<case>.nii.gz`. Out, in the folder: records with scores, pictures.
"""

from pathlib import Path

from brats.cases.check import read_case_to_score, read_checked_case
from brats.cases.names import image_files
from brats.editions import label_warnings, labels_to_classes, relabel
from brats.errors import InputError, shortened
from brats.files import make_writable_folder
from brats.inputs import describe_inputs, digest, input_name
from brats.parallel import run_per_case
from brats.predictions.record import CHECKSUM, SEGMENTATION_LABELS, read_record, segmentation_path
from brats.predictions.write import evaluate
from brats.scores.tables import score_missing
from brats.volumes.files import read_volume
from brats.volumes.geometry import grid_difference


def select_scorable(output, found, cases, ids, ignore_missing=False):
    """Selects the cases to score.

    Args:
        output: Folder of segmentations.
        found: List of all `Case`s.
        cases: List of those of them that are asked for.
        ids: Ids of cases if they are named, otherwise none.
        ignore_missing: Whether to leave out cases without a segmentation.

    Returns:
        `(cases, missing, warnings)`: the `Case`s to score, those that count as missed, and
        sentences.

    Raises:
        OSError: If there is no such folder, or it cannot be written to.
        InputError: If a named case has no reference, or no case has a segmentation.
    """
    if not Path(output).is_dir():
        raise FileNotFoundError(
            f"There is no folder {output}. Give the folder of the segmentations with --output."
        )
    make_writable_folder(Path(output))
    without = [case for case in cases if not case.segmentation]
    if ids and without:
        raise InputError(
            f"Case {without[0].id} cannot be scored: {without[0].folder} has no reference. Leave "
            "it out of --cases."
        )
    labelled = [case for case in cases if case.segmentation]
    missing = [case for case in labelled if not segmentation_path(output, case).exists()]
    used = {segmentation_path(output, case) for case in found}
    unused = [path.name for path in image_files(Path(output)) if path not in used]
    unused = shortened(", ".join(unused))
    if len(missing) == len(labelled):
        raise InputError(
            f"{output} has no segmentation of a case with a reference, but {unused or 'nothing'}; "
            f"expected files such as {segmentation_path(output, cases[0])}. Rename the files, or "
            "give another --output or --data-root."
        )
    warnings = []
    if missing:
        how = "ignored" if ignore_missing else "counted as missed (Dice 0, HD95 374 mm)"
        number = f"{len(missing)} of {len(labelled)} cases"
        names = shortened(", ".join(case.id for case in missing))
        warnings.append(f"{output} has no segmentation of {number}, {how}: {names}")
    if unused:
        warnings.append(f"These files in {output} fit no case of --data-root: {unused}")
    segmented = [case for case in labelled if case not in missing]
    return segmented, [] if ignore_missing else missing, warnings


def score_cases(output, cases, slices=(), labels=()):
    """Scores and draws the segmentations of cases, and writes their records.

    Args:
        output: Folder of segmentations.
        cases: List of `Case`.
        slices: Axial slices to draw.
        labels: Values of the flag `--segmentation-labels`; none for those of the references.

    Yields:
        `(case_id, result)` in order: the record, or a `Failed` if a file cannot be read.
    """
    tasks = {case.id: (output, case, slices, labels) for case in cases}
    yield from run_per_case(_score, tasks, workers=1)


def _score(task):
    output, case, slices, labels = task
    inputs = describe_inputs(case)
    record = read_record(output, case)
    is_ours = bool(record and record["networks"])
    # For another tool's segmentation, the images need not be as our networks need them.
    raw = read_checked_case(case, force=True) if is_ours else read_case_to_score(case)
    classes, warnings = read_segmentation(output, case, raw, labels)
    if is_ours:  # Keep noted which images it was made of.
        inputs |= {
            name: record["inputs"].get(name, {}) for name in map(input_name, case.images.values())
        }
    else:
        record = {"networks": [], "settings": {}, SEGMENTATION_LABELS: list(labels)}
    record[CHECKSUM] = digest(segmentation_path(output, case))
    record |= {"inputs": inputs, "warnings": warnings + raw.warnings}
    return evaluate(output, case, raw, classes, record, slices)


def missed_scores(case):
    """Returns the scores of a case without a segmentation; raises as `read_case_to_score`."""
    raw = read_case_to_score(case)
    return score_missing(case.id, raw.classes, raw.geometry.spacing_mm[::-1], case.edition)


def read_segmentation(output, case, raw, values):
    """Returns the class indices of the segmentation of a case, on the case's grid, and warnings.

    `values` are those of `--segmentation-labels`. Raises an `InputError` that names the file.
    """
    path = segmentation_path(output, case)
    labels, geometry = read_volume(path)
    shape = raw.volumes[0].shape
    if difference := grid_difference((labels.shape, geometry), (shape, raw.geometry)):
        here, there = difference
        advice = "Copy the case's geometry" if labels.shape == shape else "Resample it"
        raise InputError(
            f"{path} does not lie on the grid of case {case.id}: it has {here}, the case {there}. "
            f"{advice}."
        )
    edition = relabel(case.edition, values)
    try:
        classes = labels_to_classes(labels, edition)
    except InputError as error:
        raise InputError(f"{path}: {_for_segmentations(error)}") from error
    warnings = label_warnings(labels, edition)
    return classes, [f"{path.name}: {_for_segmentations(warning)}" for warning in warnings]


def _for_segmentations(message):
    return str(message).replace("--labels", "--segmentation-labels")
