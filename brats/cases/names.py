"""The edition by which the files of a case are named.

In: the path of a case, and its images. Out: its `Edition`, and its files for each modality and the
reference.
"""

import re
from pathlib import Path
from typing import NamedTuple

from brats.editions import EDITIONS, MODALITIES, Edition

EXTENSIONS = (".nii.gz", ".nii")  # Predictions have these.
READABLE = (*EXTENSIONS, ".mha", ".nrrd")
REFERENCE = "seg"  # Stands for the reference among the names of modalities.
# The reference of one case of BraTS 2020 has a different name.
MISNAMED = {"W39_1998.09.19_Segm": "BraTS20_Training_355_seg"}


class Match(NamedTuple):
    """A case: its path, its `Edition`, and a list of files for each modality and `REFERENCE`."""

    path: Path
    edition: Edition
    files: dict


def image_files(folder):
    """Returns the paths in a folder that are named as images we can read, sorted."""
    paths = sorted(path for path in folder.iterdir() if path.name.lower().endswith(READABLE))
    return [path for path in paths if is_visible(path)]


def is_visible(path):
    """Returns whether a file is none of the hidden files that macOS adds to archives."""
    return not path.name.startswith((".", "__MACOSX"))


def stem(path):
    """Returns the name of a file without its extension, with a misnamed file put right."""
    ending = next((end for end in READABLE if path.name.lower().endswith(end)), "")
    name = path.name[: len(path.name) - len(ending)]
    return MISNAMED.get(name, name)


def match_edition(path, images):
    """Returns the `Match` of a case with the edition that most of its images fit."""
    place = str(path.absolute())
    matches = [
        match_files(path, images, edition)
        for edition in EDITIONS.values()
        if edition.suffixes and re.search(edition.cases, place, re.IGNORECASE)
    ]
    return max(matches, key=lambda match: sum(map(bool, match.files.values())))


def match_files(path, images, edition):
    """Returns the `Match` of a case with an edition. The longest ending of a name decides."""
    if edition.components:
        return Match(path, edition, dict.fromkeys(MODALITIES, images) | {REFERENCE: []})
    endings = edition.suffixes | {REFERENCE: edition.segmentation}
    by_ending = {end: [] for some in endings.values() for end in some if end}
    for image in images:
        name = f"/{stem(image)}".lower()
        if fitting := [end for end in by_ending if name.endswith(end)]:
            by_ending[max(fitting, key=len)].append(image)
    files = {
        name: [file for end in some for file in by_ending[end]]
        for name, some in edition.suffixes.items()
    }
    references = [by_ending[end] for end in edition.segmentation if by_ending.get(end)]
    return Match(path, edition, files | {REFERENCE: references[0] if references else []})
