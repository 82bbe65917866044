"""The report: one HTML file with settings, scores, pictures and a viewer of every case.

In: a folder of predictions (<case>.nii.gz, and as far as they exist config.json, scores.csv,
summary.csv and scores.png) and its cases. Out: report.html in that folder, which opens from disk
without network.
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
from brats.files import read_table, replacing
from brats.pictures.overlays import CLASS_COLORS
from brats.predictions.evaluation import segmentation_path
from brats.predictions.record import read_record
from brats.report.images import MAX_GRAY, read_case_images
from brats.report.tables import (
    KEYS,
    dice_cards,
    metric_options,
    score_cells,
    score_header,
    settings_table,
    summary_table,
)

VIEWER = Path(__file__).with_name("viewer")  # The template, its style and its scripts.


def write_report(folder, cases, failures=None):
    """Writes report.html into a folder of predictions.

    One case is in memory at a time. The same files give the same bytes.

    Args:
        folder: Folder of predictions.
        cases: List of `Case`; those with a segmentation in the folder are shown.
        failures: Dict of case id to message, of cases that were not segmented or not scored.

    Returns:
        `(path, unreadable)`: the `Path` of the report, and a dict of case id to message, of the
        cases whose files could not be read for it. They are shown as failed, too.

    Raises:
        InputError: If config.json is damaged.
        OSError: If the report or a temporary file cannot be written.
    """
    folder, failures = Path(folder), failures or {}
    shown = {case.id: case for case in cases if segmentation_path(folder, case).exists()}
    table = read_table(folder / "scores.csv")
    metrics = [name for name in (table[0] if table else ()) if name not in KEYS]
    scores = {}
    for row in table:
        scores.setdefault(row["case"], {})[row["region"]] = row
    before, after = map(Template, _read_part("report.html").split("<!-- cases -->"))
    path, unreadable = folder / "report.html", {}
    text = {"mode": "w+", "encoding": "utf-8", "newline": ""}
    # What stands above the rows says which cases failed, which is known after the last row.
    with (
        replacing(path) as temporary,
        open(temporary, **text) as file,
        tempfile.TemporaryFile(**text, dir=folder) as rows,
    ):
        for case_id in sorted(shown.keys() | failures.keys()):
            if case_id in failures:
                rows.write(_failed_row(case_id, metrics, failures[case_id]))
                continue
            try:
                images = read_case_images(folder, shown[case_id])
            except InputError as error:
                unreadable[case_id] = str(error)
                rows.write(_failed_row(case_id, metrics, error))
            else:
                rows.write(_case_row(case_id, metrics, scores.get(case_id, {}), images))
        file.write(before.substitute(_top(folder, metrics, shown, failures | unreadable)))
        rows.seek(0)
        shutil.copyfileobj(rows, file)
        file.write(after.substitute(_bottom()))
    return path, unreadable


def json_for_html(value):
    """Returns JSON text that cannot end the script element it stands in."""
    return json.dumps(value).replace("<", r"\u003c")


def _top(folder, metrics, shown, failures):
    """Returns what stands above the rows of the cases, by its name in the template."""
    summary = read_table(folder / "summary.csv")
    settings = read_record(folder)
    networks = " and ".join(map(str, settings.get("networks", ())))
    if settings.get("method", {}).get("cross_validate"):
        networks = f"those of {networks} that were not trained on each"
    network = f", segmented by {networks}" if networks else ""
    num_cases = len(shown.keys() - failures.keys())
    cases = f"{num_cases} case" + ("" if num_cases == 1 else "s")
    failed = "".join(
        f"<li><b>{escape(case_id)}</b> {escape(str(message))}</li>"
        for case_id, message in sorted(failures.items())
    )
    return {
        "style": _read_part("report.css"),
        "lead": escape(cases + network),
        "failures": f"<section class='failures'><h2>Failed</h2><ul>{failed}</ul></section>"
        if failed
        else "",
        "cards": dice_cards(summary),
        "boxes": _box_plots(folder / "scores.png"),
        "summary": summary_table(summary),
        "settings": settings_table(settings),
        "metrics": metric_options(metrics),
        "without_scores": "" if metrics else "hidden",
        "header": score_header(metrics),
    }


def _bottom():
    """Returns what stands below the rows of the cases, by its name in the template."""
    colors = [[round(255 * value) for value in color] for color in CLASS_COLORS]
    legend = "".join(
        f'<li><span class="swatch" style="background: rgb{tuple(color)}"></span>{name}</li>'
        for name, color in zip(CLASSES[1:], colors, strict=True)
    )
    return {
        "legend": legend,
        "facts": json_for_html({"colors": colors, "core": REGIONS["core"], "maxGray": MAX_GRAY}),
        "niivue": _read_part("niivue.umd.js"),
        "script": _read_part("report.js"),
        "license": escape(_read_part("niivue.LICENSE.txt")),
    }


def _case_row(case_id, metrics, rows, images):
    """Returns the table row of a case, which carries the volumes for the viewer."""
    name = escape(case_id)
    volumes = "".join(
        f'\n<script type="text/plain" data-volume="{volume}">{_base64(content)}</script>'
        for volume, content in images.volumes.items()
    )
    first, start = (" ".join(map(str, reversed(index))) for index in (images.first, images.start))
    return (
        f'<tr data-case="{name}" data-first="{first}" data-start="{start}">'
        f'<th scope="row"><button type="button" class="open">{name}</button></th>'
        f'<td><img class="open" alt="Slice {images.start[0]} of {name}" title="Open the viewer" '
        f'src="{_data_url(images.thumbnail)}"></td>'
        f"{score_cells(metrics, rows)}{volumes}</tr>\n"
    )


def _failed_row(case_id, metrics, message):
    return (
        f'<tr class="failed" data-case="{escape(case_id)}"><th scope="row">{escape(case_id)}</th>'
        f"<td>Failed: {escape(str(message))}</td>{score_cells(metrics, {})}</tr>\n"
    )


def _box_plots(path):
    if not path.exists():
        return ""
    return f'<img alt="Box plots of the scores by region" src="{_data_url(path.read_bytes())}">'


def _data_url(png):
    return f"data:image/png;base64,{_base64(png)}"


def _base64(content):
    return base64.b64encode(content).decode("ascii")


def _read_part(name):
    return (VIEWER / name).read_text(encoding="utf-8")
