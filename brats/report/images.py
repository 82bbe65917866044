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
from scipy import ndimage

from brats.editions import labels_to_classes
from brats.errors import InputError
from brats.pictures.overlays import largest_tumor_slice, overlay
from brats.predictions.record import segmentation_path
from brats.volumes.case import read_modalities
from brats.volumes.files import read_volume, write_volume
from brats.volumes.geometry import Geometry

BACKGROUNDS = ("flair", "t1ce")  # Edema shows in the first, enhancing tumor in the second.
# The last bits of 8 are noise, which does not compress: 64 gray levels take 0.7 of the bytes.
MAX_GRAY = 63
MARGIN = 3  # Voxels around the brain.
PANEL_GAP = 4  # Pixels between the prediction and the reference.


@dataclass(frozen=True)
class CaseImages:
    """The images of one case; `first` and `start` are indices `(z, y, x)` in the full volume."""

    thumbnail: bytes  # PNG file of the prediction and, if there is one, the reference beside it.
    first: tuple  # The first voxel of `volumes`.
    start: tuple  # The middle of the largest slice of predicted tumor, or of the box without tumor.
    volumes: dict  # Name to a .nii.gz file of gray levels or class indices, uint8.


def read_case_images(folder, case):
    """Returns the `CaseImages` of a case; raises `InputError` if a file of it cannot be used."""
    read = dict(zip(BACKGROUNDS, read_modalities(case, BACKGROUNDS), strict=True))
    arrays = {name: volume for name, (volume, _) in read.items()}
    _, geometry = read["flair"]
    paths = {"prediction": segmentation_path(folder, case), "reference": case.segmentation}
    for name, path in paths.items():
        if path:
            labels, _ = read_volume(path)
            if labels.shape != arrays["flair"].shape:
                raise InputError(
                    f"{path} has {labels.shape} slices, rows and columns; the FLAIR image has "
                    f"{arrays['flair'].shape}. Resample the segmentation to the grid of the case."
                )
            arrays[name] = labels_to_classes(labels, case.edition)
    box = bounding_box(arrays.values())
    first = tuple(window.start for window in box)
    start = _middle_of_tumor(arrays["prediction"], box)
    volumes = arrays | {name: quantize(arrays[name]) for name in BACKGROUNDS}
    return CaseImages(
        thumbnail=_draw_thumbnail(arrays, start[0], box[1:]),
        first=first,
        start=start,
        volumes={name: _encode(volume[box], first, geometry) for name, volume in volumes.items()},
    )


def quantize(volume):
    """Returns gray levels, uint8: 0 outside the brain; 1 is its minimum, `MAX_GRAY` its 99.5 %."""
    brain = volume != 0
    gray = np.zeros(volume.shape, dtype=np.uint8)
    if brain.any():
        values = volume[brain].astype(np.float32)
        low, high = values.min(), np.percentile(values, 99.5)
        share = np.clip((values - low) / max(high - low, 1e-6), 0, 1)
        gray[brain] = 1 + np.rint((MAX_GRAY - 1) * share)
    return gray


def bounding_box(volumes):
    """Returns the box around all voxels that are not 0 in some volume, with a margin."""
    occupied = np.logical_or.reduce([volume != 0 for volume in volumes])
    if not occupied.any():
        occupied[...] = True
    windows = zip(ndimage.find_objects(occupied.astype(np.uint8))[0], occupied.shape, strict=True)
    return tuple(
        slice(max(window.start - MARGIN, 0), min(window.stop + MARGIN, size))
        for window, size in windows
    )


def _middle_of_tumor(classes, box):
    z = largest_tumor_slice(classes)
    places = np.argwhere(classes[z])
    if not len(places):
        return tuple((window.start + window.stop) // 2 for window in box)
    return (z, *np.median(places, axis=0).astype(int).tolist())


def _draw_thumbnail(arrays, index, plane):
    names = [name for name in ("prediction", "reference") if name in arrays]
    panels = [overlay(arrays["flair"][index], arrays[name][index])[plane] for name in names]
    gap = np.ones((len(panels[0]), PANEL_GAP, 3))
    picture = np.concatenate([panels[0], *(part for each in panels[1:] for part in (gap, each))], 1)
    image = SimpleITK.GetImageFromArray(np.rint(255 * picture).astype(np.uint8), isVector=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "thumbnail.png"
        try:
            SimpleITK.WriteImage(image, str(path))
        except RuntimeError as error:
            raise OSError(f"Cannot write {path}. Is the disk full?") from error
        return path.read_bytes()


def _encode(volume, first, geometry):
    """Returns the compressed NIfTI file of a part of a volume, whose first voxel is `first`."""
    direction = np.reshape(geometry.direction, (3, 3))
    offset_mm = direction @ (first[::-1] * np.array(geometry.spacing_mm))
    origin_mm = tuple((geometry.origin_mm + offset_mm).tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "volume.nii"
        write_volume(path, volume, Geometry(geometry.spacing_mm, origin_mm, geometry.direction))
        return gzip.compress(path.read_bytes(), mtime=0)
