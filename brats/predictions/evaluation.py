"""Judging segmentations: scores against ground truth, and pictures.

In: the classes of a case, or a folder of label volumes that any tool has written. Out, in the
folder: figures/<case>-*.png and, where there is ground truth, rows of scores.csv and summary.csv,
and scores.png.
"""

from dataclasses import dataclass
from pathlib import Path

from brats.cases.layouts import EXTENSIONS
from brats.cases.find import select_cases
from brats.errors import Failed, InputError
from brats.pictures.overlays import modalities_path, remove_pictures, write_pictures
from brats.files import make_writable_folder
from brats.volumes.geometry import grid_difference
from brats.scores.tables import read_scores, score_case, write_scores
from brats.predictions.record import segmentation_path
from brats.pictures.boxes import write_score_boxes
from brats.editions import labels_to_classes
from brats.volumes.case import read_case, read_modalities
from brats.volumes.files import read_volume

FIGURES = "figures"


@dataclass(frozen=True)
class Written:
    """What was written of one case.

    Attributes:
        case_id: Id of the case.
        rows: Scores, a list of dicts; empty without ground truth.
    """

    case_id: str
    rows: list


def select_scorable(output, cases, ids):
    """Checks a folder before its segmentations are scored, and selects the cases.

    Args:
        output: Path of the folder of segmentations.
        cases: List of `Case`s.
        ids: Ids of cases; none for all that have ground truth and a segmentation.

    Returns:
        List of the cases to score.

    Raises:
        OSError: If there is no such folder, or it cannot be written to.
        InputError: If a case is unknown, has no ground truth, or no case has a segmentation, or
            the folder holds tables that are not ours.
    """
    if not Path(output).is_dir():
        raise FileNotFoundError(
            f"There is no folder {output}. Give the one that holds the segmentations with --output."
        )
    make_writable_folder(Path(output))
    summary = Path(output) / "summary.csv"
    if not read_scores(Path(output)) and summary.exists():
        raise InputError(
            f"{summary} stands there without scores: it is not ours. Move it away, or give "
            "another --output."
        )
    chosen = select_cases(cases, ids) if ids else cases
    unlabelled = [case for case in chosen if not case.segmentation]
    if ids and unlabelled:
        raise InputError(
            f"Case {unlabelled[0].id} cannot be scored: {unlabelled[0].folder} has no ground "
            "truth. Leave it out of --cases."
        )
    labelled = [case for case in chosen if case.segmentation]
    segmented = [case for case in labelled if segmentation_path(output, case).exists()]
    if not segmented:
        raise InputError(
            f"{output} has no segmentation of a case with ground truth; expected files such as "
            f"{segmentation_path(output, cases[0])}. Give another --output or --data-root."
        )
    return labelled if ids else segmented


def check_slices(cases, slices):
    """Checks, by their headers, that cases have the axial slices that are to be drawn.

    Args:
        cases: List of `Case`s.
        slices: Indices of axial slices, from the feet up.

    Raises:
        InputError: If one has not; names the case. What cannot be read is not told here.
    """
    for case in cases if slices else ():
        try:
            num_slices = len(read_modalities(case, ("flair",))[0][0])
        except InputError:
            continue
        if max(slices) >= num_slices:
            raise InputError(
                f"Case {case.id} has axial slices 0 to {num_slices - 1}, and no slice "
                f"{max(slices)}. Give other --slices, or name the cases that have it with --cases."
            )


def score_segmentation(output, case, slices=()):
    """Scores and draws the segmentation of a case in a folder, whatever tool it comes from.

    Args:
        output: Path of the folder; the scores and the picture are written there, too.
        case: A `Case`; without ground truth its segmentation is drawn only.
        slices: Indices of the axial slices to draw, see `write_pictures`.

    Returns:
        A `Written`, or a `Failed` if a file of the case cannot be read.

    Raises:
        OSError: If a file cannot be written.
    """
    try:
        raw = read_case(case)
        classes = _read_classes(segmentation_path(output, case), case, raw)
    except InputError as error:
        return Failed(case.id, str(error))
    return write_evaluation(output, case, raw, classes, slices)


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


def write_evaluation(output, case, raw, classes, slices=(), with_tables=True):
    """Writes the scores of a case where there is ground truth, and then its pictures.

    Args:
        output: Path of the folder to write to.
        case: A `Case`.
        raw: The `RawCase`.
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        slices: Indices of the axial slices to draw, see `write_pictures`.
        with_tables: Whether the scores are written; if not, one process has to do it for all, as
            several would overwrite each other's.

    Returns:
        A `Written`.

    Raises:
        OSError: If a file cannot be written.
    """
    rows = []
    if raw.classes is not None:
        spacing_mm = raw.geometry.spacing_mm[::-1]  # (z, y, x), as the arrays.
        rows = score_case(case.id, classes, raw.classes, spacing_mm)
        if with_tables:
            write_scores(Path(output), case.id, rows)
    write_pictures(Path(output) / FIGURES, case.id, raw, classes, slices)
    return Written(case.id, rows)


def remove_evaluation(output, case_id):
    """Removes the scores and the pictures that a case has from an earlier time.

    Raises:
        OSError: If a file cannot be written.
    """
    write_scores(Path(output), case_id, [])
    remove_pictures(Path(output) / FIGURES, case_id)


def select_unevaluated(output, cases, slices=()):
    """Selects the cases for which `write_evaluation` has not come to its end.

    Args:
        output: Path of the folder.
        cases: List of `Case`s with a segmentation in it.
        slices: Indices of the axial slices that have to be drawn; none for any.

    Returns:
        List of the cases that have no scores or pictures, or older ones than the segmentation.
    """
    figures = Path(output) / FIGURES
    scored = {row["case"] for row in read_scores(Path(output))}

    def is_evaluated(case):
        last, volume = modalities_path(figures, case.id), segmentation_path(output, case)
        if not last.exists() or last.stat().st_mtime < volume.stat().st_mtime:
            return False
        drawn = all((figures / f"{case.id}-{index}.png").exists() for index in slices)
        return drawn and (case.id in scored or not case.segmentation)

    return [case for case in cases if not is_evaluated(case)]


def draw_scores(output):
    """Draws the box plots of a folder's scores as scores.png; removes it where there are none.

    Raises:
        OSError: If the file cannot be written.
    """
    rows, path = read_scores(Path(output)), Path(output) / "scores.png"
    if rows:
        write_score_boxes(path, rows)
    else:
        path.unlink(missing_ok=True)
