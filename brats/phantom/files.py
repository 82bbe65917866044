"""The files of a synthetic case, as in one of the editions of BraTS.

In: images and classes. Out: NIfTI files with the names, folders, types and label values of the
edition.
"""

import numpy as np

from brats.editions import EDITIONS, MODALITIES, classes_to_labels
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry

GEOMETRY = Geometry((1.0, 1.0, 1.0), (0.0, -239.0, 0.0), tuple(np.eye(3).ravel().tolist()))
# The edition and the folder of a case. No real case has a number of 90000 or more.
NAMINGS = {
    "2017": ("2017", "{grade}/Brats17_PHANTOM_{index:04d}_1"),
    "2021": ("2017", "BraTS2021_9{index:04d}"),
    "2023": ("2023", "BraTS-GLI-9{index:04d}-000"),
}


def write_case(root, index, grade, images, classes, naming):
    """Writes the images and classes of a case, and returns its folder."""
    edition_name, pattern = NAMINGS[naming]
    folder, edition = root / pattern.format(grade=grade, index=index), EDITIONS[edition_name]
    volumes = {edition.suffixes[modality][0]: images[modality] for modality in MODALITIES}
    volumes[edition.segmentation[0]] = classes_to_labels(classes, edition)
    for suffix, volume in volumes.items():
        write_volume(folder / f"{folder.name}{suffix}.nii.gz", volume, GEOMETRY)
    return folder
