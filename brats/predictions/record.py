"""What a prediction leaves on disk: label volumes and probabilities, and how they were made.

In: the predicted classes of a case. Out, in one folder, which is one method's: config.json,
<case>.nii.gz, probabilities/<case>-<class>.nii.gz, and what `brats.predictions.evaluation` writes.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from brats.cases.layouts import EXTENSIONS
from brats.errors import InputError
from brats.predictions.evaluation import segmentation_path, select_unevaluated, write_evaluation
from brats.files import make_writable_folder, parse_json, write_json
from brats.scores.tables import read_scores
from brats.volumes.nifti import read_note
from brats.editions import CLASSES, classes_to_labels
from brats.volumes.files import read_volume, write_volume

RECORD = "config.json"
PROBABILITIES = "probabilities"
BY_CASE = "networks_by_case"


def write_record(output, record):
    """Writes which networks, settings and versions the folder's segmentations come from.

    Args:
        output: Path of the folder.
        record: Dict that JSON can hold, with what `check_output` compares as "method". If it says
            which networks segment which case, what an earlier record says of others is kept.

    Raises:
        InputError: If an earlier record is damaged.
        OSError: If the file cannot be written.
    """
    if BY_CASE in record:
        earlier = read_record(output).get(BY_CASE)
        earlier = earlier if isinstance(earlier, dict) else {}
        record = record | {BY_CASE: dict(sorted((earlier | record[BY_CASE]).items()))}
    write_json(Path(output) / RECORD, record)


def check_output(output, cases, overwrite, method, method_of=None):
    """Checks the output folder before any work is done.

    Args:
        output: Path of the folder; made if it does not exist.
        cases: Cases to be predicted.
        overwrite: Whether existing segmentations may be replaced.
        method: Dict that JSON can hold, of all that labels depend on.
        method_of: Dict of the same for single cases, by id, where it is not the folder's.

    Raises:
        OSError: If the folder cannot be made or written to.
        InputError: If it holds segmentations or scores of another method, an older version's
            scores, or segmentations of unknown making that nobody asked to replace.
    """
    make_writable_folder(Path(output))
    _check_same_method(Path(output), method)
    read_scores(Path(output))
    notes = {segmentation_path(output, case): _note(case, method, method_of) for case in cases}
    foreign = [path for path, note in notes.items() if path.exists() and read_note(path) != note]
    if foreign and not overwrite:
        raise InputError(
            f"{foreign[0]} exists, one of {len(foreign)}. Add --overwrite, or give another "
            "--output."
        )


def method_note(method):
    """Returns what the segmentations of a method say in their header: a digest of it."""
    digest = hashlib.sha256(json.dumps(method, sort_keys=True).encode()).hexdigest()
    return f"method sha256 {digest}"


def _note(case, method, method_of):
    """Returns what the segmentation of a case has to say; arguments as for `check_output`."""
    return method_note((method_of or {}).get(case.id, method))


def find_unfinished(
    output, cases, overwrite, method, probabilities=False, slices=(), method_of=None
):
    """Checks the output folder, and finds what is left to do in it.

    Args:
        output: As for `check_output`, as are `cases`, `overwrite` and `method`.
        cases: Cases to be predicted.
        overwrite: Whether all of them are to be segmented, whatever is there.
        method: Dict that JSON can hold, of all that labels depend on.
        probabilities: Whether those of the classes are wanted, too.
        slices: Indices of the axial slices to draw, see `write_pictures`.
        method_of: As for `check_output`.

    Returns:
        `(missing, unjudged)`: the cases to segment, and the segmented ones that have yet to be
        scored or drawn, because an earlier prediction was ended in between.

    Raises:
        OSError, InputError: As `check_output`.
    """
    check_output(output, cases, overwrite, method, method_of)
    if overwrite:
        return list(cases), []
    missing, segmented = [], []
    for case in cases:
        done = _is_segmented(output, case, _note(case, method, method_of), probabilities)
        (segmented if done else missing).append(case)
    return missing, select_unevaluated(output, segmented, slices)


def _is_segmented(output, case, note, probabilities):
    path = segmentation_path(output, case)
    if not path.exists() or read_note(path) != note:
        return False
    paths = [path, *(probability_paths(output, case).values() if probabilities else ())]
    try:
        for path in paths:
            read_volume(path)
    except (InputError, FileNotFoundError):
        return False
    return True


def read_record(output):
    """Returns what `write_record` wrote, or an empty dict where there is no such record.

    Raises:
        InputError: If the file is damaged; names it.
    """
    path = Path(output) / RECORD
    if not path.exists():
        return {}
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}. Delete it.") from error
    # Other tools have files of that name, too.
    if not (isinstance(record, dict) and isinstance(record.get("method"), dict)):
        return {}
    return record


def _check_same_method(output, method):
    if not any((output / name).exists() for name in (RECORD, "scores.csv")):
        return
    before = read_record(output).get("method", {})
    names = method.keys() | before.keys()
    different = sorted(name for name in names if before.get(name) != method.get(name))
    if different:
        raise InputError(
            f"{output} holds predictions that were made with other {', '.join(different)}; their "
            "scores would be mixed. Give another --output, or delete it."
        )


def write_segmentation(
    output, case, raw, classes, probabilities=None, slices=(), method=None, with_tables=True
):
    """Writes the volume and the pictures of a case, and its scores where there is ground truth.

    Args:
        output: Path of the folder to write to.
        case: A `Case`.
        raw: The `RawCase`.
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        probabilities: Of every class, float32 `(Z, Y, X, C)`, or None.
        slices: Indices of the axial slices to draw, see `write_pictures`.
        method: Dict that JSON can hold, of all that labels depend on; the volume's header says
            its digest, so that `find_unfinished` can tell it from other tools'.
        with_tables: See `write_evaluation`.

    Returns:
        A `Written`.

    Raises:
        OSError: If a file cannot be written.
    """
    labels = classes_to_labels(classes, case.edition)
    write_volume(
        Path(output) / f"{case.id}{EXTENSIONS[0]}", labels, raw.geometry, method_note(method)
    )
    if probabilities is not None:
        write_probabilities(output, case, probabilities, raw.geometry)
    return write_evaluation(output, case, raw, classes, slices, with_tables)


def write_probabilities(output, case, probabilities, geometry):
    """Writes one scalar volume per class of tumor, in steps of 1/4096.

    Viewers show a scalar volume as a map over the image; of a volume with four components or
    points in time ITK-SNAP and 3D Slicer make different things. Background is what is missing
    to 1. The steps leave the last bits of a float empty, so that it compresses.

    Args:
        output: Path of the folder to write to.
        case: A `Case`.
        probabilities: float32 `(Z, Y, X, C)`.
        geometry: The `Geometry` to write.

    Raises:
        OSError: If a file cannot be written.
    """
    for index, path in probability_paths(output, case).items():
        steps = np.round(probabilities[..., index] * 4096) / np.float32(4096)
        write_volume(path, steps, geometry)


def probability_paths(output, case):
    """Returns the paths of the probabilities of a case, by index of the class of tumor."""
    folder = Path(output) / PROBABILITIES
    return {
        index: folder / f"{case.id}-{name}{EXTENSIONS[0]}"
        for index, name in enumerate(CLASSES[1:], 1)
    }
