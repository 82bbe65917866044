"""Scores of segmentations that are on disk already, of this or any other tool.

In: a folder of label volumes `<case>.nii.gz`. Out, in the folder: records with scores, pictures.
"""

from pathlib import Path

from brats.editions import labels_to_classes
from brats.errors import InputError
from brats.files import make_writable_folder
from brats.inputs import describe_inputs, input_name
from brats.parallel import run_per_case
from brats.predictions.record import read_record, segmentation_path
from brats.predictions.write import check_slices, evaluate
from brats.volumes.case import read_case
from brats.volumes.files import read_volume
from brats.volumes.geometry import grid_difference


def select_scorable(output, cases, ids):
    """Selects the cases to score.

    Args:
        output: Folder of segmentations.
        cases: List of `Case`.
        ids: Ids of cases; none for all that have a reference and a segmentation.

    Returns:
        List of `Case`.

    Raises:
        OSError: If there is no such folder, or it cannot be written to.
        InputError: If a named case has no reference, or no case has a segmentation.
    """
    if not Path(output).is_dir():
        raise FileNotFoundError(
            f"There is no folder {output}. Give the folder of the segmentations with --output."
        )
    make_writable_folder(Path(output))
    labelled = [case for case in cases if case.segmentation]
    if ids and len(labelled) < len(cases):
        without = next(case for case in cases if not case.segmentation)
        raise InputError(
            f"Case {without.id} cannot be scored: {without.folder} has no reference. Leave it out "
            "of --cases."
        )
    segmented = [case for case in labelled if segmentation_path(output, case).exists()]
    if not segmented:
        raise InputError(
            f"{output} has no segmentation of a case with a reference; expected files such as "
            f"{segmentation_path(output, cases[0])}. Give another --output or --data-root."
        )
    return labelled if ids else segmented


def score_cases(output, cases, slices=()):
    """Scores and draws the segmentations of cases, and writes their records.

    Args:
        output: Folder of segmentations.
        cases: List of `Case`.
        slices: Axial slices to draw.

    Yields:
        `(case_id, result)` in order: the record of the case, or a `Failed` if a file of the case
        cannot be read.

    Raises:
        OSError: If a file cannot be written.
    """
    tasks = {case.id: (output, case, slices) for case in cases}
    yield from run_per_case(_score, tasks, workers=1)


def _score(task):
    output, case, slices = task
    inputs = describe_inputs(case)
    raw = read_case(case)
    check_slices(case, raw, slices)
    classes = _read_classes(segmentation_path(output, case), case, raw)
    foreign = {"networks": [], "settings": {}, "warnings": []}
    record = read_record(output, case) or foreign
    if record["networks"]:  # Our own: keep noted which images it was made of.
        inputs |= {
            name: record["inputs"].get(name, {}) for name in map(input_name, case.images.values())
        }
    return evaluate(output, case, raw, classes, record | {"inputs": inputs}, slices)


def _read_classes(path, case, raw):
    """Returns the class indices of a segmentation that lies on the grid of its case."""
    if not path.exists():
        raise InputError(f"Case {case.id} has no segmentation {path}.")
    labels, geometry = read_volume(path)
    shape = raw.volumes[0].shape
    if difference := grid_difference((labels.shape, geometry), (shape, raw.geometry)):
        here, there = difference
        advice = "Copy the case's geometry" if labels.shape == shape else "Resample it"
        raise InputError(
            f"{path} does not lie on the grid of case {case.id}: it has {here}, the case {there}. "
            f"{advice}."
        )
    try:
        return labels_to_classes(labels, case.edition)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
