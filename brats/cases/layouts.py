"""Where the cases of a data folder lie, and the grades that folders or tables give them.

In: a folder with one or several data sets as they come out of their archives. Out: the path of
every case, and grades. A case is a folder or, in the Medical Segmentation Decathlon (MSD), a
four-dimensional image or, in a folder of images of nnU-Net, what the names of some begin with.
"""

from brats.cases.names import (
    REFERENCE,
    channel_groups,
    image_files,
    is_channel,
    is_visible,
    match_files,
    shows_brain,
)
from brats.cases.patients import case_id
from brats.editions import EDITIONS
from brats.errors import InputError, shortened
from brats.files import read_table

GRADES = ("HGG", "LGG")
SUBJECT = "subject_ID"  # Columns of ids in the tables of grades end so.
NO_VALUE = ("", "NA", None)  # In these tables; None if a line is short.
# Folders of MSD: images with a reference, images without one, the references.
TRAINING_IMAGES, TEST_IMAGES, TRAINING_LABELS = "imagesTr", "imagesTs", "labelsTr"
REFERENCES = {edition.references for edition in EDITIONS.values()}
MAX_DEPTH = 5  # <unpacked archive>/<data set>/NIfTI-files/images_structural/<case>


def find_case_paths(root, with_test_images=True):
    """Returns the paths of all cases up to `MAX_DEPTH` levels below a folder.

    A folder with an image that is named as a modality is a case; the data folder itself only if
    it has all four. A folder whose name begins with "brats" (lower or upper case) is a case, too,
    unless there are cases in it. In `imagesTr` and `imagesTs` every file is a case, or every four
    files named as those of nnU-Net.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(
            f"The data folder {root} {problem}. Give the folder that holds the case folders with "
            "--data-root."
        )
    numbers = _count_images(root)
    paths = _images_as_cases(root, least=1) or ([root] if numbers == {1} else [])
    paths = paths or [path for place in _folders(root) for path in _cases_at(place, MAX_DEPTH)]
    if not paths and numbers == {0, 1}:
        paths = [root]  # It is incomplete.
    paths = [path for path in paths if with_test_images or path.parent.name != TEST_IMAGES]
    first = {}
    for path in paths:
        name = case_id(path, root)
        if first.setdefault(name, path) != path:
            raise InputError(
                f"Two cases are called {name}: {first[name]} and {path}. Remove or rename one."
            )
    return paths


def find_ignored(root, cases):
    """Returns the images in the data folder itself, and the folders that hold no case, sorted."""
    around = {place for case in cases for place in (case, *case.parents)}
    images = [] if root in cases or _images_as_cases(root, 1) else image_files(root)
    outside = [] if root in cases else _folders_outside(root, around, set(cases))
    return sorted(set(images + outside) - around)


def folder_grade(root, path):
    """Returns the grade of the folder that a case lies in, or None."""
    return next((name for name in path.relative_to(root).parts if name in GRADES), None)


def read_grades(root, paths):
    """Reads the tables `name_mapping*.csv` above some cases: a dict from every id to its grade."""
    folders = {place for path in paths for place in path.parents if place.is_relative_to(root)}
    grades = {}
    for table in sorted(path for place in folders for path in place.glob("name_mapping*.csv")):
        for name, grade in _table_grades(table):
            if grades.setdefault(name, grade) != grade:
                raise InputError(
                    f"{table} gives {name!r} the grade {grade}; the line or table before it "
                    f"gives {grades[name]}. Correct or remove it."
                )
    return grades


def _table_grades(table):
    """Returns the pairs of an id and a grade in a table."""
    rows = read_table(table)
    names = [str(name) for name in rows[0]] if rows else []
    has_grades = "Grade" in names
    # Tables of validation cases have ids but no grades. "Grade;..." has other separators.
    is_split = has_grades or "Grade" not in "".join(names)
    if not (is_split and any(name.endswith(SUBJECT) for name in names)):
        raise InputError(
            f"{table} has the columns {_shown(names)}; expected Grade, "
            f"and one that ends in {SUBJECT}, separated by commas. Repair or remove it."
        )
    if not has_grades:
        return []
    unknown = {row["Grade"] for row in rows} - {*GRADES, *NO_VALUE}
    if unknown:
        raise InputError(
            f"{table} has the grades {_shown(sorted(unknown))}; "
            f"expected {' or '.join(GRADES)}. Repair or remove it."
        )
    return [
        (row[name], row["Grade"])
        for row in rows
        for name in names
        if name.endswith(SUBJECT) and row["Grade"] in GRADES and row[name] not in NO_VALUE
    ]


def _shown(values):
    return shortened(", ".join(map(repr, values)) or "none", 80)


def _folders(place):
    """Returns the folders in a folder that may be cases or hold cases, sorted."""
    paths = sorted(path for path in place.iterdir() if is_visible(path))
    for path in paths:
        if not (path.exists() or path.suffix):
            raise InputError(
                f"{path} is a link to {path.readlink()}, which does not exist. Mount its disk, or "
                "remove the link."
            )
    return [path for path in paths if path.is_dir() and path.name not in REFERENCES]


def _folders_outside(place, around, cases, levels=MAX_DEPTH):
    """Returns the folders below a folder that neither hold nor are a case."""
    found = []
    for folder in _folders(place):
        if folder in around:
            inner = folder not in cases
            found += _folders_outside(folder, around, cases, levels - 1) if inner else []
        elif folder.name != TEST_IMAGES and not _cases_at(folder, levels):
            found.append(folder)  # Incomplete cases are not ignored: they fail.
    return found


def _cases_at(place, levels):
    """Returns the case that a folder is, or the cases in it and in its folders."""
    if found := _images_as_cases(place):
        return found
    if shows_brain(image_files(place)):
        return [place]
    inner = _folders(place) if levels > 1 else []
    found = [path for folder in inner for path in _cases_at(folder, levels - 1)]
    return found or ([place] if place.name.lower().startswith("brats") else [])


def _images_as_cases(folder, least=2):
    """Returns the cases of a folder in which each image, or each four channels, is a case.

    Channels of fewer than `least` cases are those of one case, the folder.
    """
    images, is_of_msd = image_files(folder), folder.name in (TRAINING_IMAGES, TEST_IMAGES)
    groups = channel_groups(images)
    if len(groups) < least and not is_of_msd:
        return []
    whole = [image for image in images if is_of_msd and not is_channel(image)]
    return [*whole, *(folder / name for name in groups)]


def _count_images(folder):
    """Returns the set of how many files a folder holds for a modality: {1} if it is a case."""
    _, files = match_files(folder)
    return {len(found) for name, found in files.items() if name != REFERENCE}
