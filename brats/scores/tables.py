"""Scores of whole segmentations per region, and the tables of a folder.

In: class volumes `(Z, Y, X)` and the size of a voxel. Out: one row per case and region,
statistics over cases, and both as CSV files.
"""

import math
from pathlib import Path

import numpy as np

from brats.editions import REGIONS, region_mask
from brats.errors import InputError
from brats.files import write_table
from brats.scores.distances import ONE_EMPTY_MM, hausdorff_distances
from brats.scores.lesions import lesion_scores
from brats.scores.overlap import dice, precision, sensitivity, specificity

# The columns of scores.csv, in order, and what tables and pictures call them.
TITLES = {
    "dice": "Dice",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "precision": "Precision",
    "hausdorff_mm": "Hausdorff distance (mm)",
    "hausdorff95_mm": "HD95 (mm)",
    "predicted_ml": "Predicted volume (ml)",
    "reference_ml": "Reference volume (ml)",
    "lesion_dice": "Lesion-wise Dice",
    "lesion_hausdorff95_mm": "Lesion-wise HD95 (mm)",
    "num_lesions": "Lesions",
    "num_missed": "Missed lesions",
    "num_false": "False components",
}
METRICS = tuple(TITLES)
# The metrics that the challenge ranks by.
HEADLINES = ("dice", "hausdorff95_mm", "lesion_dice", "lesion_hausdorff95_mm")
WORST = dict.fromkeys(("dice", "sensitivity", "specificity", "precision", "lesion_dice"), 0.0)
WORST |= dict.fromkeys(("hausdorff_mm", "hausdorff95_mm", "lesion_hausdorff95_mm"), ONE_EMPTY_MM)


def score_case(case_id, predicted, reference, spacing_mm, edition):
    """Scores one case in every region.

    Args:
        case_id: Id of the case.
        predicted: Predicted class indices, uint8 `(Z, Y, X)`.
        reference: Reference class indices, uint8 `(Z, Y, X)`.
        spacing_mm: Voxel size along `(z, y, x)`, the order of the arrays. The spacing of a
            `Geometry` is `(x, y, z)`.
        edition: `Edition` whose rules the lesion-wise scores follow.

    Returns:
        List of one dict per region, with "case", "region" and `METRICS` (see `score_masks`).

    Raises:
        InputError: If the volumes differ in shape. The message names the case.
    """
    if predicted.shape != reference.shape:
        raise InputError(
            f"Case {case_id} cannot be scored: the segmentation has shape {predicted.shape}, the "
            f"reference {reference.shape}. Resample them to one grid."
        )
    rows, rules = [], (edition.lesion_dilation, edition.lesion_ignored)
    for region in REGIONS:
        masks = region_mask(predicted, region), region_mask(reference, region)
        rows.append({"case": case_id, "region": region} | score_masks(*masks, spacing_mm, *rules))
    return rows


def score_missing(case_id, reference, spacing_mm, edition):
    """Returns the rows of `score_case` for a case without a segmentation.

    It has the worst scores in every region, also where the reference is empty.
    """
    rows = score_case(case_id, np.zeros_like(reference), reference, spacing_mm, edition)
    return [row | WORST for row in rows]


def score_masks(predicted, reference, spacing_mm, *rules):
    """Returns a dict of `METRICS`, floats and ints; `rules` are those of `lesion_scores`."""
    hausdorff_mm, hausdorff95_mm = hausdorff_distances(predicted, reference, spacing_mm)
    voxel_ml = math.prod(spacing_mm) / 1000
    return {
        "dice": dice(predicted, reference),
        "sensitivity": sensitivity(predicted, reference),
        "specificity": specificity(predicted, reference),
        "precision": precision(predicted, reference),
        "hausdorff_mm": hausdorff_mm,
        "hausdorff95_mm": hausdorff95_mm,
        "predicted_ml": float(np.count_nonzero(predicted) * voxel_ml),
        "reference_ml": float(np.count_nonzero(reference) * voxel_ml),
    } | lesion_scores(predicted, reference, spacing_mm, *rules)


def summarize(rows):
    """Returns the statistics of every region and metric over the cases.

    Args:
        rows: Rows of `score_case`, of at least one case.

    Returns:
        List of dicts with "region", "metric", "cases" (the number of cases), "mean", "std"
        (population), "median", "q25", "q75" (linear interpolation), "max" and "min".
    """
    summary = []
    for region in REGIONS:
        for metric in METRICS:
            values = [row[metric] for row in rows if row["region"] == region]
            q25, median, q75 = np.percentile(values, (25, 50, 75)).tolist()
            row = {"region": region, "metric": metric, "cases": len(values)}
            row |= {"mean": float(np.mean(values)), "std": float(np.std(values))}
            row |= {"median": median, "q25": q25, "q75": q75}
            summary.append(row | {"max": max(values), "min": min(values)})
    return summary


def write_tables(output, rows):
    """Writes scores.csv and summary.csv of rows of `score_case` in any order, into a folder.

    Removes both if there are no rows. Returns the rows of `summarize`.
    """
    tables = Path(output) / "scores.csv", Path(output) / "summary.csv"
    if not rows:
        for path in tables:
            path.unlink(missing_ok=True)
        return []
    rows = sorted(rows, key=lambda row: (row["case"], list(REGIONS).index(row["region"])))
    summary = summarize(rows)
    for path, table in zip(tables, (rows, summary), strict=True):
        write_table(path, table)
    return summary


def describe_summary(summary):
    """Returns the means in the rows of `summarize` as text, for the metrics of the challenge."""
    num_cases = summary[0]["cases"]
    title = f"Mean over {num_cases} case{'s' if num_cases > 1 else ''}"
    lines = [f"{title:<20}" + "".join(f"{name:>{len(name) + 2}}" for name in HEADLINES)]
    for region in REGIONS:
        means = {row["metric"]: row["mean"] for row in summary if row["region"] == region}
        cells = "".join(f"{means[name]:{len(name) + 2}.3f}" for name in HEADLINES)
        lines.append(f"  {region:<18}{cells}")
    return "\n".join(lines)
