"""Cases on disk: finding them, their naming and their label values.

In: a folder of BraTS cases of any edition, or of several. Out: `Case` records that are complete
and sorted.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from brats.errors import InputError
from brats.layouts import (
    EXTENSIONS,
    find_case_paths,
    folder_grade,
    is_image_folder,
    label_files,
    nifti_files,
    read_grades,
    stem,
)

MODALITIES = ("flair", "t1", "t1ce", "t2")  # The channel order of the original.
CLASSES = ("normal", "necrosis", "edema", "enhancing")
UNKNOWN = 255  # No class: marks label values outside a scheme.


@dataclass(frozen=True)
class Scheme:
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
SCHEMES = {
    "2017": Scheme(
        name="2017",
        labels=(0, 1, 2, 4),
        suffixes={"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2"},
        segmentation="_seg",
    ),
    "2023": Scheme(
        name="2023",
        labels=(0, 1, 2, 3),
        suffixes={"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w"},
        segmentation="-seg",
        background={4: "resection cavity"},  # In 2024, which is named as 2023 is.
        visit=r"-\d{3}$",
    ),
    "msd": Scheme(
        name="msd",
        labels=(0, 2, 1, 3),
        components={"flair": 0, "t1": 1, "t1ce": 2, "t2": 3},
    ),
}


@dataclass(frozen=True)
class Case:
    """One visit of one patient: the paths of its files.

    Attributes:
        id: Name of the case folder, or of the file that holds all modalities.
        folder: The folder of the images.
        scheme: `Scheme` by which its files are named and its labels numbered.
        images: Dict from modality to `Path`, in the order of `MODALITIES`; the same path for all
            if the scheme has components. `brats.volumes.read_modalities` reads them.
        segmentation: Path of the ground truth, or None.
        grade: "HGG" or "LGG" if a folder or a table tells it, else None.
    """

    id: str
    folder: Path
    scheme: Scheme
    images: dict
    segmentation: Path | None
    grade: str | None

    @property
    def patient(self):
        """The id without the visit, so that visits of one patient stay together."""
        return re.sub(self.scheme.visit, "", self.id) if self.scheme.visit else self.id


def find_cases(root, need_segmentation):
    """Finds every case under a folder and checks that each has all of its files.

    Args:
        root: Folder that holds cases of one edition or of several, see `brats.layouts`.
        need_segmentation: Whether a case without ground truth is incomplete; the test images of
            MSD, which have none, are then left out.

    Returns:
        List of `Case`, sorted by id.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If there is no case, two cases share an id, a name cannot be printed, or a
            case has no file, or more than one, for something it needs; with a table of what is
            wrong.
    """
    root = Path(root)
    paths = find_case_paths(root, with_test_images=not need_segmentation)
    if not paths:
        raise _nothing_found(root)
    found = [(path, *_match_files(path)) for path in paths]
    _check_names(found)
    _check_complete(root, found, need_segmentation)
    grades = read_grades(root, paths)
    cases = [
        Case(
            id=stem(path),
            folder=path.parent if scheme.components else path,
            scheme=scheme,
            images={modality: files[modality][0] for modality in MODALITIES},
            segmentation=files["seg"][0] if files["seg"] else None,
            grade=folder_grade(root, path) or grades.get(stem(path)),
        )
        for path, scheme, files in found
    ]
    return sorted(cases, key=lambda case: case.id)


def select_cases(cases, ids):
    """Returns the cases with the given ids, in the order of `cases`.

    Raises:
        InputError: If an id is not among them.
    """
    unknown = sorted(set(ids) - {case.id for case in cases})
    if unknown:
        raise InputError(
            f"No case is called {', '.join(unknown)}. Found {len(cases)} cases, from "
            f"{cases[0].id} to {cases[-1].id}."
        )
    return [case for case in cases if case.id in set(ids)]


def classes_to_labels(classes, scheme):
    """Returns the label values of a scheme for class indices, uint8, of the same shape."""
    return np.asarray(scheme.labels, dtype=np.uint8)[classes]


def labels_to_classes(labels, scheme):
    """Returns the class index of every label value of a scheme.

    Values that the scheme's `background` names are normal, index 0.

    Args:
        labels: Array of label values, any real dtype, any shape.
        scheme: The `Scheme` they follow.

    Returns:
        uint8 array of class indices 0 to 3, of the same shape.

    Raises:
        InputError: If a value is not a label of the scheme; names the values.
    """
    labels = np.asarray(labels)
    table = np.full(256, UNKNOWN, dtype=np.uint8)
    table[list(scheme.labels)] = range(len(scheme.labels))
    table[list(scheme.background)] = 0
    # Only where there is tumor, 1 % of a volume: 0 is class 0 in every scheme.
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
            f"{(*scheme.labels, *scheme.background)}. "
            "Name the files as their edition does, or correct the segmentation."
        )
    return classes


def _nothing_found(root):
    """Returns the error of a folder without cases, which says what it holds."""
    if nifti_files(root):
        return InputError(f"{root} is a case itself; give the folder that holds it, {root.parent}.")
    names = sorted(path.name for path in root.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    suffixes = [
        ", ".join(suffix + EXTENSIONS[0] for suffix in scheme.suffixes.values())
        for scheme in SCHEMES.values()
        if scheme.suffixes
    ]
    return InputError(
        f"No case found in {root}, which holds {', '.join(names[:5]) or 'nothing'}{more}. Expected "
        f"case folders such as {root}/BraTS2021_00000, or {root}/HGG/<case>, each with files "
        f"ending in {' or '.join(suffixes)}; or {root}/imagesTr/BRATS_001{EXTENSIONS[0]}."
    )


def _match_files(path):
    """Returns the `Scheme` of a case and the list of its files for each modality and "seg"."""
    if is_image_folder(path.parent):
        return SCHEMES["msd"], dict.fromkeys(MODALITIES, [path]) | {"seg": label_files(path)}
    files = nifti_files(path)
    matches = {}
    for scheme in SCHEMES.values():
        if scheme.suffixes:
            suffixes = scheme.suffixes | {"seg": scheme.segmentation}
            matches[scheme.name] = {
                name: [file for file in files if stem(file).endswith(suffix)]
                for name, suffix in suffixes.items()
            }
    best = max(matches, key=lambda name: sum(map(bool, matches[name].values())))
    return SCHEMES[best], matches[best]


def _check_names(found):
    """Checks that all names can be printed, and given to ITK, which ends on those that cannot."""
    for path, _, files in found:
        for each in (path, *(file for paths in files.values() for file in paths)):
            if not str(each).isprintable():
                raise InputError(
                    f"The path {str(each)!r} has characters that cannot be printed, such as a "
                    "line break or what is not UTF-8. Rename it."
                )


def _check_complete(root, found, need_segmentation):
    needed = (*MODALITIES, "seg") if need_segmentation else MODALITIES
    columns = (*MODALITIES, "seg")
    rows = []
    for path, scheme, files in found:
        missing = any(not files[name] for name in needed)
        if missing or any(len(paths) > 1 for paths in files.values()):
            counts = [{0: "-", 1: "yes"}.get(len(files[name]), "many") for name in columns]
            cells = "".join(f"{cell:<8}" for cell in counts)
            rows.append(f"{cells}{path.relative_to(root)}{_unrecognized(path, scheme, files)}")
    if rows:
        table = "\n  ".join(["".join(f"{name:<8}" for name in columns) + "case", *rows])
        raise InputError(
            f"{len(rows)} of {len(found)} cases in {root} do not have exactly one file each for "
            f"{', '.join(needed)}. Complete or remove them:\n  {table}"
        )


def _unrecognized(path, scheme, files):
    """Returns the names of a case folder's images that end in no known suffix, as a remark."""
    known = {file for paths in files.values() for file in paths}
    others = [] if scheme.components else [p.name for p in nifti_files(path) if p not in known]
    more = ", ..." if len(others) > 3 else ""
    return f", not recognized: {', '.join(others[:3])}{more}" if others else ""
