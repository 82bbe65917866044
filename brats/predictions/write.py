"""What a prediction writes of a case: pictures, scores, warnings, the record, and volumes.

In: the predicted classes of a case. Out: in the folder of predictions `<case>.nii.gz`,
`probabilities/<case>-<class>.nii.gz`, `figures/<case>-*.png` and `<case>.json`.
"""

import hashlib
from pathlib import Path

import numpy as np

from brats.cases.names import EXTENSIONS
from brats.cases.repair import sampled
from brats.editions import CLASSES, classes_to_labels, count_classes
from brats.pictures.overlays import write_pictures
from brats.predictions.record import CHECKSUM, NETWORK_WARNINGS, write_record
from brats.scores.tables import score_case
from brats.volumes.files import encode_volume, write_volume

FIGURES, PROBABILITIES = "figures", "probabilities"
# The tumors of 46 real cases have 15 to 265 ml, at most 0.2 of the brain, at most 91 ml enhancing.
MAX_BRAIN_SHARE = 1 / 3
MAX_ENHANCING_ML = 150


def write_prediction(output, case, raw, classes, record, slices=(), probabilities=None):
    """Writes everything that belongs to a case.

    Args:
        output: Folder of predictions.
        case: A `Case`.
        raw: Its `RawCase`.
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        record: Dict as of `write_record`, without "slices", "volumes_ml" and "scores".
        slices: Axial slices to draw, if the case has them; by default the one with most tumor.
        probabilities: Of every class, float32 `(Z, Y, X, C)`, or None.

    Returns:
        The record of the case, as it is on disk.
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
    path = Path(output) / f"{case.id}{EXTENSIONS[0]}"
    volume = classes_to_labels(classes, case.edition), raw.geometry
    content = encode_volume(path, *volume)
    record = record | {CHECKSUM: hashlib.sha256(content).hexdigest()}
    record = evaluate(output, case, raw, classes, record, slices)
    write_volume(path, *volume, content)
    return record


def evaluate(output, case, raw, classes, record, slices=()):
    """Measures, scores and draws a segmentation, and writes the record; see `write_prediction`."""
    scores = []
    if raw.classes is not None:
        spacing_mm = raw.geometry.spacing_mm[::-1]  # (z, y, x), as the arrays.
        scores = score_case(case.id, classes, raw.classes, spacing_mm, case.edition)
    num_slices = len(classes)
    drawn = [index for index in slices if index < num_slices]
    write_pictures(Path(output) / FIGURES, case.id, raw, classes, drawn)
    volumes_ml = {
        name: round(int(count) * raw.geometry.voxel_ml, 3)
        for name, count in zip(CLASSES, count_classes(classes), strict=True)
        if name != CLASSES[0]
    }
    warnings = record["warnings"] + record.get(NETWORK_WARNINGS, [])
    warnings += prediction_warnings(classes, raw, volumes_ml)
    if absent := ", ".join(str(index) for index in slices if index not in drawn):
        warnings.append(
            f"There is no picture of slice {absent}: the case has axial slices 0 to "
            f"{num_slices - 1}."
        )
    facts = {"warnings": warnings, "slices": list(slices)}
    return write_record(output, case, record | facts | {"volumes_ml": volumes_ml, "scores": scores})


def prediction_warnings(classes, raw, volumes_ml):
    """Returns sentences about what is suspicious in a prediction; `volumes_ml` is by class."""
    if not classes.any():
        return ["The prediction holds no tumor. Look at the images."]
    warnings, tumor_ml, flair = [], sum(volumes_ml.values()), raw.volumes[0]
    brain_ml = np.mean(sampled(flair) != 0) * flair.size * raw.geometry.voxel_ml
    if tumor_ml > MAX_BRAIN_SHARE * brain_ml:
        warnings.append(f"{100 * tumor_ml / brain_ml:.0f} % of the brain is predicted as tumor")
    if volumes_ml["enhancing"] > MAX_ENHANCING_ML:
        warnings.append(f"{volumes_ml['enhancing']:,.0f} ml are predicted as enhancing tumor")
    return [f"{warning}, which is unlikely. Look at the images." for warning in warnings]


def describe_result(case_id, record):
    """Returns lines of text about a record: its Dice or else its volumes, and its warnings."""
    numbers = [f"{row['region']} {row['dice']:.3f}" for row in record["scores"]]
    title = "Dice" if numbers else "ml"
    numbers = numbers or [f"{name} {ml:.1f}" for name, ml in record["volumes_ml"].items()]
    warnings = [f"{case_id}: Warning: {sentence}" for sentence in record["warnings"]]
    return "\n".join([f"{case_id}  {title}  {'  '.join(numbers)}", *warnings])


def write_probabilities(output, case, probabilities, geometry):
    """Writes one volume per tumor class, in steps of 1/4096.

    Viewers show a volume with one number per voxel as a map over the image. The steps leave the
    last bits of a float empty, so that it compresses.
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
