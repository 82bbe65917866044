"""What the report shows of a case: its thumbnail, and small volumes for the viewer.

In: a case, and its segmentation in a folder of predictions. Out: the bytes of a PNG file and of
compressed NIfTI files, all cut to one box.
"""

import gzip
from dataclasses import dataclass

import numpy as np

from brats.cases.check import read_checked_case
from brats.editions import MODALITIES
from brats.pictures.overlays import bounding_box, encode_png, largest_tumor_slice, overlay
from brats.predictions.scoring import read_segmentation
from brats.volumes.geometry import Geometry
from brats.volumes.nifti import build_nifti

# The last bits of 8 are noise, which does not compress: 64 gray levels take 0.7 of the bytes.
MAX_GRAY = 63
COMPRESSION = 5  # Level 9 takes three times as long and saves 2 %.
PANEL_GAP = 4  # Pixels between the prediction and the reference.


@dataclass(frozen=True)
class CaseImages:
    """The images of one case; `first` and `start` are indices `(z, y, x)` in the full volume."""

    thumbnail: bytes  # PNG file of the prediction and, if there is one, the reference beside it.
    first: tuple  # The first voxel of `volumes`.
    start: tuple  # The middle of the largest slice of predicted tumor, or of the box without tumor.
    volumes: dict  # Name to a .nii.gz file of gray levels or class indices, uint8.


def read_case_images(folder, case, labels=()):
    """Returns the `CaseImages` of a case; raises `InputError` if a file of it cannot be used."""
    raw = read_checked_case(case, force=True)
    classes = {"prediction": read_segmentation(folder, case, raw, labels)[0]}
    if raw.classes is not None:
        classes["reference"] = raw.classes
    box = bounding_box([*raw.volumes, *classes.values()])
    first = tuple(window.start for window in box)
    start = _middle_of_tumor(classes["prediction"], box)
    grays = {name: quantize(each[box]) for name, each in zip(MODALITIES, raw.volumes, strict=True)}
    volumes = grays | {name: volume[box] for name, volume in classes.items()}
    return CaseImages(
        thumbnail=_draw_thumbnail(volumes, start[0] - first[0]),
        first=first,
        start=start,
        volumes={name: _encode(each, first, raw.geometry) for name, each in volumes.items()},
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


def _middle_of_tumor(classes, box):
    z = largest_tumor_slice(classes)
    places = np.argwhere(classes[z])
    if not len(places):
        return tuple((window.start + window.stop) // 2 for window in box)
    return (z, *np.median(places, axis=0).astype(int).tolist())


def _draw_thumbnail(volumes, index):
    names = [name for name in ("prediction", "reference") if name in volumes]
    panels = [overlay(volumes["flair"][index], volumes[name][index]) for name in names]
    gap = np.ones((len(panels[0]), PANEL_GAP, 3))
    spaced = [part for panel in panels for part in (gap, panel)][1:]
    return encode_png(np.concatenate(spaced, axis=1))


def _encode(volume, first, geometry):
    """Returns the compressed NIfTI file of a part of a volume, whose first voxel is `first`."""
    direction = np.reshape(geometry.direction, (3, 3))
    offset_mm = direction @ (first[::-1] * np.array(geometry.spacing_mm))
    origin_mm = tuple((geometry.origin_mm + offset_mm).tolist())
    content = build_nifti(volume, Geometry(geometry.spacing_mm, origin_mm, geometry.direction))
    return gzip.compress(content, COMPRESSION, mtime=0)
