"""Box plots of the scores.

In: the scores of several cases. Out: a PNG file with one panel per metric, one box per region.
"""

import numpy as np
from matplotlib.figure import Figure

from brats.editions import REGIONS
from brats.files import replacing
from brats.scores.tables import TITLES

# The metrics that have a panel, in the order of the panels.
PANELS = (
    "dice",
    "sensitivity",
    "specificity",
    "precision",
    "hausdorff95_mm",
    "lesion_dice",
    "lesion_hausdorff95_mm",
)
LEAST_BOXED = 3  # Cases; the quartiles of fewer say no more than their dots.
SPREAD = 0.5  # Width over which the dots of a region are spread, in the order of the cases.
LONGEST_MM = 500  # End of the axis of distances, above 374, the challenge's worst value.
TICKS_MM = (0, 1, 3, 10, 30, 100, 374)
NUM_COLUMNS = 4


def write_score_boxes(path, rows):
    """Writes box plots of the scores per region, with one dot per case.

    Boxes reach from quartile to quartile (linear interpolation, as in summary.csv), with the
    median in orange. Whiskers reach the last case within 1.5 times the length of the box. With
    fewer than three cases there are only dots. The axis of distances is logarithmic above 1 mm.
    `rows` are those of `score_case`, of at least one case.
    """
    num_rows = -(-len(PANELS) // NUM_COLUMNS)
    size = np.multiply((3.2, 3.0), (NUM_COLUMNS, num_rows))
    figure = Figure(size + (0, 0.4), dpi=100)
    figure.set_layout_engine("constrained")
    num_cases = sum(row["region"] == rows[0]["region"] for row in rows)
    figure.suptitle(f"Scores of {num_cases} case{'s' if num_cases > 1 else ''}")
    for index, metric in enumerate(PANELS):
        axes = figure.add_subplot(num_rows, NUM_COLUMNS, index + 1)
        axes.set_title(TITLES[metric], size=10)
        _draw_boxes(axes, metric, rows)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _draw_boxes(axes, metric, rows):
    for position, region in enumerate(REGIONS):
        values = [row[metric] for row in rows if row["region"] == region]
        offsets = SPREAD * ((np.arange(len(values)) + 0.5) / len(values) - 0.5)
        axes.plot(position + offsets, values, "o", color="tab:blue", ms=5, mew=0, alpha=0.6)
        if len(values) >= LEAST_BOXED:
            median = {"color": "tab:orange", "linewidth": 2}
            axes.boxplot(values, positions=[position], widths=0.7, sym="", medianprops=median)
    axes.set_xticks(range(len(REGIONS)), REGIONS)
    axes.set_xlim(-0.6, len(REGIONS) - 0.4)
    if metric.endswith("_mm"):
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(-0.2, max(LONGEST_MM, 1.3 * axes.dataLim.y1))
        axes.set_yticks(TICKS_MM, map(str, TICKS_MM), minor=False)
        axes.minorticks_off()
    else:
        axes.set_ylim(-0.03, 1.03)
    axes.grid(axis="y", alpha=0.3)
