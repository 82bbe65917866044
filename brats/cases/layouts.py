"""Where the cases of a data folder lie, and what grade they are of.

In: a folder that holds data sets as they come out of their archives, one or several. Out: the path
of every case, a folder or, in the Medical Segmentation Decathlon (MSD), a four-dimensional image,
and the grades that folders or tables tell.
"""

from brats.errors import InputError, shortened
from brats.files import read_table

EXTENSIONS = (".nii.gz", ".nii")
GRADES = ("HGG", "LGG")
SUBJECT = "subject_ID"  # How the columns of ids end in the tables of grades.
NO_VALUE = ("", "NA", None)  # In these tables; None where a line ends early.
# Folders of MSD: images with ground truth, images without, the ground truth.
TRAINING_IMAGES, TEST_IMAGES, TRAINING_LABELS = "imagesTr", "imagesTs", "labelsTr"
MAX_DEPTH = 4  # <unpacked archive>/<data set>/HGG/<case>
# BraTS 2020 has one file of another name: the ground truth of this case.
MISNAMED = {"W39_1998.09.19_Segm": "BraTS20_Training_355_seg"}


def find_case_paths(root, with_test_images=True):
    """Finds every case under a folder, in the archives' own layouts and mixtures of them.

    A folder that holds NIfTI files is a case, and so is one whose name begins with "brats", in any
    case of letters, if there is no case in it. In `imagesTr` and `imagesTs` every file is a case.

    Args:
        root: Folder to search, `Path`; cases lie up to `MAX_DEPTH` levels below.
        with_test_images: Whether to look into `imagesTs`, which never has ground truth.

    Returns:
        List of paths of case folders and of four-dimensional images; `stem` gives their ids.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If two cases share an id; names both.
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
    _check_unique(paths)
    return paths


def find_ignored(root, cases):
    """Finds what lies beside cases and is none, and may have been meant as one.

    Args:
        root: Folder that was searched, `Path`.
        cases: Paths of the cases that were found in it.

    Returns:
        List of paths, sorted: images that lie in the root itself, and folders without a case in or
        above them.
    """
    around = {place for case in cases for place in (case, *case.parents)}
    images = [] if is_image_folder(root) else nifti_files(root)
    return sorted(set(images + _folders_outside(root, around)) - around)


def is_image_folder(folder):
    """Returns whether each file of a folder is a case of its own, as in MSD."""
    return folder.name in (TRAINING_IMAGES, TEST_IMAGES)


def nifti_files(folder):
    """Returns the paths of a folder that are named as NIfTI files, sorted."""
    # Hidden files, such as those that macOS adds to archives, are no images.
    # In any case of letters, so that what is not recognized is told.
    paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(EXTENSIONS))
    return [path for path in paths if _is_visible(path)]


def label_files(image):
    """Returns the paths of the ground truth of an image of MSD: one, or none."""
    folder = image.parents[1] / TRAINING_LABELS
    paths = [folder / f"{stem(image)}{extension}" for extension in EXTENSIONS]
    return [path for path in paths if path.exists()]


def stem(path):
    """Returns the name of a file without its extension, or the one it should have had."""
    name = path.name
    for extension in EXTENSIONS:
        name = name.removesuffix(extension)
    return MISNAMED.get(name, name)


def folder_grade(root, path):
    """Returns the grade of the folder that a case lies in, or None."""
    return next((name for name in path.relative_to(root).parts if name in GRADES), None)


def read_grades(root, paths):
    """Reads the grades in the files `name_mapping*.csv` that lie above some cases.

    Args:
        root: The data folder, `Path`.
        paths: Paths of cases below it.

    Returns:
        Dict from every id that such a file knows, of any edition, to "HGG" or "LGG".

    Raises:
        InputError: If a file is not a table of grades, or contradicts another; names it.
    """
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
    # Those of validation cases have ids and no grades.
    has_grades = "Grade" in names
    is_split = has_grades or "Grade" not in "".join(names)
    if not (is_split and any(name.endswith(SUBJECT) for name in names)):
        raise InputError(
            f"{table} has the columns {_quoted(names) or 'none'}; expected Grade, "
            f"and one that ends in {SUBJECT}, separated by commas. Repair or remove it."
        )
    if not has_grades:
        return []
    unknown = {row["Grade"] for row in rows} - {*GRADES, *NO_VALUE}
    if unknown:
        raise InputError(
            f"{table} has the grades {_quoted(sorted(unknown))}; "
            f"expected {' or '.join(GRADES)}. Repair or remove it."
        )
    return [
        (row[name], row["Grade"])
        for row in rows
        for name in names
        if name.endswith(SUBJECT) and row["Grade"] in GRADES and row[name] not in NO_VALUE
    ]


def _quoted(values):
    return shortened(", ".join(map(repr, values)), 80)


def _folders(place):
    """Returns the folders in a folder that may be cases or hold some, sorted.

    Raises:
        InputError: If one is a link to nowhere, as to a disk that is not mounted; names it.
    """
    paths = sorted(path for path in place.iterdir() if _is_visible(path))
    for path in paths:
        if not (path.exists() or path.suffix):
            raise InputError(
                f"{path} is a link to {path.readlink()}, which does not exist. Mount its disk, or "
                "remove the link."
            )
    return [path for path in paths if path.is_dir() and path.name != TRAINING_LABELS]


def _folders_outside(place, around):
    """Returns the folders of a folder that are not among some, and those in the others."""
    found = []
    for folder in _folders(place):
        if folder not in around:
            found += [folder] * (folder.name != TEST_IMAGES)  # Left out on purpose.
        elif not nifti_files(folder):
            found += _folders_outside(folder, around)
    return found


def _is_visible(path):
    return not path.name.startswith((".", "__MACOSX"))


def _cases_at(place, levels):
    """Returns the case that a folder is, or those in it and in its folders."""
    images = nifti_files(place)
    if images:
        return images if is_image_folder(place) else [place]
    inner = _folders(place) if levels > 1 else []
    found = [path for folder in inner for path in _cases_at(folder, levels - 1)]
    return found or ([place] if place.name.lower().startswith("brats") else [])


def _check_unique(paths):
    first = {}
    for path in paths:
        if stem(path) in first:
            raise InputError(
                f"Two cases are called {stem(path)}: {first[stem(path)]} and {path}. Remove or "
                "rename one."
            )
        first[stem(path)] = path
