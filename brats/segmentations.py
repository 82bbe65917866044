"""What a prediction leaves on disk: a label volume, pictures and scores per case.

In: the predicted classes of a case. Out, in one folder, which is one network's: config.json,
<case>.nii.gz, figures/<case>-*.png and, where there is ground truth, rows of scores.csv and
summary.csv.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from brats.cases import classes_to_labels
from brats.errors import InputError
from brats.figures import write_pictures
from brats.files import make_writable_folder, write_json
from brats.metrics import score_case, write_scores
from brats.volumes import write_volume

RECORD = "config.json"


@dataclass(frozen=True)
class Written:
    """What was written of one case.

    Attributes:
        segmentation: Path of the label volume.
        picture: Path of the first picture.
        rows: Scores, a list of dicts; empty without ground truth.
    """

    segmentation: Path
    picture: Path
    rows: list


def segmentation_path(output, case):
    """Returns the path of the segmentation of a case."""
    return Path(output) / f"{case.id}.nii.gz"


def network_digest(path):
    """Returns the SHA-256 of the file of a network, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_record(output, record):
    """Writes which network, settings and versions the folder's segmentations come from.

    Args:
        output: Path of the folder.
        record: Dict that JSON can hold, with "network_sha256" of `network_digest` at least.
    """
    write_json(Path(output) / RECORD, record)


def check_output(output, cases, overwrite, digest):
    """Checks the output folder before any work is done.

    Args:
        output: Path of the folder; made if it does not exist.
        cases: Cases to be predicted.
        overwrite: Whether existing segmentations may be replaced.
        digest: `network_digest` of the network.

    Raises:
        OSError: If the folder cannot be made or written to.
        InputError: If it holds another network's segmentations or scores, or segmentations that
            nobody asked to replace.
    """
    make_writable_folder(Path(output))
    _check_same_network(Path(output), digest)
    paths = [segmentation_path(output, case) for case in cases]
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise InputError(
            f"{existing[0]} exists, one of {len(existing)}. Add --overwrite, or give another "
            "--output."
        )


def _check_same_network(output, digest):
    record = output / RECORD
    if not (record.exists() or (output / "scores.csv").exists()):
        return
    try:
        before = json.loads(record.read_text()) if record.exists() else {}
    except ValueError as error:
        raise InputError(
            f"{record} is damaged: {error}. Give another --output, or delete it."
        ) from error
    if before.get("network_sha256") != digest:
        raise InputError(
            f"{output} holds predictions of another network, "
            f"{before.get('network', 'an unknown one')}; their scores would be mixed. Give "
            "another --output, or delete it."
        )


def write_segmentation(output, case, raw, classes, slices=()):
    """Writes the volume and the pictures of a case, and its scores where there is ground truth.

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
    segmentation = segmentation_path(output, case)
    write_volume(segmentation, classes_to_labels(classes, case.scheme), raw.geometry)
    picture = write_pictures(Path(output) / "figures", case.id, raw, classes, slices)
    rows = score_case(case.id, classes, raw.classes) if raw.classes is not None else []
    if rows:
        write_scores(Path(output), rows)
    return Written(segmentation, picture, rows)
