"""What editions of BraTS have in common, and in what they differ: names of files, values of labels.

In: label values of a file, and the `Edition` of its naming. Out: class indices, and the way back.
"""

from dataclasses import dataclass, field

import numpy as np

from brats.errors import InputError

MODALITIES = ("flair", "t1", "t1ce", "t2")  # The channel order of the original.
CLASSES = ("normal", "necrosis", "edema", "enhancing")
# The regions of BraTS, by the class indices that make them up.
REGIONS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}
UNKNOWN = 255  # No class: marks label values outside a edition.


@dataclass(frozen=True)
class Edition:
    """How one family of BraTS editions names its files and numbers its labels.

    Attributes:
        name: The edition that introduced it.
        labels: Value in the segmentation file of each class, in the order of `CLASSES`.
        suffixes: File name suffix of each modality, in the order of `MODALITIES`; empty if one
            file holds them all.
        segmentation: File name suffix of the ground truth.
        background: What other values mean that are trained as background and never predicted.
        components: Index of each modality along the fourth axis of the file that holds them all,
            in the order of `MODALITIES`; empty if each has a file.
        visit: Pattern of the end of a case id that tells visits of one patient apart, or None.
    """

    name: str
    labels: tuple
    suffixes: dict = field(default_factory=dict)
    segmentation: str = ""
    background: dict = field(default_factory=dict)
    components: dict = field(default_factory=dict)
    visit: str | None = None


# Label values cannot tell the editions apart (1, 3 and 4 change their meaning): the naming does.
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
        background={4: "resection cavity"},  # In 2024, which is named as 2023 is.
        visit=r"-\d{3}$",
    ),
    "msd": Edition(
        name="msd",
        labels=(0, 2, 1, 3),
        components={"flair": 0, "t1": 1, "t1ce": 2, "t2": 3},
    ),
}


def region_mask(classes, region):
    """Returns where a class volume belongs to a region of `REGIONS`, bool, of its shape."""
    return np.isin(classes, REGIONS[region])


def classes_to_labels(classes, edition):
    """Returns the label values of a edition for class indices, uint8, of the same shape."""
    return np.asarray(edition.labels, dtype=np.uint8)[classes]


def labels_to_classes(labels, edition):
    """Returns the class index of every label value of a edition.

    Values that the edition's `background` names are normal, index 0.

    Args:
        labels: Array of label values, any real dtype, any shape.
        edition: The `Edition` they follow.

    Returns:
        uint8 array of class indices 0 to 3, of the same shape.

    Raises:
        InputError: If a value is not a label of the edition; names the values.
    """
    labels = np.asarray(labels)
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[list(edition.labels)] = range(len(edition.labels))
    table[list(edition.background)] = 0
    # Only where there is tumor, 1 % of a volume: 0 is class 0 in every edition.
    tumor = labels != 0
    labelled = labels[tumor]
    with np.errstate(invalid="ignore"):  # A value that is none of uint8's differs below.
        values = labelled.astype(np.uint8)
    classes = np.zeros(labels.shape, dtype=np.uint8)
    classes[tumor] = table[values]
    unknown = (table[values] == UNKNOWN) | (values != labelled)
    if unknown.any():
        found = ", ".join(f"{value:g}" for value in np.unique(labelled[unknown])[:5])
        raise InputError(
            f"Unknown label values {found}; expected only "
            f"{(*edition.labels, *edition.background)}. "
            "Name the files as their edition does, or correct the segmentation."
        )
    return classes


def count_classes(classes):
    """Returns how often each class comes: uint8 indices of any shape to int64 `(4,)`."""
    tumor = [np.count_nonzero(classes == index) for index in range(1, len(CLASSES))]
    return np.array([classes.size - sum(tumor), *tumor])


def label_warnings(labels, edition):
    """Tells whether the labels of a case look like those of an edition of another naming.

    Args:
        labels: Array of label values.
        edition: The `Edition` of the files' naming.

    Returns:
        List of str, at most one.
    """
    # Enhancing tumor, the last class, is 3 in 2023 and 4 before, which is a cavity in 2024.
    enhancing = edition.labels[-1]
    counts = {value: np.count_nonzero(labels == value) for value in edition.background}
    return [
        f"{count:,} voxels of label {value} ({edition.background[value]}, trained as background), "
        f"and none of label {enhancing} ({CLASSES[-1]}): files of an earlier edition, renamed?"
        for value, count in counts.items()
        if count and not (labels == enhancing).any()
    ]
