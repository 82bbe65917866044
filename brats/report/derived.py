"""Everything that is derived from the records of a folder of predictions.

In: the records and volumes in the folder, and its cases. Out: volumes.csv, scores.csv,
summary.csv, scores.png and report.html, made anew every time; and in the folder `report` a file
for each case whose images are new or have changed.
"""

import itertools
import json
from pathlib import Path

from brats.errors import InputError
from brats.files import prepare_folder, write_table
from brats.pictures.boxes import write_score_boxes
from brats.predictions.record import SEGMENTATION_LABELS, SUFFIX, read_records, region_volumes
from brats.predictions.scoring import missed_scores
from brats.report.case_files import FOLDER, update_case_file
from brats.report.page import write_report
from brats.scores.tables import describe_summary, write_tables


def write_derived(output, cases, failures, missing=()):
    """Writes the tables, the box plots and the report of a folder of predictions.

    Args:
        output: Folder of predictions.
        cases: List of `Case`; the tables and the report show those that have a record.
        failures: Dict of case id to message, of cases that failed. They are left out.
        missing: List of `Case`s that have no segmentation and count as missed.

    Returns:
        `(text, unreadable)`: a summary to print, and a dict of case id to message, of the cases
        whose record or images could not be read.
    """
    output = Path(output)
    prepare_folder(output / FOLDER)
    records, damaged = read_records(output, cases)
    unreadable = {name: text for name, text in damaged.items() if name not in failures}
    heads, missed = {}, {}
    for case in cases:
        try:
            if case in missing:
                missed[case.id] = missed_scores(case)
            elif case.id in records.keys() - failures.keys():
                labels = records[case.id].get(SEGMENTATION_LABELS, ())
                heads[case.id] = update_case_file(output, case, labels)
        except InputError as error:
            unreadable[case.id] = str(error)
    failures = failures | unreadable
    records = {name: record for name, record in records.items() if name not in failures}
    rows = [row for record in records.values() for row in record["scores"]]
    rows += itertools.chain(*missed.values())
    lines = _write_tables(output, records, rows)
    if len({json.dumps(each["settings"]) for each in records.values() if each["networks"]}) > 1:
        lines.append(f"Warning: cases in {output} were segmented with different settings.")
    others = {path.stem for path in output.glob(f"[!.]*{SUFFIX}")} - {case.id for case in cases}
    others = [name for name in others - failures.keys() if (output / f"{name}.nii.gz").exists()]
    if others:
        lines.append(
            f"Tables and report leave out {len(others)} older results: of no case found now."
        )
    notes = failures | dict.fromkeys(missed, "No segmentation: counts as missed.")
    report = write_report(output, records, heads, notes, rows)
    if records:
        made = "Segmentations, scores and pictures" if rows else "Segmentations and pictures"
        lines.append(f"{made} are in {output}; look at {report}")
    return "\n".join(lines), unreadable


def _write_tables(output, records, rows):
    """Writes the tables and the box plots, or removes empty ones; returns lines on the scores."""
    volumes = [
        {"case": name} | {f"{part}_ml": ml for part, ml in region_volumes(record).items()}
        for name, record in records.items()
    ]
    for name, write, content in (
        ("volumes.csv", write_table, volumes),
        ("scores.png", write_score_boxes, rows),
    ):
        if content:
            write(output / name, content)
        else:
            (output / name).unlink(missing_ok=True)
    summary = write_tables(output, rows)
    return [describe_summary(summary)] if summary else []
