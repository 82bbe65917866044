"""The tables of the report, as HTML.

In: rows of scores, rows of their statistics, and the records of the cases. Out: HTML, in which
every text that comes from a file is escaped.
"""

import json
from html import escape

from brats.editions import REGIONS
from brats.scores.tables import TITLES

STATISTICS = {"std": "SD", "q25": "25 %", "q75": "75 %"}
# Scores that describe the case or the prediction; neither high nor low values are better.
NEUTRAL = {"predicted_ml", "reference_ml", "num_lesions"}


def best_end(metric):
    """Returns which end of a score is the best: "max", "min", or "" for neutral scores."""
    if metric in NEUTRAL:
        return ""
    return "max" if _is_share(metric) else "min"


def format_score(metric, value):
    """Returns a score as text: shares with three decimals, others with one, counts as integers."""
    if _is_share(metric):
        return f"{value:.3f}"
    text = f"{value:.1f}"  # The mean of counts may have a decimal.
    return text.removesuffix(".0") if metric.startswith("num_") else text


def dice_cards(summary):
    """Returns the mean Dice of every region in large figures, or nothing without scores."""
    return "".join(
        f'<div class="card"><span class="region">{row["region"]}</span>'
        f'<span class="figure">{format_score("dice", row["mean"])}</span>'
        f'<span class="note">mean Dice, median {format_score("dice", row["median"])}, '
        f"{row['cases']} case{'s' if row['cases'] > 1 else ''}</span></div>"
        for row in summary
        if row["metric"] == "dice"
    )


def summary_table(summary):
    """Returns the table of statistics: one line per score and region."""
    if not summary:
        return "<p>No scores: there is no reference.</p>"
    columns = [name for name in summary[0] if name not in ("region", "metric")]
    titles = ["score", "region", *(STATISTICS.get(name, name) for name in columns)]
    header = "".join(f'<th scope="col">{title}</th>' for title in titles)
    lines = []
    for row in summary:
        numbers = {name: format_score(row["metric"], row[name]) for name in columns}
        numbers["cases"] = row["cases"]
        cells = "".join(f"<td>{number}</td>" for number in numbers.values())
        title = f'<th scope="row">{TITLES[row["metric"]]}</th>'
        lines.append(f"<tr>{title}<td>{row['region']}</td>{cells}</tr>\n")
    return f"<table><thead><tr>{header}</tr></thead>\n<tbody>{''.join(lines)}</tbody></table>"


def union_of_networks(records):
    """Returns the networks of all records, each once, in the order of their first use."""
    networks = {json.dumps(network): network for each in records for network in each["networks"]}
    return list(networks.values())


def settings_table(records):
    """Returns the table of how the cases were segmented; where they differ, with all values."""
    networks = union_of_networks(records)
    rows = [("network", f"{each['path']}, SHA-256 {each['sha256']}") for each in networks]
    texts = {}
    for record in records:
        parts = {name: record.get(name) for name in ("settings", "device", "versions", "commit")}
        for name, text in _flatten(parts):
            texts.setdefault(name, {})[text] = None
    rows += [(name, " or ".join(values)) for name, values in texts.items()]
    row = '<tr><th scope="row">{}</th><td>{}</td></tr>\n'
    return f"<table>{''.join(row.format(*map(escape, pair)) for pair in rows)}</table>"


def metric_options(metrics):
    """Returns the options of the choice of a score, each with its best end."""
    return "".join(
        f'<option value="{metric}" data-best="{best_end(metric)}">{TITLES[metric]}</option>'
        for metric in metrics
    )


def score_header(metrics):
    """Returns the header cells of the table of cases: one per score and region."""
    return "".join(
        f'<th scope="col" data-metric="{metric}" aria-sort="none"><button type="button">'
        f"<small>{TITLES[metric]}</small> <span>{region}</span></button></th>"
        for metric in metrics
        for region in REGIONS
    )


def score_cells(metrics, rows):
    """Returns the cells of one case under `score_header`; a case without scores has no rows."""
    values = {row["region"]: row for row in rows}
    return "".join(
        _score_cell(metric, values[region][metric] if rows else None)
        for metric in metrics
        for region in REGIONS
    )


def _score_cell(metric, value):
    if value is None:
        return f'<td data-metric="{metric}">–</td>'
    number = format_score(metric, value)
    bar = f' style="--share: {number}"' if _is_share(metric) else ""
    return f'<td data-metric="{metric}" data-value="{value!r}"{bar}>{number}</td>'


def _is_share(metric):
    """Returns whether a score lies in [0, 1]; it does if it has no unit and is no count."""
    return not metric.endswith(("_mm", "_ml")) and not metric.startswith("num_")


def _flatten(settings, prefix=""):
    """Yields the name and text of every setting; those of nested dicts are "outer.inner"."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
