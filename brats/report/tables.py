"""The tables of the report, as HTML.

In: the records of the cases, and rows of statistics over their scores. Out: HTML, in which every
text that comes from a file is escaped.
"""

import json
from html import escape

from brats.editions import REGIONS
from brats.predictions.record import region_volumes
from brats.scores.tables import METRICS, TITLES

STATISTICS = {"std": "SD", "q25": "25 %", "q75": "75 %"}
# Scores that describe the case or the prediction; neither high nor low values are better.
NEUTRAL = {"volume_ml", "predicted_ml", "reference_ml", "num_lesions"}
VOLUME = {"volume_ml": "Volume (ml)"}  # The columns that a case without a reference has, too.


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


def columns_of(records):
    """Returns the columns of the table of cases, pairs of a metric and a region or class.

    Without scores there are only volumes.
    """
    parts = next((region_volumes(record) for record in records), ())
    metrics = METRICS if any(record["scores"] for record in records) else ()
    scores = [(metric, region) for metric in metrics for region in REGIONS]
    return scores + [(metric, part) for metric in VOLUME for part in parts]


def metric_options(columns):
    """Returns the options of the choice of a metric, each with its best end."""
    return "".join(
        f'<option value="{metric}" data-best="{best_end(metric)}">{title}</option>'
        for metric, title in (TITLES | VOLUME).items()
        if metric in dict(columns)
    )


def metric_header(columns):
    """Returns the header cells of the columns."""
    return "".join(
        f'<th scope="col" data-metric="{metric}" aria-sort="none"><button type="button">'
        f"<small>{(TITLES | VOLUME)[metric]}</small> <span>{part}</span></button></th>"
        for metric, part in columns
    )


def metric_cells(columns, record):
    """Returns the cells of one case under `metric_header`."""
    values = {(name, row["region"]): row[name] for row in record["scores"] for name in METRICS}
    values |= {(name, part): ml for name in VOLUME for part, ml in region_volumes(record).items()}
    return "".join(_score_cell(metric, values.get((metric, part))) for metric, part in columns)


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
