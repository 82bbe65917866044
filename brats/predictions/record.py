"""The record of a case: how its segmentation was made, and its scores.

In: what was done with a case. Out: `<case>.json` beside `<case>.nii.gz`. The record is written
last, so it alone says whether a case is done. Tables and the report are derived from the records.
"""

import json
from pathlib import Path

from brats.cases.layouts import EXTENSIONS
from brats.errors import InputError
from brats.files import parse_json, write_json

FORMAT = {"format": "brats-prediction", "version": 1}
# What the readers of records rely on.
FIELDS = {"case": str, "networks": list, "settings": dict, "inputs": dict, "warnings": list}
FIELDS |= {"slices": list, "scores": list}


def segmentation_path(output, case):
    """Returns the path of a case's segmentation; another tool may have left it uncompressed."""
    paths = [Path(output) / f"{case.id}{extension}" for extension in EXTENSIONS]
    return next((path for path in paths if path.exists()), paths[0])


def record_path(output, case):
    """Returns the path of a case's record."""
    return Path(output) / f"{case.id}.json"


def write_record(output, case, record):
    """Writes the record of a case.

    Args:
        output: Folder of predictions.
        case: A `Case`.
        record: Dict that JSON can hold: "networks", a list of "path" and "sha256"; "settings", all
            that the labels depend on; "inputs", as of `brats.inputs`; "warnings", a list of
            sentences; "slices", those drawn; "scores", the rows of `score_case`; and anything else
            about its making.

    Raises:
        OSError: If the file cannot be written.
    """
    write_json(record_path(output, case), FORMAT | {"case": case.id} | record)


def read_record(output, case):
    """Returns the record of a case, or None if there is none.

    Raises:
        InputError: If the file is damaged, or is another tool's; names it.
    """
    path = record_path(output, case)
    if not path.exists():
        return None
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not a record of predict.py: {error}. Remove it.") from error
    parts = record if isinstance(record, dict) else {}
    if {name: parts.get(name) for name in FORMAT} != FORMAT or parts.get("case") != case.id:
        found = json.dumps({name: parts.get(name) for name in (*FORMAT, "case")})
        raise InputError(
            f"{path} is not a record of this version of predict.py: it has {found}. Move it away, "
            "or give another --output."
        )
    wrong = [name for name, kind in FIELDS.items() if not isinstance(parts.get(name), kind)]
    if wrong:
        raise InputError(f"{path} is damaged: it has no {', '.join(wrong)}. Remove it.")
    return record


def read_records(output, cases):
    """Returns the records of those cases that have one, a dict by case id.

    Raises:
        InputError: As `read_record`.
    """
    records = {case.id: read_record(output, case) for case in cases}
    return {case_id: record for case_id, record in records.items() if record}
