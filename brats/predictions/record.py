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
SEGMENTATION_LABELS = "segmentation_labels"  # The field with the values of this flag, if given.


def segmentation_path(output, case):
    """Returns the path of a case's segmentation, which another tool may have named differently."""
    paths = _segmentation_paths(output, case.id)
    return next((path for path in paths if path.exists()), paths[0])


def _segmentation_paths(output, case_id):
    """Returns the paths that the segmentation of a case may have; we write the first."""
    return [Path(output, f"{case_id}{tag}{end}") for tag in TAGS for end in READABLE]


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

    Raises an `InputError` that names the file if it is damaged, or another tool's.
    """
    path = record_path(output, case)
    if not path.exists():
        return None
    record = _parse(path)
    if record is None:
        raise InputError(f"{path} is another tool's file. Move it, or give another --output.")
    return record


def read_records(output):
    """Returns the records of the segmentations in a folder, and the error of each damaged one.

    Both are dicts by case id.
    """
    found, damaged = {}, {}
    for path in sorted(Path(output).glob(f"[!.]*{SUFFIX}")):
        volumes = _segmentation_paths(output, path.stem)
        try:
            record = _parse(path) if any(volume.exists() for volume in volumes) else None
            if record and record["case"] == path.stem:  # A copy has another name.
                found[path.stem] = record
        except InputError as error:
            damaged[path.stem] = str(error)
    return found, damaged


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
