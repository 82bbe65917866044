"""Times all scores of a case beside the original's Hausdorff distances.

In: a case with a reference. Out: a table on stdout: three Hausdorff distances by the original's
formulas, all scores, and parts of them; and the distances themselves.

    python -m benchmarks.scores --data-root CASES/CASE
"""

import argparse

import numpy as np
from scipy import ndimage

from benchmarks.measure import in_turn, print_header, print_table
from brats.cases.find import find_cases
from brats.editions import REGIONS, region_mask
from brats.scores.distances import hausdorff_distances
from brats.scores.lesions import lesion_scores
from brats.scores.tables import score_case
from brats.volumes.case import read_case


def main():
    """Prints the table and the distances."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default="data/brats", help="its first case is scored")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print_header("Scores of a case", options, "scipy", "SimpleITK")
    case = find_cases(options.data_root, need_segmentation=True)[0][0]
    raw = read_case(case)
    spacing_mm = raw.geometry.spacing_mm[::-1]
    predicted = displaced(raw.classes)
    masks = [(region_mask(predicted, r), region_mask(raw.classes, r)) for r in REGIONS]
    print(f"{case.id}, {raw.classes.shape}, against itself displaced")
    ways = {
        "original's Hausdorff distances": lambda: [original_hausdorff(*pair) for pair in masks],
        "all scores": lambda: score_case(case.id, predicted, raw.classes, spacing_mm, case.edition),
        "Hausdorff distances and HD95": lambda: [
            hausdorff_distances(*pair, spacing_mm) for pair in masks
        ],
        "lesion-wise scores": lambda: [lesion_scores(*pair, spacing_mm) for pair in masks],
    }
    print_table(in_turn(ways, options.runs), {"cases/s": dict.fromkeys(ways, 1)})
    print(f"\n{'Hausdorff distance, mm':<34}{'original':>10}{'here':>10}")
    for region, pair in zip(REGIONS, masks, strict=True):
        here = hausdorff_distances(*pair, spacing_mm)[0]
        print(f"{region:<34}{original_hausdorff(*pair):10.1f}{here:10.1f}")


def displaced(classes):
    """Returns a stand-in for a prediction: moved by (1, -2, 3) voxels, and half of it missing."""
    moved = np.roll(classes, (1, -2, 3), axis=(0, 1, 2))
    moved[: int(np.argwhere(moved.any(axis=(1, 2))).mean())] = 0
    return moved


def original_hausdorff(predicted, reference):
    """Returns the Hausdorff distance as the original defines it, in voxels.

    It is the distance of the two backgrounds over whole volumes: from the border of one, where
    fewer than six neighbors are background, to the nearest voxel of the other, border or not.
    """
    backgrounds = [(~mask).astype(np.uint8) for mask in (predicted, reference)]
    borders = [background_border(background) for background in backgrounds]
    distances = [ndimage.distance_transform_edt(1 - background) for background in backgrounds]
    return max((borders[0] * distances[1]).max(), (borders[1] * distances[0]).max())


def background_border(background):
    """Returns where a mask has fewer than six neighbors in itself, by six shifted copies of it."""
    steps = np.concatenate([np.eye(3), -np.eye(3)])
    num_neighbors = sum(ndimage.shift(background, step, order=0) for step in steps)
    return (num_neighbors < 6) & (background == 1)


if __name__ == "__main__":
    main()
