"""The report: one HTML file with settings, scores, pictures and a viewer of every case.

In: a folder of predictions (<case>.nii.gz, and scores.png if there are scores), its cases and
their records. Out: report.html in that folder, which opens from disk without a network.
"""

import base64
import json
import shutil
import tempfile
from html import escape
from pathlib import Path
from string import Template

from brats.editions import CLASSES, REGIONS
from brats.errors import InputError
from brats.files import replacing
from brats.pictures.overlays import CLASS_COLORS
from brats.predictions.record import segmentation_path
from brats.report import tables
from brats.report.images import MAX_GRAY, read_case_images
from brats.scores.tables import METRICS, summarize

VIEWER = Path(__file__).with_name("viewer")  # The template, its style and its scripts.


def write_report(output, cases, records, failures):
    """Writes report.html; returns its path, and the error of each case that could not be read.

    One case is in memory at a time. The same files give the same bytes. `failures` has the error
    of each case that could not be segmented or scored; these are listed without their records.
    """
    output = Path(output)
    shown = {
        case.id: case
        for case in cases
        if case.id in records.keys() - failures.keys() and segmentation_path(output, case).exists()
    }
    records = {case_id: records[case_id] for case_id in sorted(shown)}
    scores = [row for record in records.values() for row in record["scores"]]
    metrics = METRICS if scores else ()
    before, after = map(Template, _read_part("report.html").split("<!-- cases -->"))
    path, unreadable = output / "report.html", {}
    text = {"mode": "w+", "encoding": "utf-8", "newline": ""}
    # The list of failures stands above the rows, and is known after the last row.
    with (
        replacing(path) as temporary,
        open(temporary, **text) as file,
        tempfile.TemporaryFile(**text, dir=output) as rows,
    ):
        for case_id in sorted(shown.keys() | failures.keys()):
            if case_id in shown:
                try:
                    images = read_case_images(output, shown[case_id])
                    rows.write(_case_row(records[case_id], metrics, images))
                    continue
                except InputError as error:
                    unreadable[case_id] = str(error)
            rows.write(_failed_row(case_id, metrics, (failures | unreadable)[case_id]))
        readable = [each for case_id, each in records.items() if case_id not in unreadable]
        top = _top(output, readable, metrics, summarize(scores) if scores else [])
        top["failures"] = _list_failures(failures | unreadable)
        file.write(before.substitute(top))
        rows.seek(0)
        shutil.copyfileobj(rows, file)
        file.write(after.substitute(_bottom()))
    return path, unreadable


def _top(output, records, metrics, summary):
    """Returns what stands above the rows of the cases, by its name in the template."""
    plots = output / "scores.png"
    alt = "Box plots of the scores by region"
    has_plots = summary and plots.exists()
    return {
        "style": _read_part("report.css"),
        "lead": escape(_describe(records)),
        "cards": tables.dice_cards(summary),
        "boxes": f'<img alt="{alt}" src="{_data_url(plots.read_bytes())}">' if has_plots else "",
        "summary": tables.summary_table(summary),
        "settings": tables.settings_table(records),
        "metrics": tables.metric_options(metrics),
        "without_scores": "" if metrics else "hidden",
        "header": tables.score_header(metrics),
    }


def _describe(records):
    """Returns how many cases there are, and which networks segmented them."""
    cases = f"{len(records)} case{'' if len(records) == 1 else 's'}"
    networks = tables.union_of_networks(records)
    names = " and ".join(network["path"] for network in networks)
    by_all = all(record["networks"] == networks for record in records)
    how = "segmented by" if by_all else "each segmented by some of"
    return f"{cases}, {how} {names}" if networks else cases


def _list_failures(failures):
    items = "".join(
        f"<li><b>{escape(case_id)}</b> {escape(message)}</li>"
        for case_id, message in sorted(failures.items())
    )
    return f'<section class="failures"><h2>Failed</h2><ul>{items}</ul></section>' if items else ""


def _bottom():
    """Returns what stands below the rows of the cases, by its name in the template."""
    colors = [[round(255 * value) for value in color] for color in CLASS_COLORS]
    legend = "".join(
        f'<li><span class="swatch" style="background: rgb{tuple(color)}"></span>{name}</li>'
        for name, color in zip(CLASSES[1:], colors, strict=True)
    )
    return {
        "legend": legend,
        "facts": json.dumps({"colors": colors, "core": REGIONS["core"], "maxGray": MAX_GRAY}),
        "niivue": _read_part("niivue.umd.js"),
        "script": _read_part("report.js"),
        "license": escape(_read_part("niivue.LICENSE.txt")),
    }


def _case_row(record, metrics, images):
    """Returns the table row of a case, which carries the volumes for the viewer."""
    name = escape(record["case"])
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in record["warnings"])
    volumes = "".join(
        f'\n<script type="text/plain" data-volume="{volume}">{_base64(content)}</script>'
        for volume, content in images.volumes.items()
    )
    first, start = (" ".join(map(str, reversed(index))) for index in (images.first, images.start))
    return (
        f'<tr data-case="{name}" data-first="{first}" data-start="{start}">'
        f'<th scope="row"><button type="button" class="open">{name}</button>{warnings}</th>'
        f'<td><img class="open" alt="Slice {images.start[0]} of {name}" title="Open the viewer" '
        f'src="{_data_url(images.thumbnail)}"></td>'
        f"{tables.score_cells(metrics, record['scores'])}{volumes}</tr>\n"
    )


def _failed_row(case_id, metrics, message):
    return (
        f'<tr class="failed" data-case="{escape(case_id)}"><th scope="row">{escape(case_id)}</th>'
        f"<td>Failed: {escape(message)}</td>{tables.score_cells(metrics, [])}</tr>\n"
    )


def _data_url(png):
    return f"data:image/png;base64,{_base64(png)}"


def _base64(content):
    return base64.b64encode(content).decode("ascii")


def _read_part(name):
    return (VIEWER / name).read_text(encoding="utf-8")
