"""Scores of whole segmentations against ground truth, per region.

In: class volumes `(Z, Y, X)` and the size of a voxel. Out: one row per region, statistics over
cases, and both as CSV.
"""

import math

import numpy as np

from brats.editions import REGIONS, region_mask
from brats.errors import InputError
from brats.files import read_table, write_table
from brats.scores.distances import hausdorff_distances
from brats.scores.lesions import lesion_scores
from brats.scores.overlap import dice, precision, sensitivity, specificity

# Columns of scores.csv, in its order, and their names for people.
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
# What the challenge ranks by.
HEADLINES = ("dice", "hausdorff95_mm", "lesion_dice", "lesion_hausdorff95_mm")


def score_case(case_id, predicted, reference, spacing_mm):
    """Scores one case in every region.

    Args:
        case_id: Id of the case.
        predicted: Predicted class indices, uint8 `(Z, Y, X)`.
        reference: Reference class indices, uint8 `(Z, Y, X)`.
        spacing_mm: Voxel size along `(z, y, x)`, the order of the arrays; that of a `Geometry`
            is `(x, y, z)`.

    Returns:
        List of dicts with "case", "region" and `METRICS`, see `score_masks`.

    Raises:
        InputError: If the volumes differ in shape; names the case.
    """
    if predicted.shape != reference.shape:
        raise InputError(
            f"Case {case_id} cannot be scored: the segmentation has shape {predicted.shape}, the "
            f"ground truth {reference.shape}. Resample them to one grid."
        )
    rows = []
    for region in REGIONS:
        masks = region_mask(predicted, region), region_mask(reference, region)
        rows.append({"case": case_id, "region": region} | score_masks(*masks, spacing_mm))
    return rows


def score_masks(predicted, reference, spacing_mm):
    """Returns all scores of a predicted mask.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.
        spacing_mm: Voxel size along `(z, y, x)`.

    Returns:
        Dict of `METRICS`: those of `brats.scores.overlap`, `brats.scores.distances` and `brats.scores.lesions`, with
        their rules for empty masks, and the volumes of both masks in ml, 0 if empty.
    """
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
    } | lesion_scores(predicted, reference, spacing_mm)


def summarize(rows):
    """Returns the statistics of every region and metric over the cases.

    Args:
        rows: Rows of `score_case`, of one case or more; the scores may be text.

    Returns:
        List of dicts with "region", "metric", "cases", "mean", "std" (population), "median",
        "q25", "q75" (linear interpolation), "max" and "min".
    """
    summary = []
    for region in REGIONS:
        for metric in METRICS:
            values = [float(row[metric]) for row in rows if row["region"] == region]
            q25, median, q75 = np.percentile(values, (25, 50, 75))
            summary.append(
                {
                    "region": region,
                    "metric": metric,
                    "cases": len(values),
                    "mean": np.mean(values),
                    "std": np.std(values),
                    "median": median,
                    "q25": q25,
                    "q75": q75,
                    "max": max(values),
                    "min": min(values),
                }
            )
    return summary


def read_scores(output):
    """Reads the scores that are in an output folder.

    Args:
        output: Folder of `scores.csv`, a `Path`.

    Returns:
        Rows of `score_case` with every value as text; none if there is no such file.

    Raises:
        InputError: If the table there is damaged, another version's or another tool's.
    """
    path = output / "scores.csv"
    advice = "Move it away and score its cases again, or give another --output."
    rows = read_table(path)
    for line, row in enumerate(rows, 2):
        missing = [name for name in ("case", "region", *METRICS) if not row.get(name)]
        if missing:
            raise InputError(
                f"{path} has no {', '.join(missing)} in line {line}: it is damaged, or another "
                f"version wrote it. {advice}"
            )
        if row["region"] not in REGIONS or not all(_is_number(row[name]) for name in METRICS):
            raise InputError(
                f"{path} has an unknown region, or a score that is not a number, in line {line}. "
                f"{advice}"
            )
    return rows


def _is_number(text):
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def write_scores(output, case_id, case_rows):
    """Writes the scores of a case into the tables of the output folder, in place of older ones.

    Rows of other cases are kept, so that cases segmented one by one end in one table.

    Args:
        output: Folder of `scores.csv` and `summary.csv`, a `Path`.
        case_id: Id of the case.
        case_rows: Rows of `score_case`; none if the case has no scores any more.

    Raises:
        InputError: If the scores there are another version's.
        OSError: If a file cannot be written.
    """
    rows = [row for row in read_scores(output) if row["case"] != case_id] + case_rows
    if not rows:
        for name in ("scores.csv", "summary.csv"):
            (output / name).unlink(missing_ok=True)
        return
    rows = sorted(rows, key=lambda row: row["case"])
    write_table(output / "scores.csv", rows)
    write_table(output / "summary.csv", summarize(rows))


def remove_scores(output, ids):
    """Removes the scores of cases that are about to be segmented anew from the tables.

    Raises:
        InputError, OSError: As `write_scores`.
    """
    for case_id in {row["case"] for row in read_scores(output)} & set(ids):
        write_scores(output, case_id, [])


def describe_summary(summary):
    """Returns the means of the challenge's metrics per region as lines of text.

    Args:
        summary: Rows of `summary.csv`, one or more; the numbers may be text.
    """
    title = f"Mean over {summary[0]['cases']} cases"
    lines = [f"{title:<20}" + "".join(f"{name:>{len(name) + 2}}" for name in HEADLINES)]
    for region in REGIONS:
        means = {row["metric"]: float(row["mean"]) for row in summary if row["region"] == region}
        cells = "".join(f"{means[name]:{len(name) + 2}.3f}" for name in HEADLINES)
        lines.append(f"  {region:<18}{cells}")
    return "\n".join(lines)
