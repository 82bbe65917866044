"""What a prediction writes of a case: pictures, scores, the record, and volumes.

In: the predicted classes of a case. Out: in the folder of predictions `<case>.nii.gz`,
`probabilities/<case>-<class>.nii.gz`, `figures/<case>-*.png` and `<case>.json`.
"""

from pathlib import Path

import numpy as np

from brats.cases.names import EXTENSIONS
from brats.editions import CLASSES, classes_to_labels, count_classes
from brats.pictures.overlays import write_pictures
from brats.predictions.record import FAILED, write_record
from brats.scores.tables import score_case
from brats.volumes.files import write_volume

FIGURES, PROBABILITIES = "figures", "probabilities"
NO_SLICE = "There is no picture of slice"


def write_prediction(output, case, raw, classes, record, slices=(), probabilities=None):
    """Writes everything that belongs to a case.

    Args:
        output: Folder of predictions.
        case: A `Case`.
        raw: Its `RawCase`.
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        record: Dict as of `write_record`, without "slices", "volumes_ml" and "scores".
        slices: As for `evaluate`.
        probabilities: Of every class, float32 `(Z, Y, X, C)`, or None.

    Returns:
        The record of the case, as it is on disk.

    Raises:
        OSError: If a file cannot be written.
    """
    # A record without a volume is not done, and a volume without a record is another tool's. So
    # the old volume goes first and the new one comes last, in case of a kill in between.
    for extension in EXTENSIONS:
        Path(output, f"{case.id}{extension}").unlink(missing_ok=True)
    if probabilities is not None:
        write_probabilities(output, case, probabilities, raw.geometry)
    else:  # Those of an older segmentation would not belong to this one.
        for path in probability_paths(output, case).values():
            path.unlink(missing_ok=True)
    record = evaluate(output, case, raw, classes, record, slices)
    path = Path(output) / f"{case.id}{EXTENSIONS[0]}"
    write_volume(path, classes_to_labels(classes, case.edition), raw.geometry)
    return record


def evaluate(output, case, raw, classes, record, slices=()):
    """Measures a segmentation, scores it if there is a reference, draws it, writes the record.

    `slices` are the indices of the axial slices to draw, if the case has them; none for the one
    with most tumor. The other arguments and the result are those of `write_prediction`.
    """
    scores = []
    if raw.classes is not None:
        spacing_mm = raw.geometry.spacing_mm[::-1]  # (z, y, x), as the arrays.
        scores = score_case(case.id, classes, raw.classes, spacing_mm, case.edition)
    num_slices = len(classes)
    drawn = [index for index in slices if index < num_slices]
    write_pictures(Path(output) / FIGURES, case.id, raw, classes, drawn)
    warnings = [each for each in record["warnings"] if not each.startswith(NO_SLICE)]
    if absent := ", ".join(str(index) for index in slices if index not in drawn):
        warnings.append(f"{NO_SLICE} {absent}: the case has axial slices 0 to {num_slices - 1}.")
    counts = dict(zip(CLASSES, count_classes(classes).tolist(), strict=True))
    volumes_ml = {name: round(counts[name] * raw.geometry.voxel_ml, 3) for name in CLASSES[1:]}
    facts = {"warnings": warnings, "slices": list(slices)}
    facts |= {"volumes_ml": volumes_ml, "scores": scores}
    made = {name: value for name, value in record.items() if name != FAILED}
    return write_record(output, case, made | facts)


def describe_result(case_id, record):
    """Returns lines of text about a record: its Dice or else its volumes, and its warnings."""
    numbers = [f"{row['region']} {row['dice']:.3f}" for row in record["scores"]]
    title = "Dice" if numbers else "ml"
    numbers = numbers or [f"{name} {ml:.1f}" for name, ml in record["volumes_ml"].items()]
    warnings = [f"{case_id}: Warning: {sentence}" for sentence in record["warnings"]]
    return "\n".join([f"{case_id}  {title}  {'  '.join(numbers)}", *warnings])


def write_probabilities(output, case, probabilities, geometry):
    """Writes one volume per tumor class, in steps of 1/4096.

    Viewers show a volume with one number per voxel as a map over the image. The probability of
    background is what is missing to 1. The steps leave the last bits of a float empty, so that it
    compresses.

    Args:
        output: Folder of predictions.
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
    """Returns the paths of the probabilities of a case, by index of the tumor class."""
    folder = Path(output) / PROBABILITIES
    return {
        index: folder / f"{case.id}-{name}{EXTENSIONS[0]}"
        for index, name in enumerate(CLASSES[1:], 1)
    }
