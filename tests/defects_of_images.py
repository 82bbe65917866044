"""Defects of NIfTI files. See defects.py."""

import contextlib
import gzip
import os
import struct
from pathlib import Path

import numpy as np
import SimpleITK

from brats.volumes.files import read_volume
from brats.volumes.geometry import build_image
from tests.defects import CASE, EXTRACT, Defect, image_path

FLAIR = image_path()
DEFECTS = []
# Fields of the NIfTI-1 header: the first byte and the format.
AXES, DATATYPE, SPACING, OFFSET = (40, "<8h"), (70, "<2h"), (76, "<8f"), (108, "<f")
PLACE = (252, "<2h18f")
MAGIC = (344, "4s")
NOBODY = 65534


def image_defect(title, path=FLAIR):
    """Declares the decorated function, which spoils the file at `path`, as a defect."""

    def declare(spoil):
        DEFECTS.append(Defect("Images", title, EXTRACT, path.name, lambda: spoil(path)))

    return declare


def unpack(path):
    return gzip.decompress(path.read_bytes())


def pack(path, content):
    path.write_bytes(gzip.compress(content, mtime=0))


def edit_header(path, field, *values):
    """Replaces a field of the header, all of it or its first values."""
    start, form = field
    content = bytearray(unpack(path))
    whole = list(struct.unpack_from(form, content, start))
    whole[: len(values)] = values
    struct.pack_into(form, content, start, *whole)
    pack(path, bytes(content))


def edit_voxels(path, edit, dtype):
    """Gives a file other voxels, in another type: those that `edit` makes of its array."""
    volume, geometry = read_volume(path)
    image = build_image(edit(volume.astype(dtype)), geometry)
    SimpleITK.WriteImage(image, str(path))


def set_first(value):
    """Returns the function that sets the voxel (1, 2, 3)."""

    def edit(volume):
        volume[1, 2, 3] = value
        return volume

    return edit


def edit_image(path, edit):
    """Replaces an image by what `edit` makes of it, a SimpleITK.Image."""
    SimpleITK.WriteImage(edit(SimpleITK.ReadImage(str(path))), str(path))


@contextlib.contextmanager
def without_permission(path, mode=0):
    """Takes the permissions of a path away; the superuser, who needs none, becomes nobody."""
    is_superuser = os.getuid() == 0
    path.chmod(mode)
    Path().chmod(0o777)
    if is_superuser:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if is_superuser:
            os.setresuid(0, 0, 0)
        path.chmod(0o777)


@image_defect("a file of 0 bytes")
def _(path):
    path.write_bytes(b"")


@image_defect("a gzip stream that was cut short")
def _(path):
    path.write_bytes(path.read_bytes()[:-5000])


@image_defect("a gzip stream with a damaged byte in the middle")
def _(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@image_defect("a gzip stream whose checksum is wrong")
def _(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)


@image_defect("text under the name of an image")
def _(path):
    path.write_text("<html>404 Not Found</html>")


@image_defect("an image that was not compressed, named `.nii.gz`")
def _(path):
    path.write_bytes(unpack(path))


@image_defect("a compressed image, named `.nii`", FLAIR.with_suffix(""))
def _(path):
    FLAIR.rename(path)


@image_defect("a `.nii` of 100 bytes", FLAIR.with_suffix(""))
def _(path):
    path.write_bytes(unpack(FLAIR)[:100])
    FLAIR.unlink()


@image_defect("a `.nii` without its last slice", FLAIR.with_suffix(""))
def _(path):
    path.write_bytes(unpack(FLAIR)[: -130 * 132 * 2])
    FLAIR.unlink()


@image_defect("a header without NIfTI's magic letters")
def _(path):
    edit_header(path, MAGIC, b"abc\0")


@image_defect("a header that claims twice the slices")
def _(path):
    edit_header(path, AXES, 3, 132, 130, 10)


@image_defect("a header that claims 17 TB")
def _(path):
    edit_header(path, AXES, 3, 32767, 32767, 8191)


@image_defect("a header with a negative length")
def _(path):
    edit_header(path, AXES, 3, 132, -130, 5)


@image_defect("a header with an axis of length 0")
def _(path):
    edit_header(path, AXES, 3, 132, 0, 5)


@image_defect("a header with 30 axes")
def _(path):
    edit_header(path, AXES, 30)


@image_defect("a header whose voxels begin beyond the file")
def _(path):
    edit_header(path, OFFSET, 1e9)


@image_defect("a header whose voxels begin within it")
def _(path):
    edit_header(path, OFFSET, 0.0)


@image_defect("a header with an unknown data type")
def _(path):
    edit_header(path, DATATYPE, 999)


@image_defect("complex numbers")
def _(path):
    edit_image(path, lambda image: SimpleITK.RealAndImaginaryToComplex(*2 * [to_float(image)]))


def to_float(image):
    return SimpleITK.Cast(image, SimpleITK.sitkFloat32)


@image_defect("colors")
def _(path):
    edit_image(path, lambda image: SimpleITK.Compose(*3 * [image]))


@image_defect("a 2-D image")
def _(path):
    edit_image(path, lambda image: image[:, :, 2])


@image_defect("a 4-D image in a folder of 3-D ones")
def _(path):
    edit_image(path, lambda image: SimpleITK.JoinSeries([image, image]))


@image_defect("a spacing of 0 mm")
def _(path):
    edit_header(path, SPACING, 1.0, 1.0, 0.0)


@image_defect("a spacing that is NaN")
def _(path):
    edit_header(path, SPACING, 1.0, float("nan"))


@image_defect("a position that is NaN")
def _(path):
    edit_header(path, PLACE, 0, 1, *18 * [float("nan")])


@image_defect("a voxel that is NaN")
def _(path):
    edit_voxels(path, set_first(np.nan), np.float32)


@image_defect("a voxel that is infinite")
def _(path):
    edit_voxels(path, set_first(-np.inf), np.float64)


@image_defect("an image that is 0 everywhere")
def _(path):
    edit_voxels(path, np.zeros_like, np.int16)


@image_defect("a modality of another size", image_path(CASE, "t1"))
def _(path):
    edit_voxels(path, lambda volume: volume[:, 1:], np.int16)


@image_defect("a modality of another spacing", image_path(CASE, "t1"))
def _(path):
    edit_header(path, SPACING, 1.0, 1.0, 1.0, 2.5)


@image_defect("a modality in another place", image_path(CASE, "t1"))
def _(path):
    def move(image):
        image.SetOrigin((5.0, -9.0, 3.0))
        return image

    edit_image(path, move)


@image_defect("a modality whose header alone is mirrored", image_path(CASE, "t1"))
def _(path):
    def mirror(image):
        image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))
        return image

    edit_image(path, mirror)


@image_defect("a folder under the name of an image")
def _(path):
    path.unlink()
    path.mkdir()


@image_defect("a link to nowhere")
def _(path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


@image_defect("a link to itself")
def _(path):
    path.unlink()
    path.symlink_to(path.name)


@image_defect("a link to an endless device")
def _(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@image_defect("a pipe under the name of an image")
def _(path):
    path.unlink()
    os.mkfifo(path)


@image_defect("an image without permission to read it")
def _(path):
    return without_permission(path)
