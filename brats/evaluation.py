"""Judging segmentations: scores against ground truth, and pictures.

In: the classes of a case, or a folder of label volumes that any tool has written. Out, in the
folder: figures/<case>-*.png and, where there is ground truth, rows of scores.csv and summary.csv,
and scores.png.
"""

from dataclasses import dataclass
from pathlib import Path

from brats.cases import EXTENSIONS, labels_to_classes, select_cases
from brats.errors import InputError
from brats.figures import modalities_path, write_pictures
from brats.metrics import read_scores, score_case, write_scores
from brats.orientation import check_axial_slices
from brats.plots import write_score_boxes
from brats.volumes import read_case, read_volume


@dataclass(frozen=True)
class Written:
    """What was written of one case.

    Attributes:
        case_id: Id of the case.
        segmentation: Path of the label volume.
        picture: Path of the first picture.
        rows: Scores, a list of dicts; empty without ground truth.
    """

    case_id: str
    segmentation: Path
    picture: Path
    rows: list


@dataclass(frozen=True)
class Failed:
    """A case that could not be read.

    Attributes:
        case_id: Id of the case.
        reason: What happened, one sentence or more.
    """

    case_id: str
    reason: str


def segmentation_path(output, case):
    """Returns the path of the segmentation of a case, compressed unless another tool left it so."""
    paths = [Path(output) / f"{case.id}{extension}" for extension in EXTENSIONS]
    return next((path for path in paths if path.exists()), paths[0])


def select_scorable(output, cases, ids):
    """Returns the cases to score: those asked for, or all that have what it takes.

    Args:
        output: Path of the folder of segmentations.
        cases: List of `Case`s.
        ids: Ids of cases; none for all that have ground truth and a segmentation.

    Raises:
        InputError: If a case is unknown, has no ground truth, or no case has a segmentation.
    """
    scorable = select_cases(cases, ids) if ids else cases
    unknown = [case for case in scorable if not case.segmentation]
    if ids and unknown:
        raise InputError(
            f"Case {unknown[0].id} cannot be scored: {unknown[0].folder} has no ground truth. "
            "Leave it out of --cases."
        )
    scorable = [case for case in scorable if case.segmentation]
    segmented = [case for case in scorable if segmentation_path(output, case).exists()]
    if not segmented:
        raise InputError(
            f"{output} has no segmentation of a case with ground truth; expected files such as "
            f"{segmentation_path(output, cases[0])}. Give another --output or --data-root."
        )
    return scorable if ids else segmented


def read_case_to_draw(case, slices):
    """Reads a case, and checks that it has the axial slices that are to be drawn.

    Args:
        case: A `Case`.
        slices: Indices of axial slices, see `brats.orientation`.

    Returns:
        A `RawCase`.

    Raises:
        InputError: If a file cannot be read, or there is no such slice; names the case.
    """
    raw = read_case(case)
    check_axial_slices(case.id, raw.volumes[0], raw.geometry, slices)
    return raw


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
    path = segmentation_path(output, case)
    try:
        if not path.exists():
            raise InputError(f"Case {case.id} has no segmentation {path}.")
        raw = read_case_to_draw(case, slices)
        labels, geometry = read_volume(path)
        shape = raw.volumes[0].shape
        if labels.shape != shape or not geometry.is_close_to(raw.geometry):
            raise InputError(
                f"{path} does not lie on the grid of case {case.id}: it has size "
                f"{labels.shape[::-1]} and {geometry}, the case {shape[::-1]} and "
                f"{raw.geometry}. Resample it."
            )
        classes = labels_to_classes(labels, case.scheme)
    except InputError as error:
        write_scores(Path(output), case.id, [])
        reason = str(error)
        return Failed(case.id, reason if str(path) in reason else f"{path}: {reason}")
    return write_evaluation(output, case, raw, classes, slices)


def write_evaluation(output, case, raw, classes, slices=()):
    """Writes the scores of a case where there is ground truth, and then its pictures.

    Args:
        output: Path of the folder to write to.
        case: A `Case`.
        raw: The `RawCase`.
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        slices: Indices of the axial slices to draw, see `write_pictures`.

    Returns:
        A `Written`.

    Raises:
        OSError: If a file cannot be written.
    """
    rows = []
    if raw.classes is not None:
        spacing_mm = raw.geometry.spacing_mm[::-1]  # (z, y, x), as the arrays.
        rows = score_case(case.id, classes, raw.classes, spacing_mm)
        write_scores(Path(output), case.id, rows)
    picture = write_pictures(Path(output) / "figures", case.id, raw, classes, slices)
    return Written(case.id, segmentation_path(output, case), picture, rows)


def is_evaluated(output, case, slices=()):
    """Returns whether `write_evaluation` came to its end after the segmentation was written.

    Args:
        output: Path of the folder.
        case: A `Case` with a segmentation in it.
        slices: Indices of the axial slices that have to be drawn; none for any.
    """
    figures = Path(output) / "figures"
    last = modalities_path(figures, case.id)
    if not last.exists() or last.stat().st_mtime < segmentation_path(output, case).stat().st_mtime:
        return False
    drawn = all((figures / f"{case.id}-{index}.png").exists() for index in slices)
    scored = {row["case"] for row in read_scores(Path(output))} if case.segmentation else {case.id}
    return drawn and case.id in scored


def draw_scores(output):
    """Draws the box plots of a folder's scores, where there are any, as scores.png.

    Raises:
        OSError: If the file cannot be written.
    """
    rows = read_scores(Path(output))
    if rows:
        write_score_boxes(Path(output) / "scores.png", rows)
