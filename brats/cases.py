"""Cases on disk: finding them, their naming and their label values.

In: a folder of BraTS cases (directly, or inside `HGG` and `LGG`). Out: `Case` records that are
complete and sorted.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brats.errors import InputError

MODALITIES = ("flair", "t1", "t1ce", "t2")  # The channel order of the original.
CLASSES = ("normal", "necrosis", "edema", "enhancing")
GRADES = ("HGG", "LGG")
UNKNOWN = 255  # No class: marks label values outside a scheme.
EXTENSIONS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Scheme:
    """How one family of BraTS editions names its files and numbers its labels.

    Attributes:
        name: The edition that introduced it.
        suffixes: File name suffix of each modality, in the order of `MODALITIES`.
        segmentation: File name suffix of the ground truth.
        labels: Value in the segmentation file of each class, in the order of `CLASSES`.
        visit: Pattern of the end of a case id that tells visits of one patient apart, or None.
    """

    name: str
    suffixes: dict
    segmentation: str
    labels: tuple
    visit: str | None = None


# Label values cannot tell the editions apart (3 and 4 change their meaning): the naming does.
# Reference: the data pages of BraTS 2017 to 2023.
SCHEMES = {
    "2017": Scheme(
        name="2017",
        suffixes={"flair": "_flair", "t1": "_t1", "t1ce": "_t1ce", "t2": "_t2"},
        segmentation="_seg",
        labels=(0, 1, 2, 4),
    ),
    "2023": Scheme(
        name="2023",
        suffixes={"flair": "-t2f", "t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w"},
        segmentation="-seg",
        labels=(0, 1, 2, 3),
        visit=r"-\d{3}$",
    ),
}


@dataclass(frozen=True)
class Case:
    """One visit of one patient: the paths of its files.

    Attributes:
        id: Name of the case folder.
        folder: The case folder.
        scheme: `Scheme` by which its files are named and its labels numbered.
        images: Dict from modality to `Path`, in the order of `MODALITIES`.
        segmentation: Path of the ground truth, or None.
        grade: "HGG" or "LGG" if the case lies in a folder of that name, else None.
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
        root: Folder that holds the case folders, directly or inside `HGG` and `LGG`.
        need_segmentation: Whether a case without ground truth is incomplete.

    Returns:
        List of `Case`, sorted by id.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If there is no case, two cases share an id, or a case has no file, or more
            than one, for something it needs; with a table of what is wrong.
    """
    root = Path(root)
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(
            f"The data folder {root} {problem}. Give the folder that holds the case folders with "
            "--data-root."
        )
    folders = list(_find_case_folders(root))
    for folder, _ in folders:
        _check_not_parent(folder)
    found = [_match_files(*entry) for entry in folders]
    if not found and _nifti_files(root):
        raise InputError(f"{root} is a case itself; give the folder that holds it, {root.parent}.")
    if not found:
        raise InputError(
            f"No case found in {root}. Expected case folders such as {root}/BraTS2021_00000, or "
            f"{root}/HGG/<case>, each with files ending in "
            f"{', '.join(s + '.nii.gz' for s in SCHEMES['2017'].suffixes.values())}."
        )
    _check_complete(root, found, need_segmentation)
    _check_unique(found)
    return sorted((_case(*entry) for entry in found), key=lambda case: case.id)


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
    with np.errstate(invalid="ignore"):  # A value that is none of uint8's differs below.
        values = labels.astype(np.uint8)
    classes = table[values]
    unknown = (classes == UNKNOWN) | (values != labels)
    if unknown.any():
        found = ", ".join(f"{value:g}" for value in np.unique(labels[unknown])[:5])
        raise InputError(
            f"Unknown label values {found}; expected only {scheme.labels}. "
            "Name the files as their edition does, or correct the segmentation."
        )
    return classes


def _find_case_folders(root):
    """Yields (folder, grade) of every folder that holds NIfTI files or is named as a case."""
    places = [(root, None)] + [(root / grade, grade) for grade in GRADES]
    for place, grade in places:
        for folder in sorted(place.iterdir()) if place.is_dir() else []:
            is_case = folder.is_dir() and folder.name not in GRADES
            if is_case and (folder.name.lower().startswith("brats") or _nifti_files(folder)):
                yield folder, grade


def _check_not_parent(folder):
    """Raises `InputError` if what is named as a case is a folder of cases."""
    inner = [path for path in folder.iterdir() if path.is_dir() and _nifti_files(path)]
    if inner and not _nifti_files(folder):
        raise InputError(
            f"{folder} is no case, but holds cases such as {inner[0].name}. Give --data-root "
            f"{folder}."
        )


def _nifti_files(folder):
    # Hidden files, such as those that macOS adds to archives, are no images.
    names = sorted(path for path in folder.iterdir() if path.name.endswith(EXTENSIONS))
    return [path for path in names if not path.name.startswith(".")]


def _stem(path):
    for extension in EXTENSIONS:
        path = path.with_name(path.name.removesuffix(extension))
    return path.name


def _match_files(folder, grade):
    """Returns (folder, grade, scheme, files), where files lists the paths for each name."""
    paths = _nifti_files(folder)
    matches = {}
    for scheme in SCHEMES.values():
        suffixes = scheme.suffixes | {"seg": scheme.segmentation}
        matches[scheme.name] = {
            name: [path for path in paths if _stem(path).endswith(suffix)]
            for name, suffix in suffixes.items()
        }
    best = max(matches, key=lambda name: sum(map(bool, matches[name].values())))
    return folder, grade, SCHEMES[best], matches[best]


def _case(folder, grade, scheme, files):
    return Case(
        id=folder.name,
        folder=folder,
        scheme=scheme,
        images={modality: files[modality][0] for modality in MODALITIES},
        segmentation=files["seg"][0] if files["seg"] else None,
        grade=grade,
    )


def _check_complete(root, found, need_segmentation):
    needed = (*MODALITIES, "seg") if need_segmentation else MODALITIES
    columns = (*MODALITIES, "seg")
    rows = []
    for folder, _, _, files in found:
        missing = any(not files[name] for name in needed)
        if missing or any(len(paths) > 1 for paths in files.values()):
            counts = [{0: "-", 1: "yes"}.get(len(files[name]), "many") for name in columns]
            rows.append("".join(f"{cell:<8}" for cell in counts) + str(folder.relative_to(root)))
    if rows:
        table = "\n  ".join(["".join(f"{name:<8}" for name in columns) + "case", *rows])
        raise InputError(
            f"{len(rows)} of {len(found)} cases in {root} do not have exactly one file each for "
            f"{', '.join(needed)}. Complete or remove them:\n  {table}"
        )


def _check_unique(found):
    folders = {}
    for folder, *_ in found:
        if folder.name in folders:
            raise InputError(
                f"Two cases are called {folder.name}: {folders[folder.name]} and {folder}. "
                "Remove or rename one."
            )
        folders[folder.name] = folder
