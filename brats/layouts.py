"""Where the cases of a data folder lie, and what grade they are of.

In: a folder that holds data sets as they come out of their archives, one or several. Out: the path
of every case, a folder or, in the Medical Segmentation Decathlon (MSD), a four-dimensional image,
and the grades that folders or tables tell.
"""

from brats.errors import InputError
from brats.files import read_table

EXTENSIONS = (".nii.gz", ".nii")
GRADES = ("HGG", "LGG")
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


def is_image_folder(folder):
    """Returns whether each file of a folder is a case of its own, as in MSD."""
    return folder.name in (TRAINING_IMAGES, TEST_IMAGES)


def nifti_files(folder):
    """Returns the paths of a folder that are named as NIfTI files, sorted."""
    # Hidden files, such as those that macOS adds to archives, are no images.
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(EXTENSIONS))
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
        InputError: If a file is not a table; names it.
    """
    folders = {place for path in paths for place in path.parents if place.is_relative_to(root)}
    grades = {}
    for table in sorted(path for place in folders for path in place.glob("name_mapping*.csv")):
        for row in read_table(table):
            ids = [cell for name, cell in row.items() if str(name).endswith("subject_ID")]
            if row.get("Grade") in GRADES:
                grades |= dict.fromkeys(ids, row["Grade"])
    return grades


def _folders(place):
    """Returns the folders in a folder that may be cases or hold some, sorted."""
    paths = sorted(path for path in place.iterdir() if path.is_dir() and _is_visible(path))
    return [path for path in paths if path.name != TRAINING_LABELS]


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
