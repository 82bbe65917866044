"""Where the cases of a data folder lie, and the grades that folders or tables give them.

In: a folder with one or several data sets as they come out of their archives. Out: the path of
every case, and grades. A case is a folder or, in the Medical Segmentation Decathlon (MSD), a
four-dimensional image.
"""

from brats.errors import InputError, shortened
from brats.files import read_table

EXTENSIONS = (".nii.gz", ".nii")
GRADES = ("HGG", "LGG")
SUBJECT = "subject_ID"  # Columns of ids in the tables of grades end so.
NO_VALUE = ("", "NA", None)  # In these tables; None if a line is short.
# Folders of MSD: images with a reference, images without one, the references.
TRAINING_IMAGES, TEST_IMAGES, TRAINING_LABELS = "imagesTr", "imagesTs", "labelsTr"
MAX_DEPTH = 4  # <unpacked archive>/<data set>/HGG/<case>
# The reference of one case of BraTS 2020 has a different name.
MISNAMED = {"W39_1998.09.19_Segm": "BraTS20_Training_355_seg"}


def find_case_paths(root, with_test_images=True):
    """Returns the paths of all cases up to `MAX_DEPTH` levels below a folder; `stem` is their id.

    A folder that holds NIfTI files is a case. A folder whose name begins with "brats" (lower or
    upper case) is a case, too, unless there are cases in it. In `imagesTr` and `imagesTs` every
    file is a case.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(
            f"The data folder {root} {problem}. Give the folder that holds the case folders with "
            "--data-root."
        )
    places = [root] if is_image_folder(root) else _folders(root)
    paths = [path for place in places for path in _cases_at(place, MAX_DEPTH)]
    paths = [path for path in paths if with_test_images or path.parent.name != TEST_IMAGES]
    first = {}
    for path in paths:
        if first.setdefault(stem(path), path) != path:
            raise InputError(
                f"Two cases are called {stem(path)}: {first[stem(path)]} and {path}. Remove or "
                "rename one."
            )
    return paths


def find_ignored(root, cases):
    """Returns the images in the data folder itself, and the folders that hold no case, sorted."""
    around = {place for case in cases for place in (case, *case.parents)}
    images = [] if is_image_folder(root) else nifti_files(root)
    return sorted(set(images + _folders_outside(root, around)) - around)


def is_image_folder(folder):
    """Returns whether each file of a folder is a case, as in MSD."""
    return folder.name in (TRAINING_IMAGES, TEST_IMAGES)


def nifti_files(folder):
    """Returns the paths in a folder that are named as NIfTI files, sorted."""
    # Endings in capitals are included, so that error messages show them.
    paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(EXTENSIONS))
    return [path for path in paths if _is_visible(path)]


def label_files(image):
    """Returns the paths of the reference of an image of MSD: usually one, or none."""
    folder = image.parents[1] / TRAINING_LABELS
    paths = [folder / f"{stem(image)}{extension}" for extension in EXTENSIONS]
    return [path for path in paths if path.exists()]


def stem(path):
    """Returns the name of a file without its extension, with a misnamed file put right."""
    name = path.name
    for extension in EXTENSIONS:
        name = name.removesuffix(extension)
    return MISNAMED.get(name, name)


def folder_grade(root, path):
    """Returns the grade of the folder that a case lies in, or None."""
    return next((name for name in path.relative_to(root).parts if name in GRADES), None)


def read_grades(root, paths):
    """Reads the tables `name_mapping*.csv` above some cases: a dict from every id to its grade."""
    folders = {place for path in paths for place in path.parents if place.is_relative_to(root)}
    grades = {}
    for table in sorted(path for place in folders for path in place.glob("name_mapping*.csv")):
        for case_id, grade in _table_grades(table):
            if grades.setdefault(case_id, grade) != grade:
                raise InputError(
                    f"{table} gives {case_id!r} the grade {grade}; the line or table before it "
                    f"gives {grades[case_id]}. Correct or remove it."
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
    paths = sorted(path for path in place.iterdir() if _is_visible(path))
    for path in paths:
        if not (path.exists() or path.suffix):
            raise InputError(
                f"{path} is a link to {path.readlink()}, which does not exist. Mount its disk, or "
                "remove the link."
            )
    return [path for path in paths if path.is_dir() and path.name != TRAINING_LABELS]


def _folders_outside(place, around, levels=MAX_DEPTH):
    """Returns the folders below a folder that neither hold nor are a case."""
    found = []
    for folder in _folders(place):
        if folder in around:
            found += [] if nifti_files(folder) else _folders_outside(folder, around, levels - 1)
        elif folder.name != TEST_IMAGES and not _cases_at(folder, levels):
            found.append(folder)  # Incomplete cases are not ignored: they fail.
    return found


def _is_visible(path):
    """Returns whether a file is none of the hidden files that macOS adds to archives."""
    return not path.name.startswith((".", "__MACOSX"))


def _cases_at(place, levels):
    """Returns the case that a folder is, or the cases in it and in its folders."""
    images = nifti_files(place)
    if images:
        return images if is_image_folder(place) else [place]
    inner = _folders(place) if levels > 1 else []
    found = [path for folder in inner for path in _cases_at(folder, levels - 1)]
    return found or ([place] if place.name.lower().startswith("brats") else [])
