"""Volumes: reading, checking and writing NIfTI files, and the crop.

In: the files of a `Case`. Out: raw volumes and classes in one geometry, and label volumes on disk
in the geometry of the input.
"""

import contextlib
import math
import re
from dataclasses import dataclass, field

import numpy as np
import SimpleITK

from brats.editions import MODALITIES, label_warnings, labels_to_classes
from brats.errors import InputError
from brats.files import replacing
from brats.volumes.geometry import Geometry, read_grid, turn, turn_back
from brats.volumes.grids import grid_error
from brats.volumes.nifti import check_decompresses, check_stored_voxels, read_stored_voxels

NOTE = "ITK_FileNotes"  # ITK's name of the header's field `descrip`.


@dataclass(frozen=True)
class RawCase:
    """The voxels of one case.

    Attributes:
        volumes: One array `(Z, Y, X)` per modality, in the order of `MODALITIES`, in the
            type of its file.
        classes: Ground truth, uint8 class indices `(Z, Y, X)`, or None.
        geometry: The `Geometry` that all files share; the way the first one is stored.
        label_warnings: Sentences on labels that look like those of another edition.
    """

    volumes: list
    classes: np.ndarray | None
    geometry: Geometry
    label_warnings: list = field(default_factory=list)


def read_volume(path):
    """Reads a three-dimensional image.

    Args:
        path: Path of a NIfTI file.

    Returns:
        `(volume, geometry)`: an array `(Z, Y, X)` in the type of the file, and a `Geometry`.

    Raises:
        InputError: If the file cannot be read, is cut short, is not three-dimensional, or holds
            values that are not finite; names the file.
    """
    voxels, header = _read_image(path)
    num_components = header.GetNumberOfComponents()
    if header.GetDimension() != 3 or num_components != 1:
        vectors = f" of vectors of {num_components} numbers" if num_components > 1 else ""
        raise InputError(
            f"{path} has size {header.GetSize()}{vectors}; expected three dimensions and one "
            "number per voxel. Split the file, or convert it again."
        )
    return _turned(voxels, header)


def read_header_grid(path):
    """Reads the grid of an image without its voxels.

    Args:
        path: Path of a NIfTI file of three dimensions, or of four, of which the first three count.

    Returns:
        `(shape, geometry)`: the shape `(Z, Y, X)`, and a `Geometry`.

    Raises:
        InputError: If the file cannot be read, is cut short, or has other dimensions; names it.
    """
    check_stored_voxels(path)
    header = _read_header(path)
    if header.GetDimension() not in (3, 4):
        raise InputError(
            f"{path} has size {header.GetSize()}; expected three dimensions, or four in a folder "
            "imagesTr. Give the whole volume."
        )
    return read_grid(header)


def read_modalities(case, modalities=MODALITIES):
    """Reads modalities of a case, from a file each or from the one that holds them all.

    Args:
        case: A `Case`.
        modalities: Names of modalities.

    Returns:
        List of `(volume, geometry)`, in the order of `modalities`: an array `(Z, Y, X)` in the
        type of the file, and a `Geometry`.

    Raises:
        InputError: If a file cannot be read, is cut short, has other dimensions than its naming
            says, or holds values that are not finite; names the file.
    """
    components = case.edition.components
    if not components:
        return [read_volume(case.images[modality]) for modality in modalities]
    path = case.images[modalities[0]]
    volumes, header = _read_image(path)  # The modalities first.
    if header.GetDimension() != 4 or header.GetSize()[3] != len(components):
        raise InputError(
            f"{path} has size {header.GetSize()}; in a folder {path.parent.name}, expected four "
            f"dimensions, the last of {len(components)}: {', '.join(components)}. Put a case with "
            "a file for each modality into a folder of its own, named as in docs/data.md."
        )
    return [_turned(volumes[components[modality]], header) for modality in modalities]


def read_case(case):
    """Reads the modalities and, where there is one, the ground truth of a case.

    Args:
        case: A `Case`.

    Returns:
        A `RawCase`.

    Raises:
        InputError: If a file cannot be read, the files disagree in size or geometry, an image
            is 0 everywhere or holds a value that is not finite, or the ground truth an unknown
            label; names the case and the file.
    """
    paths, read = list(case.images.values()), read_modalities(case)
    if case.segmentation:
        paths, read = [*paths, case.segmentation], [*read, read_volume(case.segmentation)]
    volumes, geometries = zip(*read, strict=True)
    grids = [(volume.shape, geometry) for volume, geometry in read]
    for path, grid in zip(paths, grids, strict=True):
        if error := grid_error(case.id, path.name, grid, paths[0].name, grids[0]):
            raise InputError(error)
    for path, volume in zip(case.images.values(), volumes, strict=False):
        if _is_empty(volume):
            raise InputError(empty_error(path))
    classes, warnings = None, []
    if case.segmentation:
        try:
            classes = labels_to_classes(volumes[-1], case.edition)
        except InputError as error:
            raise InputError(f"Case {case.id}, {case.segmentation}: {error}") from error
        warnings = label_warnings(volumes[-1], case.edition)
    return RawCase(list(volumes[: len(MODALITIES)]), classes, geometries[0], warnings)


def empty_error(path):
    """Returns what is wrong with an image that has no brain, a sentence."""
    return f"{path} is 0 everywhere. Replace the image, or remove the case."


def build_image(volume, geometry):
    """Returns the SimpleITK image of an array `(Z, Y, X)`, in the axes that its file has."""
    image = SimpleITK.GetImageFromArray(turn_back(volume, geometry))
    image.SetSpacing(geometry.as_stored.spacing_mm)
    image.SetOrigin(geometry.as_stored.origin_mm)
    image.SetDirection(geometry.as_stored.direction)
    return image


def write_volume(path, volume, geometry, note=""):
    """Writes a compressed NIfTI file that is complete or absent, and reads it back.

    Args:
        path: Final path, ending in `.nii.gz`.
        volume: Array `(Z, Y, X)`, written in its own dtype.
        geometry: The `Geometry` to write, in the axes that it is stored in.
        note: Text for the header's field `descrip`, at most 79 characters of ASCII.

    Raises:
        OSError: If the folder is not writable, or the file does not read back as written.
    """
    # Departure: the original drops the geometry, and the challenge's server gives no score.
    image = build_image(volume, geometry)
    image.SetMetaData(NOTE, note)
    with replacing(path) as temporary:
        try:
            SimpleITK.WriteImage(image, str(temporary), useCompression=True)
            written, written_geometry = read_volume(temporary)
        except (RuntimeError, InputError) as error:
            raise OSError(f"Cannot write {path}. Is the disk full?") from error
        if not (np.array_equal(written, volume) and written_geometry.is_close_to(geometry)):
            raise OSError(f"{path} does not read back as written. Is the disk full?")


def _is_empty(volume):
    """Returns whether a volume is 0 everywhere; of most, the slice in the middle tells."""
    return not (volume[len(volume) // 2].any() or volume.any())


def _turned(array, header):
    """Returns volume `(Z, Y, X)` and `Geometry` of an image in three dimensions, as of BraTS."""
    # Departure: the original takes every file for one with the axes of BraTS.
    _, geometry = read_grid(header)
    return turn(array, geometry), geometry


def _read_header(path):
    header = SimpleITK.ImageFileReader()
    header.SetFileName(str(path))
    with explaining_itk(path):
        header.ReadImageInformation()
    return header


def _read_image(path):
    """Returns `(voxels, header)`: an array, the first axis of the file last, and ITK's header."""
    layout = check_stored_voxels(path)
    header = _read_header(path)
    stored = read_stored_voxels(path, layout)
    is_as_stored = not layout.is_scaled and header.GetNumberOfComponents() == 1
    if is_as_stored and math.prod(header.GetSize()) == stored.size:
        return stored.reshape(header.GetSize()[::-1]), header
    with explaining_itk(path):
        voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    if voxels.dtype.kind == "f" and not np.isfinite(voxels).all():
        raise InputError(
            f"{path} holds values that are not finite once scaled as its header says (scl_slope, "
            "scl_inter). Repair the header, or copy the file again."
        )
    return voxels, header


@contextlib.contextmanager
def explaining_itk(path):
    """Turns an error that ITK meets in reading a file into one that names it.

    Raises:
        InputError: If ITK raised; says what is wrong with the compression, or else ITK's reason.
    """
    try:
        yield
    except RuntimeError as error:
        check_decompresses(path)
        # ITK says in which object of its own, by address.
        reason = re.sub(r"\w*\(?0x\w+\)?: *", "", str(error).strip().splitlines()[-1])
        raise InputError(
            f"Cannot read {path} as a NIfTI image: {reason}. Convert it again, or remove the case."
        ) from error
