"""What the report shows of a case: its thumbnail, and small volumes for the viewer.

In: a case, and its segmentation in a folder of predictions. Out: the bytes of a PNG file and of
compressed NIfTI files, all cut to one box.
"""

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK

from brats.editions import labels_to_classes
from brats.errors import InputError
from brats.pictures.overlays import largest_tumor_slice, overlay
from brats.predictions.evaluation import segmentation_path
from brats.volumes.files import read_modalities, read_volume, write_volume
from brats.volumes.geometry import Geometry

BACKGROUNDS = ("flair", "t1ce")  # Edema shows in the first, enhancing tumor in the second.
# Noise fills the last bits of 8 and does not compress: 64 gray levels take 0.7 of the bytes.
MAX_GRAY = 63
MARGIN = 3  # Voxels around the brain.
PANEL_GAP = 4  # Pixels between the prediction and the ground truth.


@dataclass(frozen=True)
class CaseImages:
    """The images of one case in the report.

    Attributes:
        thumbnail: PNG file: prediction and, where there is one, ground truth beside it.
        first: Index `(z, y, x)` of the volumes' first voxel in the whole volume.
        start: Index `(z, y, x)` in the whole volume, amid the predicted tumor, at its largest
            slice, which the thumbnail shows; amid the box if there is none.
        volumes: Dict of name ("flair", "t1ce", "prediction", "reference") to the bytes of a
            `.nii.gz` file: uint8 gray levels 0 to `MAX_GRAY`, or class indices.
    """

    thumbnail: bytes
    first: tuple
    start: tuple
    volumes: dict


def read_case_images(folder, case):
    """Reads a case and its segmentation, and draws what the report shows of them.

    Args:
        folder: Folder of predictions, a `Path`.
        case: A `Case` with a segmentation in it.

    Returns:
        `CaseImages`; the same files give the same bytes.

    Raises:
        InputError: If a file cannot be read, holds unknown labels, or has another size than the
            FLAIR image; names it.
        OSError: If a temporary file cannot be written.
    """
    label_paths = {"prediction": segmentation_path(folder, case), "reference": case.segmentation}
    read = dict(zip(BACKGROUNDS, read_modalities(case, BACKGROUNDS), strict=True))
    labels = [name for name, path in label_paths.items() if path]
    read |= {name: read_volume(label_paths[name]) for name in labels}
    arrays = {name: volume for name, (volume, _) in read.items()}
    for name in labels:
        _check_shape(label_paths[name], arrays[name].shape, arrays["flair"].shape)
        arrays[name] = labels_to_classes(arrays[name], case.edition)
    box = bounding_box(arrays.values())
    first = tuple(window.start for window in box)
    start = _middle_of_tumor(arrays["prediction"], box)
    volumes = {name: quantize(arrays[name]) for name in BACKGROUNDS}
    volumes |= {name: arrays[name] for name in labels}
    return CaseImages(
        thumbnail=_draw_thumbnail(arrays, start[0], box[1:]),
        first=first,
        start=start,
        volumes={
            name: _encode(volume[box], first, read[name][1]) for name, volume in volumes.items()
        },
    )


def quantize(volume):
    """Returns gray levels of a raw image, from 0 outside the brain to `MAX_GRAY`.

    Brain takes 1 to `MAX_GRAY`, from its minimum to its 99.5th percentile, as in the pictures.

    Args:
        volume: Raw intensities, any real dtype, any shape; 0 outside the brain.

    Returns:
        uint8 array of the same shape.
    """
    brain = volume != 0
    gray = np.zeros(volume.shape, dtype=np.uint8)
    if brain.any():
        values = volume[brain].astype(np.float32)
        low, high = values.min(), np.percentile(values, 99.5)
        share = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        gray[brain] = 1 + np.rint((MAX_GRAY - 1) * share)
    return gray


def bounding_box(volumes):
    """Returns the box of what is not 0 in any volume `(Z, Y, X)`, with a margin: three slices."""
    occupied = np.logical_or.reduce([volume != 0 for volume in volumes])
    window = []
    for axis, size in enumerate(occupied.shape):
        others = tuple(other for other in range(3) if other != axis)
        places = np.flatnonzero(occupied.any(axis=others))
        first, last = (places[0], places[-1]) if places.size else (0, size - 1)
        window.append(slice(max(int(first) - MARGIN, 0), min(int(last) + 1 + MARGIN, size)))
    return tuple(window)


def _check_shape(path, shape, expected):
    if shape != expected:
        raise InputError(
            f"{path} has {shape} slices, rows and columns, the FLAIR image {expected}. Give the "
            "segmentation in the grid of the case."
        )


def _middle_of_tumor(classes, box):
    z = largest_tumor_slice(classes)
    places = np.argwhere(classes[z])
    if not len(places):
        return tuple((window.start + window.stop) // 2 for window in box)
    return (z, *np.median(places, axis=0).astype(int).tolist())


def _draw_thumbnail(arrays, index, plane):
    flair = arrays["flair"][index]
    names = [name for name in ("prediction", "reference") if name in arrays]
    panels = [overlay(flair, arrays[name][index])[plane] for name in names]  # (Y, X, 3)
    gap = np.ones((len(panels[0]), PANEL_GAP, 3))
    picture = np.concatenate(
        [panels[0], *(part for panel in panels[1:] for part in (gap, panel))], 1
    )
    pixels = np.rint(255 * picture).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thumbnail.png"
        try:
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=True), str(path))
        except RuntimeError as error:
            raise OSError(f"Cannot write {path}. Is the disk full?") from error
        return path.read_bytes()


def _encode(volume, first, geometry):
    """Returns the compressed NIfTI file of a volume that begins at `(z, y, x)` of a geometry."""
    direction = np.reshape(geometry.direction, (3, 3))
    offset_mm = direction @ (first[::-1] * np.array(geometry.spacing_mm))
    origin_mm = tuple((geometry.origin_mm + offset_mm).tolist())
    geometry = Geometry(geometry.spacing_mm, origin_mm, geometry.direction)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii"
        write_volume(path, volume, geometry)
        return gzip.compress(path.read_bytes(), mtime=0)
