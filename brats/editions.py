"""The editions of BraTS: their names of files and values of labels. Modalities, classes, regions.

In: label values of a file, and its `Edition`. Out: class indices; and label values of these.
"""

from dataclasses import dataclass, field

import numpy as np

from brats.errors import InputError

MODALITIES = ("flair", "t1", "t1ce", "t2")  # The channel order of the original.
CLASSES = ("normal", "necrosis", "edema", "enhancing")
# The regions of BraTS, and the class indices in each.
REGIONS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}
UNKNOWN = 255  # Stands for a label value that an edition does not have.


@dataclass(frozen=True)
class Edition:
    """File names and label values that several editions of BraTS share.

    Attributes:
        name: The first of these editions.
        labels: Value of each class in the segmentation file, in the order of `CLASSES`.
        suffixes: Dict from modality to file name suffix; empty if one file holds all modalities.
        segmentation: File name suffix of the reference.
        background: Dict from further label values to their meaning. They are trained as
            background and never predicted.
        components: Dict from modality to its index on the fourth axis of the file that holds all
            modalities; empty if each modality has a file.
        visit: Pattern of the number of the visit at the end of a case id, or None.
    """

    name: str
    labels: tuple
    suffixes: dict = field(default_factory=dict)
    segmentation: str = ""
    background: dict = field(default_factory=dict)
    components: dict = field(default_factory=dict)
    visit: str | None = None


# File names tell the editions apart. Label values cannot: 1, 3 and 4 change their meaning.
# Reference: the data pages of BraTS 2017 to 2024; `dataset.json` of MSD Task01_BrainTumour.
EDITIONS = {
    "2017": Edition(
        name="2017",
        labels=(0, 1, 2, 4),
        suffixes={"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2"},
        segmentation="_seg",
    ),
    "2023": Edition(
        name="2023",
        labels=(0, 1, 2, 3),
        suffixes={"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w"},
        segmentation="-seg",
        background={4: "resection cavity"},  # Only in 2024, whose files are named like in 2023.
        visit=r"-\d{3}$",
    ),
    "msd": Edition(
        name="msd",
        labels=(0, 2, 1, 3),
        components={"flair": 0, "t1": 1, "t1ce": 2, "t2": 3},
    ),
}


def region_mask(classes, region):
    """Returns the mask of a region of `REGIONS` in a class volume: bool, same shape."""
    return np.isin(classes, REGIONS[region])


def classes_to_labels(classes, edition):
    """Returns the label values of an edition for class indices: uint8, same shape."""
    return np.asarray(edition.labels, dtype=np.uint8)[classes]


def labels_to_classes(labels, edition):
    """Returns the class index of every label value of an edition.

    The values in the edition's `background` become class 0.

    Args:
        labels: Array of label values, any real dtype, any shape.
        edition: `Edition` of the labels.

    Returns:
        uint8 array of class indices 0 to 3, of the same shape.

    Raises:
        InputError: If a value is not a label of the edition. The message names the value.
    """
    labels = np.asarray(labels)
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[list(edition.labels)] = range(len(edition.labels))
    table[list(edition.background)] = 0
    # Label 0 is class 0 in every edition, so only the tumor, 1 % of a volume, is looked up.
    tumor = labels != 0
    labelled = labels[tumor]
    with np.errstate(invalid="ignore"):  # The comparison below finds values outside uint8.
        values = labelled.astype(np.uint8)
    classes = np.zeros(labels.shape, dtype=np.uint8)
    classes[tumor] = table[values]
    unknown = (table[values] == UNKNOWN) | (values != labelled)
    if unknown.any():
        expected = (*edition.labels, *edition.background)
        found = ", ".join(f"{value:g}" for value in np.unique(labelled[unknown])[:5])
        raise InputError(
            f"Unknown label values {found}; expected only {expected}. Name the files as their "
            "edition does, or correct the segmentation."
        )
    return classes


def count_classes(classes):
    """Returns the number of voxels of each class, int64 `(4,)`, of uint8 indices of any shape."""
    tumor = [np.count_nonzero(classes == index) for index in range(1, len(CLASSES))]
    return np.array([classes.size - sum(tumor), *tumor])


def label_warnings(labels, edition):
    """Returns a list of sentences: a warning if label values look like those of another edition."""
    # Enhancing tumor, the last class, is 4 until 2022 and 3 from 2023. In 2024, 4 is a cavity.
    enhancing = edition.labels[-1]
    counts = {value: np.count_nonzero(labels == value) for value in edition.background}
    return [
        f"{count:,} voxels of label {value} ({edition.background[value]}, trained as background), "
        f"and none of label {enhancing} ({CLASSES[-1]}): files of an earlier edition, renamed?"
        for value, count in counts.items()
        if count and not (labels == enhancing).any()
    ]
