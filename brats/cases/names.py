"""The edition by which the files of a case are named.

In: the path of a case, and its images. Out: its `Edition`, and its files for each modality and the
reference.
"""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

from brats.editions import EDITIONS, MODALITIES, Edition

EXTENSIONS = (".nii.gz", ".nii")  # Predictions have these.
READABLE = (*EXTENSIONS, ".mha", ".nrrd")
REFERENCE = "seg"  # Stands for the reference among the names of modalities.
# The reference of one case of BraTS 2020 has a different name.
MISNAMED = {"W39_1998.09.19_Segm": "BraTS20_Training_355_seg"}
# Names of folders that name no case. They are left out of its id.
UNNAMED = "anat|hdbet_brats-space|brats_output|output|outputdir|nifti|images"
PREFIX = r"BraTS-(?:[a-z]+-)+\d[^/]*$"  # From 2023; it decides the edition.
TISSUES = ("_brain", "-brain", "/brain", "_skull")  # In names of segmentations of no tumor.


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
    """Returns the `Match` of a case with its edition, and the images of all editions' names.

    The edition is that of the prefix of the folder's or files' names, or that of most files.
    """
    images = [each for each in images if not re.search("brain[-_]?mask", each.name, re.IGNORECASE)]
    place = path.absolute()
    place = place.parent if re.fullmatch(UNNAMED, place.name, re.IGNORECASE) else place
    places = "\n".join(map(str, (place, *(image.absolute() for image in images))))
    flags = re.IGNORECASE | re.MULTILINE
    rows = [each for each in EDITIONS.values() if each.suffixes]
    rows = [each for each in rows if re.search(each.cases, places, flags)]
    every = match_files(path, images, EDITIONS["mixed"])
    if re.search(PREFIX, places, flags):
        names = EDITIONS["2023"].suffixes
        return every._replace(edition=next(each for each in rows if each.suffixes == names))
    matches = [match_files(path, images, edition) for edition in rows]
    best = max(matches, key=lambda match: sum(map(bool, match.files.values())))
    if not set(best.files[REFERENCE]) <= set(every.files[REFERENCE]):
        every.files[REFERENCE] = best.files[REFERENCE]
    return best._replace(files=every.files)


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
    references = {}
    for end in edition.segmentation:
        found = [file for file in by_ending.get(end, ()) if _is_of_tumor(file, end, files)]
        references.setdefault(end[1:], []).extend(found)
    return Match(path, edition, files | {REFERENCE: next(filter(None, references.values()), [])})


def _is_of_tumor(reference, ending, files):
    """Returns whether the rest of a reference's name is not that of an image or of a tissue."""
    rest = f"/{stem(reference)}".lower().removesuffix(ending)
    others = (*TISSUES, *itertools.chain(*EDITIONS["mixed"].suffixes.values()))
    names = [f"/{stem(image)}".lower() for image in files["flair"]]
    shared = any(name.startswith((f"{rest}_", f"{rest}-")) for name in names)
    return shared or not rest.endswith(others)
