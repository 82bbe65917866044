"""Learning curves of a run.

In: the rows of `history.csv`. Out: a PNG file that plots the loss, the soft Dice of the three
regions and the learning rate over the epochs.
"""

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from brats.editions import REGIONS
from brats.files import replacing

# Color-blind readers can tell these apart: Wong, "Points of view: Color blindness", 2011.
REGION_COLORS = {"whole": "#0072B2", "core": "#D55E00", "enhancing": "#009E73"}
LOSS_COLOR, RATE_COLOR = "#000000", "#CC79A7"
# Column prefix, name, line and marker.
SPLITS = (("", "training", "--", "o"), ("val_", "validation", "-", "s"))
MOST_MARKED = 40  # Epochs; with more, the lines are thin and have no markers.


def write_learning_curves(path, history):
    """Writes the learning curves of a run; training is dashed, validation is solid.

    Args:
        path: Path of the PNG file.
        history: List of one dict per epoch, with "epoch" and any of "loss", "dice_whole",
            "dice_core", "dice_enhancing", the same prefixed with "val_", and "learning_rate".
            Values are numbers or text. Missing and empty values are not drawn.
    """
    figure = Figure((13.0, 4.0), dpi=100)
    figure.set_layout_engine("constrained")
    loss, dice, rate = figure.subplots(1, 3)
    for prefix, split, *style in SPLITS:
        _draw(loss, history, f"{prefix}loss", split, LOSS_COLOR, *style)
        for region in REGIONS:
            _draw(dice, history, f"{prefix}dice_{region}", None, REGION_COLORS[region], *style)
    _draw(rate, history, "learning_rate", None, RATE_COLOR, "-", "o")
    dice.set_ylim(-0.02, 1.02)
    rate.set_yscale("log")
    for axes, title in ((loss, "Loss"), (dice, "Soft Dice"), (rate, "Learning rate")):
        axes.set_title(title)
        axes.set_xlabel("Epoch")
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    loss.legend()
    regions = [Patch(color=color, label=region) for region, color in REGION_COLORS.items()]
    # The legend of the regions is below the middle panel, so it hides no curve.
    figure.legend(handles=regions, loc="outside lower center", ncols=len(regions))
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _draw(axes, history, column, label, color, line, marker):
    """Draws a column over the epochs, if any epoch has a value."""
    rows = [row for row in history if row.get(column) not in (None, "")]
    if not rows:
        return
    points = {"marker": marker, "markersize": 4} if len(rows) <= MOST_MARKED else {"linewidth": 0.8}
    epochs, values = [int(row["epoch"]) for row in rows], [float(row[column]) for row in rows]
    axes.plot(epochs, values, color=color, label=label, linestyle=line, **points)
