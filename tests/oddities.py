"""Inputs that look wrong and are not: other types, byte orders, names. See test_defects.py."""

import gzip
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK

from brats.volumes.files import read_volume
from tests.defects import CASE, DATA, OTHER, image_path
from tests.defects_of_images import edit_header, edit_voxels, pack, unpack

FLAIR, SEGMENTATION = image_path(), image_path(CASE, "seg")
SLOPE = (112, "<2f")  # And intercept.


@dataclass(frozen=True)
class Oddity:
    """Something odd that changes no patch.

    Attributes:
        title: What is odd, as a noun.
        make: Function without arguments that makes it in the current folder; it may return the
            data folder.
    """

    title: str
    make: Callable


ODDITIES = []


def oddity(title):
    """Declares the decorated function as an oddity."""
    return lambda make: ODDITIES.append(Oddity(title, make))


def keep_values(path, dtype):
    edit_voxels(path, lambda volume: volume, dtype)


@oddity("images of 64-bit floats, and a segmentation of 32-bit ones")
def _():
    keep_values(FLAIR, np.float64)
    keep_values(SEGMENTATION, np.float32)


@oddity("images and segmentations of 64-bit integers")
def _():
    keep_values(FLAIR, np.int64)
    keep_values(SEGMENTATION, np.uint64)


@oddity("a file in the other byte order")
def _():
    content = bytearray(unpack(FLAIR))
    for start, form in (
        (0, "i"),  # Size of the header.
        (40, "8h"),  # Axes.
        (56, "3f3h"),  # Intent, its code, type and bits.
        (74, "h"),  # First slice.
        (76, "8f3fh"),  # Spacing, offset, slope, intercept, last slice.
        (124, "4f2i"),  # Range for display, timing.
        (252, "2h18f"),  # Position.
    ):
        values = struct.unpack_from("<" + form, content, start)
        struct.pack_into(">" + form, content, start, *values)
    voxels = np.frombuffer(content[352:], "<i2").astype(">i2").tobytes()
    pack(FLAIR, bytes(content[:352]) + voxels)


@oddity("intensities scaled by slope and intercept")
def _():
    # Stored as (value - 7) / 0.5, which is whole.
    edit_voxels(FLAIR, lambda volume: (volume - 7) * 2, np.int16)
    edit_header(FLAIR, SLOPE, 0.5, 7.0)


@oddity("a slope that is NaN, which means none")
def _():
    edit_header(FLAIR, SLOPE, np.nan, np.nan)


@oddity("the files of a case stored along other axes, each along its own")
def _():
    orientations = ("SAR", "RAS", "PIL", "LPI", "ASR")
    for path, orientation in zip(sorted(CASE.iterdir()), orientations, strict=True):
        image = SimpleITK.DICOMOrient(SimpleITK.ReadImage(str(path)), orientation)
        SimpleITK.WriteImage(image, str(path))


@oddity("bytes behind the last voxel")
def _():
    pack(FLAIR, unpack(FLAIR) + bytes(999))


@oddity("gzip of several parts")
def _():
    content = unpack(FLAIR)
    FLAIR.write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))


@oddity("plain `.nii` beside `.nii.gz`")
def _():
    FLAIR.with_suffix("").write_bytes(unpack(FLAIR))
    FLAIR.unlink()


@oddity("an image in a place of its own, behind a link")
def _():
    FLAIR.rename("elsewhere.nii.gz")
    FLAIR.symlink_to("../../elsewhere.nii.gz")


@oddity("hidden files and other files beside the images")
def _():
    for name in (f"._{FLAIR.name}", ".DS_Store", "notes.txt", "mask.png"):
        (CASE / name).write_text("")


@oddity("a geometry that differs by rounding")
def _():
    volume, geometry = read_volume(FLAIR)
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing([value + 1e-5 for value in geometry.spacing_mm])
    image.SetOrigin([value - 1e-5 for value in geometry.origin_mm])
    SimpleITK.WriteImage(image, str(FLAIR))


@oddity("spaces, quotes, other scripts and signs in names")
def _():
    for case in (CASE, OTHER):
        for path in list(case.iterdir()):
            path.rename(path.with_name(f"a 'b' \"c\" <é> %d{path.name}"))
    # In the same order, for the seeds of the cases.
    CASE.rename(DATA / "0 'quoted' & <b>")
    OTHER.rename(DATA / "1 患者; rm -rf $HOME")


@oddity("a data folder given with `..` and `.`")
def _():
    return "./data/../data/."
