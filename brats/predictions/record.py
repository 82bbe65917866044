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
from brats.scores.tables import METRICS

SUFFIX = ".json"
TAGS = ("", "_pred", "-pred")  # What names of segmentations add to the case; we add nothing.
FORMAT = {"format": "brats-prediction", "version": 2}
# What the readers of records rely on: a type, a list or a dict of any length, or named fields.
FIELDS = {
    "case": str,
    "networks": [{"path": str, "sha256": str}],
    "settings": {},
    "inputs": {...: {}},
    "warnings": [str],
    "slices": [int],
    "volumes_ml": dict.fromkeys(CLASSES[1:], float),
    "scores": [{"case": str, "region": str} | dict.fromkeys(METRICS, float)],
}
SEGMENTATION_LABELS = "segmentation_labels"  # The field with the values of this flag, if given.
FAILED = "failed"  # The field of a record whose case failed since, with the reason.
LARGEST = 1e9  # Numbers beyond it, and those that are not finite, have no meaning in a record.


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
    """Writes the record of a case.

    Args:
        output: Folder of predictions.
        case: A `Case`.
        record: Dict that JSON can hold: "networks", a list of "path" and "sha256", empty for the
            segmentation of another tool; "settings", all else that the labels depend on; "inputs",
            as of `brats.inputs`; "warnings", a list of sentences; "slices", those to draw;
            "volumes_ml", a dict from tumor class to ml; "scores", the rows of `score_case`, none
            without a reference; and anything else about its making.

    Returns:
        The dict as it is on disk.

    Raises:
        OSError: If the file cannot be written.
    """
    record = FORMAT | {"case": case.id} | record
    write_json(record_path(output, case), record)
    return record


def read_record(output, case):
    """Reads the record of a case.

    Args:
        output: Folder of predictions.
        case: A `Case`.

    Returns:
        The dict that `write_record` wrote, or None if there is none.

    Raises:
        InputError: If the file is damaged, or another tool's; names it.
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
        except InputError as error:
            damaged[path.stem] = str(error)
            continue
        if record and record["case"] == path.stem:  # A copy has another name.
            found[record["case"]] = record
    return found, damaged


def region_volumes(record):
    """Returns the ml of each tumor class and of each region that is not one of these, a dict."""
    by_class = [0, *(record["volumes_ml"][name] for name in CLASSES[1:])]
    regions = {name: sum(by_class[index] for index in REGIONS[name]) for name in ("core", "whole")}
    return record["volumes_ml"] | {name: round(ml, 3) for name, ml in regions.items()}


def note_failures(output, records, failures):
    """Notes in the records of cases why they failed. The note goes when they are done again.

    `records` and `failures`, the reasons, are dicts by case id. The records here change, too.
    """
    for case_id in records.keys() & failures.keys():
        if records[case_id].get(FAILED) != failures[case_id]:
            records[case_id][FAILED] = failures[case_id]
            write_json(Path(output, f"{case_id}{SUFFIX}"), records[case_id])


def _parse(path):
    """Returns the record in a file, or None if the file is another tool's."""
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged: {shortened(error)}. Remove it.") from error
    parts = record if isinstance(record, dict) else {}
    if parts.get("format") != FORMAT["format"]:
        return None
    if (version := parts.get("version")) != FORMAT["version"]:
        raise InputError(
            f"{path} was written by another version of this program: its version is {version}, "
            f"expected {FORMAT['version']}. Segment the case again with --overwrite, or give "
            "another --output."
        )
    wrong = [name for name, form in FIELDS.items() if not _has_form(parts.get(name), form)]
    regions = [] if wrong else [row["region"] for row in record["scores"]]
    if wrong or regions not in ([], list(REGIONS)):
        raise InputError(
            f"{path} is damaged: wrong is {', '.join(wrong) or 'a region'}. Remove it, or segment "
            "the case again with --overwrite."
        )
    return record


def _has_form(value, form):
    """Returns whether a value of JSON has a form of `FIELDS`; a float may be written as an int."""
    if isinstance(form, list):
        return isinstance(value, list) and all(_has_form(each, form[0]) for each in value)
    if isinstance(form, dict):
        return isinstance(value, dict) and all(
            name in value and _has_form(value[name], kind)
            for name, kind in (dict.fromkeys(value, form[...]) if ... in form else form).items()
        )
    if form in (int, float):
        return type(value) in (int, form) and abs(value) < LARGEST
    return isinstance(value, form)
