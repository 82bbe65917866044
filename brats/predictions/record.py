"""The record of a case: how its segmentation was made, its volumes, and its scores.

In: what was done with a case. Out: `<case>.json` beside `<case>.nii.gz`. The record says whether a
case is done with the networks, settings and input at hand. Tables and the report are derived from
the records.
"""

from pathlib import Path

from brats.cases.names import READABLE
from brats.editions import CLASSES, REGIONS
from brats.errors import InputError, shortened
from brats.files import parse_json, write_json
from brats.inputs import digest

SUFFIX = ".json"
TAGS = ("", "_pred", "-pred")  # What names of segmentations add to the case; we add nothing.
FORMAT = {"format": "brats-prediction", "version": 2}
FIELDS = {
    "case": str,
    "networks": list,  # Dicts of "path" and "sha256"; empty if another tool segmented the case.
    "settings": dict,  # All else that the labels depend on.
    "inputs": dict,  # As of `brats.inputs`.
    "warnings": list,  # Sentences.
    "slices": list,  # Those to draw.
    "volumes_ml": dict,  # By tumor class.
    "scores": list,  # Rows of `score_case`; empty without a reference.
}
NETWORK_WARNINGS = "network_warnings"  # The field with those that stay if it is scored again.
REMEDY = "Segment the case again with --overwrite. With --score-only, remove the file."
CHECKSUM = "segmentation_sha256"  # The field with the SHA-256 of the segmentation's file.
SEGMENTATION_LABELS = "segmentation_labels"  # The field with the values of this flag, if given.


def segmentation_path(output, case):
    """Returns the path of a case's segmentation, which another tool may have named differently."""
    paths = [Path(output, f"{case.id}{tag}{end}") for tag in TAGS for end in READABLE]
    return next((path for path in paths if path.exists()), paths[0])


def record_path(output, case):
    """Returns the path of a case's record."""
    return Path(output) / f"{case.id}{SUFFIX}"


def write_record(output, case, record):
    """Writes the record of a case, a dict that JSON can hold, and returns it as it is on disk.

    It has all `FIELDS` but "case", and anything else about how the segmentation was made.
    """
    record = FORMAT | {"case": case.id} | record
    write_json(record_path(output, case), record)
    return record


def read_record(output, case):
    """Returns the dict that `write_record` wrote for a case, or None if there is none.

    If it describes another file than the segmentation, there are no networks: another tool made it.
    Raises an `InputError` that names the file if it is damaged, or another tool's.
    """
    path = record_path(output, case)
    if not path.exists():
        return None
    record = _parse(path)
    if record is None:
        raise InputError(
            f"{path} is another tool's file. Move it and add --overwrite, or give another --output."
        )
    return record if _is_described(record, output, case) else record | {"networks": []}


def read_records(output, cases):
    """Returns the records of those cases that are segmented, and the error of each unusable one.

    Both are dicts by case id.
    """
    found, unusable = {}, {}
    for case in cases:
        path, segmentation = record_path(output, case), segmentation_path(output, case)
        try:
            record = _parse(path) if path.exists() and segmentation.exists() else None
            if not record or record["case"] != case.id:  # Another tool's, or a copy.
                continue
            if not _is_described(record, output, case):
                raise InputError(
                    f"{segmentation} is not the file that {path} describes. Score it with "
                    "--score-only, or segment the case again with --overwrite."
                )
            found[case.id] = record
        except InputError as error:
            unusable[case.id] = str(error)
    return found, unusable


def _is_described(record, output, case):
    """Returns whether the segmentation, if there is one, is the file that the record describes."""
    path = segmentation_path(output, case)
    return not path.exists() or record.get(CHECKSUM) in (None, digest(path))


def region_volumes(record):
    """Returns the ml of each tumor class and of each region that is not one of these, a dict."""
    by_class = [0, *(record["volumes_ml"][name] for name in CLASSES[1:])]
    regions = {name: sum(by_class[index] for index in REGIONS[name]) for name in ("core", "whole")}
    return record["volumes_ml"] | {name: round(ml, 3) for name, ml in regions.items()}


def _parse(path):
    """Returns the record in a file, or None if the file is another tool's."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {shortened(error)}. {REMEDY}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT["format"]:
        return None
    if (version := record.get("version")) != FORMAT["version"]:
        raise InputError(
            f"{path} was written by another version of this program: its version is {version}, "
            f"expected {FORMAT['version']}. {REMEDY}"
        )
    if wrong := [name for name, kind in FIELDS.items() if not isinstance(record.get(name), kind)]:
        raise InputError(f"{path} is damaged: {', '.join(wrong)} missing or wrong. {REMEDY}")
    return record
