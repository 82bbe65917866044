"""The tables of the report, as HTML.

In: rows of scores.csv and summary.csv, and the settings of config.json. Out: text of HTML, every
word that comes from a file escaped. Whatever scores the tables hold are shown.
"""

import json
import math
from html import escape

from brats.editions import REGIONS
from brats.scores.tables import TITLES

KEYS = ("case", "region", "metric")  # Columns that are no scores.
STATISTICS = {"std": "SD", "q25": "25 %", "q75": "75 %"}
UNITS = {"mm", "ml"}
COUNT = "number"  # The unit of what is called `num_*`.
FACTS = {"predicted_ml", "reference_ml", "num_lesions"}
NOTHING = "–"


def metric_label(metric):
    """Returns a score's name for people, and of a score that is not ours the column's."""
    return TITLES.get(metric, metric)


def best_end(metric):
    """Returns which end of a score is the best: "max", "min", or "" for facts of the case."""
    if metric in FACTS:
        return ""
    return "min" if _find_unit(metric) in ("mm", COUNT) else "max"


def format_score(metric, text):
    """Returns a score in three decimals, in one if it has a unit, or a dash if there is none."""
    try:
        value = float(text)
    except ValueError:
        return NOTHING
    if math.isnan(value):
        return NOTHING
    unit = _find_unit(metric)
    if unit == COUNT:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.1f}" if unit else f"{value:.3f}"


def dice_cards(summary):
    """Returns the mean Dice of every region in large figures; nothing without scores."""
    return "".join(
        f'<div class="card"><span class="region">{escape(row["region"])}</span>'
        f'<span class="figure">{format_score("dice", row["mean"])}</span>'
        f'<span class="note">mean Dice, median {format_score("dice", row["median"])}, '
        f"{escape(row['cases'])} cases</span></div>"
        for row in summary
        if row["metric"] == "dice"
    )


def summary_table(summary):
    """Returns the table of statistics: one line per score and region."""
    if not summary:
        return "<p>No scores: there is no ground truth.</p>"
    columns = [name for name in summary[0] if name not in KEYS]
    titles = ["score", "region", *(STATISTICS.get(name, name) for name in columns)]
    header = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    lines = []
    for row in summary:
        numbers = {name: format_score(row["metric"], row[name]) for name in columns}
        numbers["cases"] = escape(row["cases"])
        cells = "".join(f"<td>{number}</td>" for number in numbers.values())
        lines.append(
            f'<tr><th scope="row">{escape(metric_label(row["metric"]))}</th>'
            f"<td>{escape(row['region'])}</td>{cells}</tr>\n"
        )
    return f"<table><thead><tr>{header}</tr></thead>\n<tbody>{''.join(lines)}</tbody></table>"


def settings_table(settings):
    """Returns the table of a run's settings, those of nested dicts as "outer.inner"."""
    if not settings:
        return "<p>The folder has no config.json.</p>"
    return "<table>" + "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>\n'
        for name, text in _flatten(settings)
    ) + "</table>"  # fmt: skip


def metric_options(metrics):
    """Returns the options of the choice of a score, each with its best end."""
    return "".join(
        f'<option value="{escape(metric)}" data-best="{best_end(metric)}">'
        f"{escape(metric_label(metric))}</option>"
        for metric in metrics
    )


def score_header(metrics):
    """Returns the header cells of the table of cases: one per score and region, to sort by."""
    return "".join(
        f'<th scope="col" data-metric="{escape(metric)}" aria-sort="none"><button type="button">'
        f"<small>{escape(metric_label(metric))}</small> <span>{region}</span></button></th>"
        for metric in metrics
        for region in REGIONS
    )


def score_cells(metrics, rows):
    """Returns the cells of one case under `score_header`.

    Args:
        metrics: Names of the scores.
        rows: Dict of region to row of scores.csv; empty for a case without scores.
    """
    return "".join(
        _score_cell(metric, rows.get(region, {}).get(metric, ""))
        for metric in metrics
        for region in REGIONS
    )


def _score_cell(metric, text):
    number = format_score(metric, text)
    attributes = "" if number == NOTHING else f' data-value="{float(text)!r}"'
    if attributes and not _find_unit(metric):
        attributes += f' style="--share: {number}"'
    return f'<td data-metric="{escape(metric)}"{attributes}>{number}</td>'


def _find_unit(metric):
    """Returns the unit that the name of a score ends in, "" if it has none."""
    unit = metric.rpartition("_")[2]
    if unit in UNITS:
        return unit
    return COUNT if metric.startswith("num_") else ""


def _flatten(settings, prefix=""):
    """Yields name and text of every setting."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
