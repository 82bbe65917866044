"""Everything that is derived from the records of a folder of predictions.

In: the records and volumes in the folder, and its cases. Out: scores.csv, summary.csv, scores.png
and report.html, made anew every time.
"""

import json
from pathlib import Path

from brats.pictures.boxes import write_score_boxes
from brats.predictions.record import read_records
from brats.report.page import write_report
from brats.scores.tables import describe_summary, write_tables


def write_derived(output, cases, failures):
    """Writes the tables, the box plots and the report of a folder of predictions.

    Args:
        output: Folder of predictions.
        cases: List of `Case`; the report shows those that have a record.
        failures: Dict of case id to message, of cases that failed now. Older scores of these cases
            are left out.

    Returns:
        `(text, unreadable)`: a summary to print, and a dict of case id to message, of the cases
        that could not be read for the report.

    Raises:
        InputError: If a record is damaged; names it.
        OSError: If a file cannot be written.
    """
    output = Path(output)
    records = read_records(output)
    records = {name: record for name, record in records.items() if name not in failures}
    rows = [row for record in records.values() for row in record["scores"]]
    summary = write_tables(output, rows)
    if rows:
        write_score_boxes(output / "scores.png", rows)
    else:
        (output / "scores.png").unlink(missing_ok=True)
    report, unreadable = write_report(output, cases, records, failures)
    lines = [describe_summary(summary)] if summary else []
    if len({json.dumps(each["settings"]) for each in records.values() if each["networks"]}) > 1:
        lines.append(f"Warning: cases in {output} were segmented with different settings.")
    lines.append(f"Segmentations, scores and pictures are in {output}; look at {report}")
    return "\n".join(lines), unreadable
