"""The report: one HTML file with settings, scores, volumes, pictures and a viewer of every case.

In: a folder of predictions (the files of cases, and scores.png if there are scores) and the
records. Out: report.html in that folder, which opens from disk without a network.
"""

import base64
import json
import re
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import quote

from brats.editions import CLASSES, MODALITIES, REGIONS
from brats.files import replacing
from brats.pictures.overlays import CLASS_COLORS, MODALITY_NAMES
from brats.report import tables
from brats.report.case_files import FOLDER, SUFFIX
from brats.report.images import MAX_GRAY
from brats.scores.tables import summarize

VIEWER = Path(__file__).with_name("viewer")  # The template, its style and its scripts.


def write_report(output, records, heads, notes, scores):
    """Writes report.html and returns its path; the same arguments give the same bytes.

    `records`, `heads` (as of `update_case_file`, of the cases to show) and `notes` (sentences about
    other cases) are dicts by case id; `scores` are rows of `score_case`.
    """
    path = Path(output) / "report.html"
    shown = {case_id: records[case_id] for case_id in sorted(heads)}
    columns = tables.columns_of(shown.values())
    parts = _constant_parts() | {
        "lead": escape(_describe(list(shown.values()))),
        "notes": _list_notes(notes),
        "settings": tables.settings_table(shown.values()),
        "header": tables.metric_header(columns),
        "rows": "".join(_case_row(record, columns, heads[name]) for name, record in shown.items()),
    }
    template = _read_part("report.html")
    if scores:
        summary = summarize(scores)
        parts["cards"] = tables.dice_cards(summary)
        parts["boxes"] = base64.b64encode(path.with_name("scores.png").read_bytes()).decode()
        parts["summary"] = tables.summary_table(summary)
        parts["metrics"] = tables.metric_options(columns)
    for name in [name for name, each in (("scores", scores), ("cases", shown)) if not each]:
        template = re.sub(f"(?s)<!-- {name} -->.*?<!-- end of {name} -->\n", "", template)
    # A name that is not UTF-8 stands in the page with an escape.
    text = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    with replacing(path) as temporary:
        temporary.write_text(Template(template).substitute(parts), **text)
    return path


def _describe(records):
    """Returns how many cases there are, and which networks segmented them."""
    cases = f"{len(records) or 'No'} case{'' if len(records) == 1 else 's'}"
    networks = tables.union_of_networks(records)
    names = " and ".join(network["path"] for network in networks)
    by_all = all(record["networks"] == networks for record in records)
    how = "segmented by" if by_all else "each segmented by some of"
    return f"{cases}, {how} {names}" if networks else cases


def _list_notes(notes):
    items = "".join(
        f"<li><b>{escape(case_id)}</b> {escape(sentence)}</li>"
        for case_id, sentence in sorted(notes.items())
    )
    title = "<h2>Failed or missing</h2>"
    return f'<section class="notes">{title}<ul>{items}</ul></section>' if items else ""


def _constant_parts():
    """Returns the parts of the page that are the same for all predictions, by name."""
    colors = [[round(255 * value) for value in color] for color in CLASS_COLORS]
    legend = "".join(
        f'<li><span class="swatch" style="background: rgb{tuple(color)}"></span>{name}</li>'
        for name, color in zip(CLASSES[1:], colors, strict=True)
    )
    names = zip(MODALITIES, MODALITY_NAMES, strict=True)
    backgrounds = "".join(f'<option value="{key}">{name}</option>' for key, name in names)
    return {
        "style": _read_part("report.css"),
        "backgrounds": backgrounds,
        "legend": legend,
        "facts": json.dumps({"colors": colors, "core": REGIONS["core"], "maxGray": MAX_GRAY}),
        "niivue": _read_part("niivue.umd.js"),
        "script": _read_part("report.js"),
        "license": escape(_read_part("niivue.LICENSE.txt")),
    }


def _case_row(record, columns, head):
    """Returns the table row of a case, which names the file with its volumes."""
    name = escape(record["case"])
    warnings = _list_warnings(record["warnings"])
    first, start = (" ".join(map(str, reversed(head[index]))) for index in ("first", "start"))
    address = escape(quote(f"{FOLDER}/{record['case']}{SUFFIX}", errors="surrogateescape"))
    return (
        f'<tr data-case="{name}" data-file="{address}" data-first="{first}" data-start="{start}">'
        f'<th scope="row"><button type="button" class="open">{name}</button>{warnings}</th>'
        f'<td><img class="open" alt="Slice {head["start"][0]} of {name}" title="Open the viewer" '
        f'src="data:image/png;base64,{head["thumbnail"]}"></td>'
        f"{tables.metric_cells(columns, record)}</tr>\n"
    )


def _list_warnings(warnings):
    if not warnings:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in warnings)
    title = f"{len(warnings)} warning{'' if len(warnings) == 1 else 's'}"
    return f'<details class="warnings"><summary>{title}</summary><ul>{items}</ul></details>'


def _read_part(name):
    return (VIEWER / name).read_text(encoding="utf-8")
