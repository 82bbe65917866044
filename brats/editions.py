"""Names of files and values of labels, by edition of BraTS or data set. Classes and regions.

In: label values of a file, and its `Edition`. Out: class indices; and label values of these.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from brats.errors import InputError
from brats.labels import CLASSES, parse_labels

MODALITIES = ("flair", "t1", "t1ce", "t2")  # The channel order of the original.
# The regions of BraTS, and the class indices in each.
REGIONS = {"whole": (1, 2, 3), "core": (1, 3), "enhancing": (3,)}
UNKNOWN = 255  # Marks voxels whose label an edition does not have.
TOLERANCE = 0.01  # Labels that were saved as floats differ from whole numbers by less.
# The values of the classes until 2022. Predictions of an edition with unknown labels have them.
LABELS_TO_2022 = (0, 1, 2, 4)


@dataclass(frozen=True)
class Edition:
    """File names and label values that several editions of BraTS, or another data set, share.

    Attributes:
        name: The first of these editions, or the data set.
        suffixes: Dict from modality to the endings of its file's name, in lower case; empty if one
            file holds all modalities. "/" stands for the beginning of the name.
        segmentation: Endings of the reference, the preferred one first.
        labels: Value of each class in the segmentation file, in the order of `CLASSES`; None if
            they are unknown. Then references cannot be read.
        references: Name of a folder beside the images' folder that may hold the reference, or "".
        cases: Pattern that the path of each case has; capitals make no difference.
        background: Dict from further label values to their meaning. They are trained as
            background and never predicted.
        merged: Dict from further label values to a class index. They are never predicted.
        components: Dict from modality to its index on the fourth axis of the file that holds all
            modalities; empty if each modality has a file.
        visit: Pattern of the visit at the end of a case id, beside the usual ones; or None.
        lesion_dilation: Steps of dilation that join lesions in the lesion-wise scores.
        lesion_ignored: Largest volume, in mm3, of a lesion that these scores ignore.
    """

    name: str
    suffixes: dict = field(default_factory=dict)
    segmentation: tuple = ()
    labels: tuple | None = LABELS_TO_2022
    references: str = ""
    cases: str = ""
    background: dict = field(default_factory=dict)
    merged: dict = field(default_factory=dict)
    components: dict = field(default_factory=dict)
    visit: str | None = None
    lesion_dilation: int = 3
    lesion_ignored: int = 50


def _names(patterns, words):
    """Returns a dict from modality to endings: every pattern with each of the modality's words."""
    return {
        name: tuple(
            pattern.format(word) for pattern in patterns.split() for word in some.split("|")
        )
        for name, some in zip(MODALITIES, words.split(), strict=True)
    }


NAMES_2023 = (_names("-{} _{}", "t2f t1n t1c t2w"), ("-seg", "_seg"))
CAVITY = {4: "resection cavity"}  # From 2024.
FROM_2023 = {"labels": (0, 1, 2, 3), "background": CAVITY}
FROM_2023 |= {"visit": r"(?<=-\d{5})-\d{3}$"}
OF_MSD = {"labels": (0, 2, 1, 3), "references": "labelsTr"}

# File names tell the editions apart. Label values cannot: 1, 3 and 4 change their meaning. Where
# two rows fit a case equally well, the first one counts.
# References: the data pages of BraTS 2017 to 2025; `dataset.json` of MSD Task01_BrainTumour; TCIA's
# pages of UPENN-GBM, UCSF-PDGM, TCGA-GBM and MU-Glioma-Post; BraTSPipeline.cxx of CaPTk;
# batchprocessor.py of BraTS-Toolkit; Dataset137_BraTS21.py of nnU-Net; Suter et al., "The LUMIERE
# dataset", 2022; the BIDS specification. Lesions: metrics.py of BraTS-2023-Metrics, 43c9052.
# fmt: off
_ROWS = (
    Edition("2017", _names("_{}", "flair t1 t1ce t2"), ("_seg",)),
    Edition("bare", _names("/{}", "flair t1 t1ce|t1c|t1gd t2"), ("/seg",)),
    Edition("upenn-gbm", _names("_{}", "flair t1 t1gd t2"), ("_segm",), references="images_segm",
            cases=r"UPENN-GBM[^/]*$"),
    Edition("tcga", _names("_{}", "flair t1 t1gd t2"),
            ("_glistrboost_manuallycorrected", "_glistrboost")),
    Edition("ucsf-pdgm", _names("_{}", "flair t1 t1c t2"), ("_tumor_segmentation",),
            visit=r"(_FU\w+?)?(_nifti)?$"),
    Edition("brats-toolkit", _names("_hdbet_brats_{}", "fla t1 t1c t2"), ("_seg",)),
    Edition("captk", _names("/{}_to_sri_brain", "fl t1 t1ce t2"), ("/braintumormask_sri",)),
    # Public readers of this set disagree about its labels.
    Edition("mu-glioma-post", _names("_brain_{}", "t2f t1n t1c t2w"), ("_tumormask",), labels=None),
    # From 2024, 2 is non-enhancing tumor and 3 is cyst. PED of 2023 is in the last row of 2023.
    Edition("2024-ped", *NAMES_2023, **FROM_2023 | {"labels": (0, 2, 4, 1), "background": {}},
            merged={3: 1}, cases=r"^(?!.*BraTS2023-PED).*BraTS-PED-\d[^/]*$"),
    Edition("2023-men", *NAMES_2023, **FROM_2023, cases=r"BraTS-MEN-\d[^/]*$", lesion_dilation=1),
    Edition("2023-met", *NAMES_2023, **FROM_2023, cases=r"BraTS-MET-\d[^/]*$", lesion_dilation=1,
            lesion_ignored=2),
    Edition("2023-unknown", *NAMES_2023, labels=None,
            cases=r"BraTS-(?!(GLI|SSA|GoAT|PED)-\d)[a-z][^/]*$"),
    # Gliomas, Sub-Saharan Africa, GoAT, PED of 2023, and names of one's own.
    Edition("2023", *NAMES_2023, **FROM_2023),
    Edition("bids", _names("_{}", "flair t1w ce-gadolinium_t1w t2w"), ("_dseg",), labels=None),
    Edition("lumiere", _names("/{}", "flair t1 ct1 t2"), ("/seg_mask",), labels=None),
    # `dataset.json` may define other channels and labels, see `brats.cases.layouts`.
    Edition("nnunet", _names("_{}", "0003 0000 0001 0002"), ("",), **OF_MSD),
    Edition("msd", segmentation=("",), **OF_MSD,
            components={"flair": 0, "t1": 1, "t1ce": 2, "t2": 3}),
)
# fmt: on


def _mix(rows):
    """Returns the edition of cases whose names belong to several rows."""
    some = {name: [end for row in rows for end in row.suffixes[name]] for name in MODALITIES}
    suffixes = {name: tuple(dict.fromkeys(endings)) for name, endings in some.items()}
    segmentation = dict.fromkeys(end for row in rows for end in row.segmentation)
    return Edition("mixed", suffixes, tuple(segmentation), labels=None)


EDITIONS = {row.name: row for row in (*_ROWS, _mix(_ROWS[:-2]))}


def region_mask(classes, region):
    """Returns the mask of a region of `REGIONS` in a class volume: bool, same shape."""
    return np.isin(classes, REGIONS[region])


def classes_to_labels(classes, edition):
    """Returns the label values of an edition for class indices: uint8, same shape."""
    return np.asarray(edition.labels or LABELS_TO_2022, dtype=np.uint8)[classes]


def labels_to_classes(labels, edition):
    """Returns the class index of every label value of an edition.

    Values within `TOLERANCE` of a label are that label. The values in the edition's `background`
    become class 0. If the labels of the edition are unknown, this reads our own predictions.

    Args:
        labels: Array of label values, any real dtype, any shape.
        edition: `Edition` of the labels.

    Returns:
        uint8 array of class indices 0 to 3, of the same shape.

    Raises:
        InputError: If a value is not a label of the edition. The message names the value.
    """
    labels, known = np.asarray(labels), edition.labels or LABELS_TO_2022
    indices = dict(zip(known, range(len(known)), strict=True))
    indices |= dict.fromkeys(edition.background, 0) | edition.merged
    # Label 0 is class 0 in every edition, so only the tumor, 1 % of a volume, is looked up.
    tumor = labels != 0
    values = labels[tumor].astype(float)
    found = np.full(values.shape, UNKNOWN, dtype=np.uint8)
    for value, index in indices.items():
        found[np.abs(values - value) <= TOLERANCE] = index
    if (unknown := values[found == UNKNOWN]).size:
        raise InputError(
            f"Unknown label values {', '.join(f'{value:g}' for value in np.unique(unknown)[:5])}; "
            f"expected only {tuple(indices)}. Correct the segmentation, or define its labels, such "
            "as --labels necrosis=1 edema=2 enhancing=3."
        )
    classes = np.zeros(labels.shape, dtype=np.uint8)
    classes[tumor] = found
    return classes


def relabel(edition, values):
    """Returns an edition with the labels of the flag `--labels`. No values leave it as it is."""
    if not values:
        return edition
    parsed = parse_labels(values)
    return replace(
        edition,
        labels=(0, *(parsed[name][0] for name in CLASSES[1:])),
        background=dict.fromkeys(parsed.get("normal", ()), "normal"),
        merged={
            value: index for index, name in enumerate(CLASSES[1:], 1) for value in parsed[name][1:]
        },
    )


def describe_labels(edition):
    """Returns the label values of an edition, a dict that JSON can hold."""
    return {
        "labels": dict(zip(CLASSES, edition.labels or LABELS_TO_2022, strict=True)),
        "merged": {str(value): CLASSES[index] for value, index in edition.merged.items()},
        "trained_as_background": {str(value): name for value, name in edition.background.items()},
    }


def count_classes(classes):
    """Returns the number of voxels of each class, int64 `(4,)`, of uint8 indices of any shape."""
    tumor = [np.count_nonzero(classes == index) for index in range(1, len(CLASSES))]
    return np.array([classes.size - sum(tumor), *tumor])


def label_warnings(labels, edition):
    """Returns a list of sentences: a warning if label values look like those before 2023."""
    # Enhancing tumor, and nothing else, was 4 until 2022. It is 3 from 2023.
    values = np.rint(labels[labels != 0])
    count = np.count_nonzero(values == 4)
    if edition.background != CAVITY or not count or (values == 3).any():
        return []
    return [
        f"{count:,} voxels of label 4 (resection cavity, trained as background), and none of label "
        "3 (enhancing): files of an earlier edition, renamed? Then give --labels necrosis=1 "
        "edema=2 enhancing=4."
    ]
