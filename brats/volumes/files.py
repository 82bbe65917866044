"""One NIfTI file at a time.

In: a path. Out: its volume in LPS axes; or a label volume on disk, in the axes of the input.
"""

import contextlib
import math
import re

import numpy as np
import SimpleITK

from brats.errors import InputError
from brats.files import replacing
from brats.volumes.geometry import build_image, orient
from brats.volumes.nifti import read_stored_voxels


def read_volume(path):
    """Reads a three-dimensional image.

    Args:
        path: Path of a NIfTI file.

    Returns:
        `(volume, geometry)`: an array `(Z, Y, X)` in the type of the file, and a `Geometry`.

    Raises:
        InputError: If the file cannot be read, is truncated, is not three-dimensional, or holds
            values that are not finite. The message names the file.
    """
    voxels, header = read_image(path)
    num_components = header.GetNumberOfComponents()
    if header.GetDimension() != 3 or num_components != 1:
        vectors = f" of vectors of {num_components} numbers" if num_components > 1 else ""
        raise InputError(
            f"{path} has size {header.GetSize()}{vectors}; expected three dimensions and one "
            "number per voxel. Split the file, or convert it again."
        )
    return orient(voxels, header)


def read_image(path):
    """Returns `(voxels, header)`: an array with the file's first axis last, and ITK's header."""
    stored, is_scaled = read_stored_voxels(path)
    header = SimpleITK.ImageFileReader()
    header.SetFileName(str(path))
    with _naming(path):
        header.ReadImageInformation()
    is_as_stored = not is_scaled and header.GetNumberOfComponents() == 1
    if is_as_stored and math.prod(header.GetSize()) == stored.size:
        return stored.reshape(header.GetSize()[::-1]), header
    with _naming(path):
        voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(
            f"{path} holds values that are not finite once scaled as its header says (scl_slope, "
            "scl_inter). Repair the header, or copy the file again."
        )
    return voxels, header


def write_volume(path, volume, geometry):
    """Writes a compressed NIfTI file that is complete or absent, and reads it back to check it.

    Args:
        path: Final path, ending in `.nii.gz`.
        volume: Array `(Z, Y, X)`, written in its own dtype.
        geometry: The `Geometry` of the volume. The file gets the axes of `geometry.as_stored`.

    Raises:
        OSError: If the folder is not writable, or the file does not read back as written.
    """
    # Departure: the original drops the geometry, and the challenge's server gives no score.
    image = build_image(volume, geometry)
    with replacing(path) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True)
            written, written_geometry = read_volume(temporary)
        except (RuntimeError, InputError) as error:
            raise OSError(f"Cannot write {path}. Is the disk full?") from error
        if not (np.array_equal(written, volume) and written_geometry.is_close_to(geometry)):
            raise OSError(f"{path} does not read back as written. Is the disk full?")


@contextlib.contextmanager
def _naming(path):
    """Turns an error of ITK into an `InputError` that names the file."""
    try:
        yield
    except RuntimeError as error:
        # ITK names one of its own objects by its address. This means nothing to a user.
        reason = re.sub(r"\w*\(?0x\w+\)?: *", "", str(error).strip().splitlines()[-1])
        raise InputError(
            f"Cannot read {path} as a NIfTI image: {reason}. Convert it again, or remove the case."
        ) from error
