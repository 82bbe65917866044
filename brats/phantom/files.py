"""The files of a synthetic case, in the layout of any edition.

In: images and classes. Out: NIfTI files with the names, folders, types and label values of the
edition, and in the naming "2020" a table of grades.
"""

import csv

import numpy as np
import SimpleITK

from brats.cases.layouts import TRAINING_IMAGES, TRAINING_LABELS
from brats.cases.names import EXTENSIONS
from brats.editions import EDITIONS, MODALITIES, classes_to_labels
from brats.files import make_writable_folder
from brats.volumes.files import write_volume
from brats.volumes.geometry import Geometry, build_image

GEOMETRY = Geometry((1.0, 1.0, 1.0), (0.0, -239.0, 0.0), tuple(np.eye(3).ravel().tolist()))
COMPRESSED, PLAIN = EXTENSIONS
# For each naming: its edition, the folder of a case (for "msd" its image) and the extension.
NAMINGS = {
    "2017": ("2017", "{grade}/Brats17_PHANTOM_{index:04d}_1", COMPRESSED),
    "2020": ("2017", "BraTS20_Training_{number:03d}", PLAIN),
    "2021": ("2017", "BraTS2021_{synthetic:05d}", COMPRESSED),
    "2023": ("2023", "BraTS-GLI-{synthetic:05d}-000", COMPRESSED),
    "msd": ("msd", TRAINING_IMAGES + "/BRATS_{number:03d}", COMPRESSED),
}


def write_case(root, index, grade, images, classes, naming):
    """Writes the images and classes of a case; returns its folder, or for "msd" its image."""
    edition_name, pattern, extension = NAMINGS[naming]
    # No real case of 2021 and 2023 has a number of 90000 or more.
    numbers = {"index": index, "number": index + 1, "synthetic": 90000 + index}
    path, edition = root / pattern.format(grade=grade, **numbers), EDITIONS[edition_name]
    labels = classes_to_labels(classes, edition)
    if edition.components:
        image, segmentation = (
            root / folder / f"{path.name}{extension}"
            for folder in (TRAINING_IMAGES, TRAINING_LABELS)
        )
        make_writable_folder(image.parent)
        channels = [build_image(images[modality], GEOMETRY) for modality in edition.components]
        SimpleITK.WriteImage(SimpleITK.JoinSeries(channels), str(image), useCompression=True)
        write_volume(segmentation, labels, GEOMETRY)
        return image
    volumes = {edition.suffixes[modality][0]: images[modality] for modality in MODALITIES}
    for suffix, volume in (volumes | {edition.segmentation[0]: labels}).items():
        write_volume(path / f"{path.name}{suffix}{extension}", volume, GEOMETRY)
    if naming == "2020":
        _append_grade(root / "name_mapping.csv", grade, path.name)
    return path


def _append_grade(table, grade, case_id):
    """Appends the grade of a case to a table, and creates the table if there is none."""
    is_new = not table.exists()
    with table.open("a", newline="") as file:
        header = [("Grade", "BraTS_2020_subject_ID")] if is_new else []
        csv.writer(file).writerows([*header, (grade, case_id)])
