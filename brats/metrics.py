"""Scores of whole segmentations against ground truth, per region.

In: class volumes `(Z, Y, X)`. Out: one row per region, statistics over cases, and both as CSV.
"""

import numpy as np

from brats.files import read_table, write_table

# The regions of BraTS, by the class indices that make them up.
REGIONS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}
METRICS = ("dice", "sensitivity", "specificity")


def dice(predicted, reference):
    """Returns the Dice overlap of two masks.

    Formula:

        dice = 2 |P and R| / (|P| + |R|)

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if both masks are empty: nothing was there and nothing was found
        (the BraTS rule).

    Reference:
        Dice, "Measures of the amount of ecologic association between species", 1945.
    """
    overlap = np.count_nonzero(predicted & reference)
    return _ratio(2 * overlap, np.count_nonzero(predicted) + np.count_nonzero(reference))


def sensitivity(predicted, reference):
    """Returns the share of the reference mask that was found: |P and R| / |R|.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the reference is empty: there was nothing to find.
    """
    return _ratio(np.count_nonzero(predicted & reference), np.count_nonzero(reference))


def specificity(predicted, reference):
    """Returns the share of the voxels outside the reference mask that were left out.

    Args:
        predicted: Predicted mask, bool, shape `(Z, Y, X)`.
        reference: Reference mask, bool, shape `(Z, Y, X)`.

    Returns:
        A float in [0, 1]; 1 if the reference fills the volume: there was nothing to leave out.
    """
    return sensitivity(~predicted, ~reference)


def region_mask(classes, region):
    """Returns where a class volume belongs to a region of `REGIONS`, bool, of its shape."""
    return np.isin(classes, REGIONS[region])


def score_case(case_id, predicted, reference):
    """Scores one case in every region.

    Args:
        case_id: Id of the case.
        predicted: Predicted class indices, uint8 `(Z, Y, X)`.
        reference: Reference class indices, uint8 `(Z, Y, X)`.

    Returns:
        List of dicts with "case", "region", "dice", "sensitivity" and "specificity".
    """
    rows = []
    for region in REGIONS:
        masks = region_mask(predicted, region), region_mask(reference, region)
        rows.append(
            {
                "case": case_id,
                "region": region,
                "dice": dice(*masks),
                "sensitivity": sensitivity(*masks),
                "specificity": specificity(*masks),
            }
        )
    return rows


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


def write_scores(output, case_rows):
    """Writes the scores of a case into the tables of the output folder.

    Rows of other cases are kept, so that cases segmented one by one end in one table.

    Args:
        output: Folder of `scores.csv` and `summary.csv`, a `Path`.
        case_rows: Rows of `score_case`.

    Raises:
        OSError: If a file cannot be written.
    """
    case_id = case_rows[0]["case"]
    rows = [row for row in read_table(output / "scores.csv") if row["case"] != case_id]
    rows = sorted(rows + case_rows, key=lambda row: row["case"])
    write_table(output / "scores.csv", rows)
    write_table(output / "summary.csv", summarize(rows))


def _ratio(part, whole):
    return float(part / whole) if whole else 1.0
