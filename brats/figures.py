"""Pictures: the segmentation drawn over the FLAIR image.

In: one axial slice of a case. Out: a PNG file in the look of the original: FLAIR, FLAIR with
ground truth, FLAIR with prediction; necrosis red, edema green, enhancing tumor yellow.
"""

import re

import numpy as np
from matplotlib.figure import Figure

from brats.files import replacing

# Red, green, blue of the classes necrosis, edema and enhancing.
CLASS_COLORS = ((1.0, 0.0, 0.0), (0.0, 0.8, 0.0), (1.0, 1.0, 0.0))
OPACITY = 0.6
PANEL_INCHES = 4.0
PIXELS_PER_INCH = 100


def largest_tumor_slice(classes):
    """Returns the index of the axial slice with most tumor; the middle one if there is none."""
    tumor = np.count_nonzero(classes, axis=(1, 2))
    return int(tumor.argmax()) if tumor.any() else len(classes) // 2


def overlay(flair, classes):
    """Draws classes over a gray image.

    Args:
        flair: Raw intensities of a slice, any real dtype `(Y, X)`.
        classes: Class indices, uint8 `(Y, X)`.

    Returns:
        Red, green and blue in [0, 1], float64 `(Y, X, 3)`.
    """
    low, high = float(flair.min()), float(np.percentile(flair, 99.5))
    gray = np.clip((flair - low) / max(high - low, 1e-6), 0, 1)
    picture = np.repeat(gray[..., np.newaxis], 3, axis=-1)  # (Y, X, 3)
    for index, color in enumerate(CLASS_COLORS, 1):
        mask = classes == index
        picture[mask] = (1 - OPACITY) * picture[mask] + OPACITY * np.array(color)
    return picture


def write_overlays(path, title, flair, predicted, reference=None):
    """Writes FLAIR, FLAIR with ground truth, if any, and FLAIR with prediction, side by side.

    Rows run from anterior to posterior and columns from the patient's right to the left, as
    radiologists look at it, for volumes in the orientation of BraTS.

    Args:
        path: Path of the PNG file.
        title: Line above the panels.
        flair: Raw intensities of a slice, any real dtype `(Y, X)`.
        predicted: Predicted class indices, uint8 `(Y, X)`.
        reference: Reference class indices, uint8 `(Y, X)`, or None.

    Raises:
        OSError: If the file cannot be written.
    """
    panels = {"FLAIR": overlay(flair, np.zeros_like(predicted))}
    if reference is not None:
        panels["GT"] = overlay(flair, reference)
    panels["Prediction"] = overlay(flair, predicted)
    figure = Figure((PANEL_INCHES * len(panels), PANEL_INCHES + 0.6), dpi=PIXELS_PER_INCH)
    figure.set_layout_engine("constrained")
    figure.suptitle(title)
    for axes, (name, picture) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def remove_pictures(folder, case_id):
    """Removes the pictures of a case that an earlier prediction left, perhaps of other slices."""
    for path in folder.glob("*.png"):
        if re.fullmatch(rf"{re.escape(case_id)}-\d+", path.stem):
            path.unlink()
