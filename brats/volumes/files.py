"""One image file at a time.

In: a path. Out: its volume in LPS axes; or a label volume on disk, in the axes of the input.
"""

import gzip
import re

import numpy as np
import SimpleITK

from brats.errors import InputError
from brats.files import replacing
from brats.volumes.geometry import orient, read_geometry, to_stored_axes
from brats.volumes.nifti import build_nifti, check_finite, read_nifti

ITK_EXTENSIONS = (".mha", ".nrrd")  # Formats that ITK reads without losing errors.
SPACING_MM = (0.1, 10)  # Other voxel sizes are those of another unit.
WIDEST_MM = 1000  # No scanner is wider.


def read_volume(path):
    """Reads a three-dimensional image.

    Args:
        path: Path of a NIfTI file, or one of `ITK_EXTENSIONS`.

    Returns:
        `(volume, geometry)`: an array `(Z, Y, X)` in the type of the file, and a `Geometry`.

    Raises:
        InputError: If the file cannot be read, is truncated, is not three-dimensional, or holds
            values that are not finite. The message names the file.
    """
    voxels, geometry = read_image(path)
    if voxels.ndim != 3:
        raise InputError(
            f"{path} has size {voxels.shape[::-1]}; expected three dimensions and one number per "
            "voxel. Split the file, or convert it again."
        )
    return orient(voxels, geometry)


def read_image(path):
    """Returns `(voxels, geometry)` of a file of any dimensions, in the axes of the file.

    The array has the file's first axis last.
    """
    if str(path).lower().endswith(ITK_EXTENSIONS):
        voxels, geometry = _read_by_itk(path)
    else:
        voxels, geometry = read_nifti(path)
    least, most = SPACING_MM
    sides = list(zip(geometry.spacing_mm, voxels.shape[::-1], strict=False))
    if not all(least <= length <= most and length * num <= WIDEST_MM for length, num in sides):
        size = " x ".join(f"{length:g}" for length, _ in sides)
        raise InputError(
            f"{path} has voxels of {size} mm; expected {least:g} to {most:g} mm, and a volume of "
            f"at most {WIDEST_MM} mm. Correct the voxel size in its header, or its unit."
        )
    return voxels, geometry


def encode_volume(path, volume, geometry):
    """Returns the bytes that `write_volume` writes."""
    # Departure: the original drops the geometry, and the challenge's server gives no score.
    content = build_nifti(to_stored_axes(volume, geometry), geometry.as_stored)
    # Made again, it has the same bytes.
    return gzip.compress(content, mtime=0) if str(path).endswith(".gz") else content


def write_volume(path, volume, geometry, content=None):
    """Writes a compressed NIfTI file that is complete or absent, and reads it back to check it.

    Args:
        path: Final path, ending in `.nii.gz` or `.nii`.
        volume: Array `(Z, Y, X)`, written in its own dtype.
        geometry: The `Geometry` of the volume. The file gets the axes of `geometry.as_stored`.
        content: What `encode_volume` returned, if it has been called.

    Raises:
        OSError: If the folder is not writable, or the file does not read back as written.
    """
    content = content or encode_volume(path, volume, geometry)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        try:
            written, written_geometry = read_volume(temporary)
        except InputError as error:
            raise OSError(f"{path} does not read back as written: {error}") from error
        if not (np.array_equal(written, volume) and written_geometry.is_close_to(geometry)):
            raise OSError(f"{path} does not read back as written. Check the disk.")


def _read_by_itk(path):
    """Reads a file of another format than NIfTI; ITK raises an error if it is truncated."""
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # Not between progress bars.
    try:
        image = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        # ITK names one of its own objects by its address. This means nothing to a user.
        reason = re.sub(r"\w*\(?0x\w+\)?: *", "", str(error).strip().splitlines()[-1])
        raise InputError(
            f"Cannot read {path}: {reason}. Copy it again, or convert it to .nii.gz."
        ) from error
    voxels = SimpleITK.GetArrayFromImage(image)
    check_finite(path, voxels, "Repair or remove the case.")
    if image.GetNumberOfComponentsPerPixel() > 1:
        voxels = np.moveaxis(voxels, -1, 0)  # Of four dimensions.
    return voxels, read_geometry(image)
