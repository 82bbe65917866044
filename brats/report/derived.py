"""Everything that is derived from the records of a folder of predictions.

In: the records and volumes in the folder, and its cases. Out: volumes.csv, scores.csv,
summary.csv, scores.png and report.html, made anew every time; and in the folder `report` a file
for each case whose images are new or have changed.
"""

import json
from pathlib import Path

from brats.errors import InputError
from brats.files import prepare_folder, write_table
from brats.pictures.boxes import write_score_boxes
from brats.predictions.record import (
    FAILED,
    SEGMENTATION_LABELS,
    note_failures,
    read_records,
    region_volumes,
)
from brats.predictions.scoring import missed_record
from brats.report.case_files import FOLDER, remove_other_case_files, update_case_file
from brats.report.page import write_report
from brats.scores.tables import describe_summary, write_tables


def write_derived(output, cases, failures, missing=()):
    """Writes the tables, the box plots and the report of a folder of predictions.

    A case that failed is left out until it is done again: its record says so.

    Args:
        output: Folder of predictions.
        cases: List of `Case`; the report shows those that have a record.
        failures: Dict of case id to message, of cases that failed now.
        missing: List of `Case`s that have no segmentation and count as missed.

    Returns:
        `(text, unreadable)`: a summary to print, and a dict of case id to message, of the cases
        whose record or images could not be read.

    Raises:
        OSError: If a file cannot be written.
    """
    output = Path(output)
    prepare_folder(output / FOLDER)
    records, damaged = read_records(output)
    remove_other_case_files(output, records.keys())
    note_failures(output, records, failures)
    before = {name: str(each[FAILED]) for name, each in records.items() if FAILED in each}
    before = {name: reason for name, reason in before.items() if name not in failures}
    unreadable = {name: text for name, text in damaged.items() if name not in failures}
    failures = before | failures | unreadable
    heads, missed = {}, {}
    for case in cases:
        try:
            if case in missing:
                missed[case.id] = missed_record(case)
            elif case.id in records.keys() - failures.keys():
                labels = records[case.id].get(SEGMENTATION_LABELS, ())
                heads[case.id] = update_case_file(output, case, labels)
        except InputError as error:
            unreadable[case.id] = failures[case.id] = str(error)
    records = {name: records[name] for name in records if name not in failures}
    lines = _write_tables(output, records, missed)
    if before:
        lines.append(f"Warning: cases that failed before are left out: {', '.join(before)}.")
    if len({json.dumps(each["settings"]) for each in records.values() if each["networks"]}) > 1:
        lines.append(f"Warning: cases in {output} were segmented with different settings.")
    report = write_report(output, records, heads, failures, missed)
    lines.append(f"Segmentations, scores and pictures are in {output}; look at {report}")
    return "\n".join(lines), unreadable


def _write_tables(output, records, missed):
    """Writes the tables and the box plots, or removes empty ones; returns lines on the scores."""
    rows = [
        {"case": name} | {f"{part}_ml": ml for part, ml in region_volumes(record).items()}
        for name, record in records.items()
    ]
    if rows:
        write_table(output / "volumes.csv", rows)
    else:
        (output / "volumes.csv").unlink(missing_ok=True)
    rows = [row for record in (records | missed).values() for row in record["scores"]]
    summary = write_tables(output, rows)
    if rows:
        write_score_boxes(output / "scores.png", rows)
    else:
        (output / "scores.png").unlink(missing_ok=True)
    return [describe_summary(summary)] if summary else []
