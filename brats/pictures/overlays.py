"""Pictures of a segmentation, drawn over the images.

In: a case and its predicted classes. Out: PNG files of axial slices in the look of the original:
FLAIR, FLAIR with reference, FLAIR with prediction; necrosis is red, edema green, enhancing tumor
yellow. One more file shows all modalities. Anterior is at the top, the patient's right at the left.
"""

import glob
import io

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from brats.editions import CLASSES, region_mask
from brats.errors import printable
from brats.files import replacing

# Red, green, blue of the classes necrosis, edema and enhancing.
CLASS_COLORS = ((1.0, 0.0, 0.0), (0.0, 0.8, 0.0), (1.0, 1.0, 0.0))
OPACITY = 0.6
MODALITY_NAMES = ("FLAIR", "T1", "T1ce", "T2")  # In the order of `brats.editions.MODALITIES`.
# Outlines of the reference's regions, which differ in lightness. The halo separates the white line
# from bright tissue.
OUTLINES = {"whole": "white", "core": "black"}
HALO = [withStroke(linewidth=2, foreground="black")]

MARGIN = 3  # Voxels around the brain.
PIXELS_PER_INCH = 100
# Pixels of a panel's longer side (a published slice has 240), and line width in points.
PANEL, SHEET_PANEL = (480, 1.0), (240, 0.7)
GAP, TITLE, NAME, LEGEND = 8, 30, 26, 34  # Pixels: gap between panels, heights of lines of text.


def largest_tumor_slice(classes):
    """Returns the index of the axial slice with most tumor; the middle one if there is none."""
    tumor = np.count_nonzero(classes, axis=(1, 2))
    return int(tumor.argmax()) if tumor.any() else len(classes) // 2


def bounding_box(volumes):
    """Returns the box around all voxels that are not 0 in some volume, with a margin: slices."""
    occupied = np.logical_or.reduce([volume != 0 for volume in volumes])
    box = []
    for axis, size in enumerate(occupied.shape):
        others = tuple(other for other in range(occupied.ndim) if other != axis)
        places = np.flatnonzero(occupied.any(axis=others))
        first, last = (places[0], places[-1]) if places.size else (0, size)
        box.append(slice(max(int(first) - MARGIN, 0), min(int(last) + MARGIN + 1, size)))
    return tuple(box)


def overlay(flair, classes):
    """Returns a slice in gray with its class indices in color: float `(Y, X, 3)` in [0, 1]."""
    low, high = float(flair.min()), float(np.percentile(flair, 99.5))
    gray = np.clip((flair - low) / max(high - low, 1e-6), 0, 1)
    picture = np.repeat(gray[..., np.newaxis], 3, axis=-1)  # (Y, X, 3)
    for index, color in enumerate(CLASS_COLORS, 1):
        mask = classes == index
        picture[mask] = (1 - OPACITY) * picture[mask] + OPACITY * np.array(color)
    return picture


def encode_png(picture):
    """Returns the bytes of a PNG file of a picture, float `(Y, X, 3)` in [0, 1]."""
    file = io.BytesIO()
    imsave(file, picture, format="png", metadata={"Software": None})
    return file.getvalue()


def write_pictures(folder, case_id, raw, classes, slices=()):
    """Writes the pictures of a case, cut to its brain, and removes its pictures of other slices.

    The regions of the reference, if there is one, are outlined on the prediction.

    Args:
        folder: Folder of <case>-<slice>.png and <case>-modalities.png, a `Path`.
        case_id: Id of the case.
        raw: The `RawCase`.
        classes: Predicted class indices, uint8 `(Z, Y, X)`.
        slices: Indices of the axial slices to draw, counted from the feet. By default the slice
            with most predicted tumor, which <case>-modalities.png always shows.
    """
    pixel_mm = raw.geometry.spacing_mm[1::-1]
    reference = [] if raw.classes is None else [raw.classes]
    _, *plane = bounding_box([*raw.volumes, classes, *reference])

    def cut(index):
        """Returns the title, images, prediction and reference of a slice."""
        images = [volume[index, *plane] for volume in raw.volumes]
        labels = [volume[index, *plane] for volume in (classes, *reference)]
        return f"{case_id}, slice {index}", images, *labels

    largest = largest_tumor_slice(classes)
    paths = {index: folder / f"{case_id}-{index}.png" for index in slices or (largest,)}
    for path in folder.glob(f"{glob.escape(case_id)}-*.png"):
        if path.stem[len(case_id) + 1 :].isdecimal() and path not in paths.values():
            path.unlink()
    for index, path in paths.items():
        title, (flair, *_), *labels = cut(index)
        write_overlays(path, title, flair, *labels, pixel_mm=pixel_mm)
    write_modalities(folder / f"{case_id}-modalities.png", *cut(largest), pixel_mm=pixel_mm)


def write_overlays(path, title, flair, predicted, reference=None, pixel_mm=(1.0, 1.0)):
    """Writes FLAIR, FLAIR with reference (if any) and FLAIR with prediction, side by side."""
    panels = [("FLAIR", flair, None, None)]
    if reference is not None:
        panels.append(("Reference", flair, reference, None))
    panels.append(("Prediction", flair, predicted, reference))
    _write_panels(path, title, [panels], pixel_mm, *PANEL)


def write_modalities(path, title, images, predicted, reference=None, pixel_mm=(1.0, 1.0)):
    """Writes all modalities of a slice, and below each of them the same with the prediction."""
    named = zip(MODALITY_NAMES, images, strict=True)
    rows = [
        [(name, image, None, None) for name, image in named],
        [("Prediction", image, predicted, reference) for image in images],
    ]
    _write_panels(path, title, rows, pixel_mm, *SHEET_PANEL)


def _write_panels(path, title, rows, pixel_mm, longest, line_width):
    """Writes rows of panels `(name, image, classes, reference)`; the last two may be None.

    A panel has the shape of the slice in mm. Its longer side has `longest` pixels.
    """
    sides_mm = np.multiply(rows[0][0][1].shape, pixel_mm)
    height, width = np.maximum(np.rint(longest * sides_mm / sides_mm.max()), 1).astype(int)
    whole_width = GAP + (width + GAP) * len(rows[0])
    size = np.array([whole_width, TITLE + (NAME + height) * len(rows) + LEGEND])
    figure = Figure(size / PIXELS_PER_INCH, dpi=PIXELS_PER_INCH)
    y = 1 - 0.6 * TITLE / size[1]
    # The font lacks most letters of other scripts.
    title = printable(title).encode("latin-1", "backslashreplace").decode("latin-1")
    figure.text(0.5, y, title, ha="center", va="center", size=11, parse_math=False)
    for row, panels in enumerate(rows):
        bottom = size[1] - TITLE - (NAME + height) * (row + 1)
        for column, panel in enumerate(panels):
            place = np.array([GAP + (width + GAP) * column, bottom, width, height])
            axes = figure.add_axes(place / np.tile(size, 2))
            _draw_panel(axes, *panel, line_width)
    *_, reference = rows[-1][-1]
    _add_legend(figure, outlined=reference is not None)
    with replacing(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})


def _draw_panel(axes, name, image, classes, reference, line_width):
    """Draws a slice, its classes and the outlines of the reference; the slice fills the axes."""
    classes = np.zeros(image.shape, dtype=np.uint8) if classes is None else classes
    axes.imshow(overlay(image, classes), interpolation="nearest", aspect="auto")
    axes.set_title(name, size=10, pad=4)
    axes.set_axis_off()
    for x, letter, side in ((0.02, "R", "left"), (0.98, "L", "right")):
        style = {"color": "white", "size": 10, "weight": "bold", "path_effects": HALO}
        axes.text(x, 0.05, letter, ha=side, va="center", transform=axes.transAxes, **style)
    for region, color in OUTLINES.items() if reference is not None else ():
        mask = region_mask(reference, region)
        if mask.any() and not mask.all():
            outline = axes.contour(mask, levels=[0.5], colors=color, linewidths=line_width)
            outline.set(path_effects=[withStroke(linewidth=2 * line_width, foreground="black")])


def _add_legend(figure, outlined):
    """Adds the colors of the classes, and the outlines of the reference if they are drawn."""
    names = zip(CLASS_COLORS, CLASSES[1:], strict=True)
    entries = [Patch(color=color, label=name) for color, name in names]
    if outlined:
        entries += [
            Line2D([], [], color=color, path_effects=HALO, label=f"reference, {region}")
            for region, color in OUTLINES.items()
        ]
    # The white line shows on gray.
    look = {"facecolor": "0.8", "edgecolor": "none", "borderpad": 0.3, "columnspacing": 1.2}
    figure.legend(handles=entries, loc="lower center", ncols=len(entries), fontsize=9, **look)
