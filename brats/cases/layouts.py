"""Where the cases of a data folder lie.

In: a folder with one or several data sets as they come out of their archives. Out: a `Match` of
every case: a folder or, in the Medical Segmentation Decathlon (MSD), a four-dimensional image or,
in nnU-Net, the images whose names differ in the last number only.
"""

import functools
import re
from dataclasses import replace

from brats.cases.names import REFERENCE, image_files, is_visible, match_edition, match_files, stem
from brats.cases.patients import case_id
from brats.editions import EDITIONS, MODALITIES
from brats.errors import InputError
from brats.files import parse_json

TRAINING_IMAGES, TEST_IMAGES = "imagesTr", "imagesTs"  # Folders of MSD and nnU-Net.
REFERENCES = {edition.references for edition in EDITIONS.values()}
EMPTY_CASE = r"brats.*[-_]\d+"  # Folders with such names are cases even without images.
MAX_DEPTH = 5  # <unpacked archive>/<data set>/NIfTI-files/images_structural/<case>
# Labels of MSD, and what the converters of nnU-Net for MSD and BraTS make of them.
# Reference: Dataset137_BraTS21.py and documentation/dataset_format.md of nnU-Net.
KNOWN_LABELS = (
    {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"},
    {"background": 0, "edema": 1, "non-enhancing tumor": 2, "enhancing tumour": 3},
    {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]},
)


def find_matches(root):
    """Returns the `Match` of every case up to `MAX_DEPTH` levels below a folder, by case id.

    A folder with images of all four modalities is a case. Any other folder is searched. If there
    is no case in it, but some image of a modality, it is an incomplete case. In `imagesTr` and
    `imagesTs` every image is a case, or every four images named as those of nnU-Net.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise FileNotFoundError(
            f"{root} {problem}. Give the folder of a case, or of case folders, with --data-root "
            "(make: DATA_ROOT=)."
        )
    found, list_references = {}, functools.cache(_images_by_name)
    for match in _search(root, MAX_DEPTH):
        name = case_id(match.path)
        if name in found:
            raise InputError(
                f"Two cases are called {name}: {found[name].path} and {match.path}. Remove or "
                "rename one."
            )
        if match.edition.references and not match.files[REFERENCE]:
            match.files[REFERENCE] = _references_outside(match, list_references)
        found[name] = match
    return found


def find_ignored(root, matches):
    """Returns the images beside cases, and the folders that hold no case, sorted."""
    above, used = set(), set()
    for match in matches:
        above |= {place for place in match.path.parents if place.is_relative_to(root)}
        used |= {match.path, *(file for files in match.files.values() for file in files)}
    beside = {each for place in above for each in (*_folders(place), *image_files(place))}
    return sorted(beside - above - used)


def _search(folder, levels):
    """Returns a list of `Match`: the cases in a folder, or the case that it is."""
    images = image_files(folder)
    if found := _images_as_cases(folder, images):
        return found
    match = match_edition(folder, images)
    has_modality = [bool(match.files[name]) for name in MODALITIES]
    if all(has_modality):
        return [match]
    inner = _folders(folder) if levels else []
    found = [each for below in inner for each in _search(below, levels - 1)]
    is_case = any(has_modality) or re.fullmatch(EMPTY_CASE, folder.name, re.IGNORECASE)
    return found or ([match] if is_case else [])


def _images_as_cases(folder, images):
    """Returns a `Match` for each image of MSD, and for all channels of each case of nnU-Net."""
    channels, others = {}, []
    for image in images:
        if name := re.fullmatch(r"(.+)_000[0-3]", stem(image)):
            channels.setdefault(name[1], []).append(image)
        else:
            others.append(image)
    edition = _read_dataset(folder) if channels else None
    found = [match_files(folder / name, some, edition) for name, some in channels.items()]
    if folder.name in (TRAINING_IMAGES, TEST_IMAGES):
        found += [match_files(image, [image], EDITIONS["msd"]) for image in others]
    return found


def _read_dataset(folder):
    """Returns the edition of images of nnU-Net, with the channels and labels of `dataset.json`."""
    edition, endings = EDITIONS["nnunet"], EDITIONS["mixed"].suffixes
    paths = [place / "dataset.json" for place in (folder, folder.absolute().parent)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        return edition
    try:
        dataset = parse_json(path.read_text(encoding="utf-8"))
        channels = dict(dataset.get("channel_names") or dataset["modality"])
        suffixes = {
            modality: (f"_{int(index):04d}",)
            for index, name in channels.items()
            for modality in MODALITIES
            if f"_{name}".lower() in endings[modality]
        }
        labels = edition.labels if dataset["labels"] in KNOWN_LABELS else None
    except (ValueError, TypeError, KeyError, AttributeError):
        suffixes = {}
    if len(suffixes) < len(MODALITIES):
        raise InputError(
            f"{path} must define labels and the channel_names FLAIR, T1, T1ce and T2. Correct it."
        )
    return replace(edition, suffixes=suffixes, labels=labels)


def _folders(place):
    """Returns the folders in a folder that may be cases or hold cases, sorted."""
    paths = sorted(path for path in place.iterdir() if is_visible(path))
    if broken := [path for path in paths if path.is_symlink() and not path.exists()]:
        raise InputError(f"{broken[0]} is a broken link. Mount its disk, or remove the link.")
    return [path for path in paths if path.is_dir() and path.name not in REFERENCES]


def _images_by_name(folder):
    """Returns the images in a folder, if it exists, by their names in lower case."""
    images = {}
    for image in image_files(folder) if folder.is_dir() else ():
        images.setdefault(stem(image).lower(), []).append(image)
    return images


def _references_outside(match, list_references):
    """Returns the references of a case in the folder that is beside the one of its images."""
    images = list_references(match.path.absolute().parent.parent / match.edition.references)
    names = [f"{stem(match.path)}{ending}".lower() for ending in match.edition.segmentation]
    return [image for name in names for image in images.get(name, ())]
