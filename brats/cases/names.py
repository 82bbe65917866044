"""The edition by which the files of a case are named.

In: the path of a case. Out: its `Edition`, and its files for each modality and the reference.
"""

import re

from brats.cases.nnunet import read_dataset
from brats.editions import EDITIONS, MODALITIES

EXTENSIONS = (".nii.gz", ".nii")  # Predictions have these.
READABLE = (*EXTENSIONS, ".mha", ".nrrd")
REFERENCE = "seg"  # Stands for the reference among the names of modalities.
# The reference of one case of BraTS 2020 has a different name.
MISNAMED = {"W39_1998.09.19_Segm": "BraTS20_Training_355_seg"}
CHANNEL = r"_000[0-3]"  # Ends the name of an image of nnU-Net.


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


def channel_groups(files):
    """Returns the ids of cases of nnU-Net that some files belong to, sorted."""
    names = {re.sub(f"{CHANNEL}$", "", stem(file)) for file in files if is_channel(file)}
    return sorted(names)


def is_channel(file):
    """Returns whether a file is named as an image of nnU-Net."""
    return re.search(f"{CHANNEL}$", stem(file)) is not None


def shows_brain(files):
    """Returns whether some file is named as a modality of an edition."""
    mixed = _match(files, EDITIONS["mixed"])
    return any(map(is_channel, files)) or any(mixed[name] for name in MODALITIES)


def match_files(path):
    """Finds the edition of a case.

    Args:
        path: Path of a case: a folder, an image of MSD, or in a folder of images of nnU-Net what
            their names begin with.

    Returns:
        `(edition, files)`: the `Edition` that most files fit, and a dict from each modality and
        `REFERENCE` to a list of paths.
    """
    if path.is_file():
        edition = EDITIONS["msd"]
        return edition, dict.fromkeys(MODALITIES, [path]) | {REFERENCE: _outside(path, edition)}
    if path.is_dir():
        files = image_files(path)
    else:
        files = [file for file in image_files(path.parent) if _belongs(file, path)]
    matches = []
    for edition in (edition for edition in EDITIONS.values() if edition.suffixes):
        if re.search(edition.cases, str(path.absolute()), re.IGNORECASE):
            if edition.name == "nnunet" and any(map(is_channel, files)):
                edition = read_dataset(edition, path)
            found = _match(files, edition)
            found[REFERENCE] = found[REFERENCE] or _outside(path, edition)
            matches.append((edition, found))
    return max(matches, key=lambda match: sum(map(bool, match[1].values())))


def expected_names(path, edition, name):
    """Returns how the file of a case's modality or reference may end, as text for a message."""
    endings = edition.segmentation if name == REFERENCE else edition.suffixes[name]
    places = [f"*{end}" if end else f"{edition.references}/{stem(path)}" for end in endings]
    return " or ".join(places)


def _belongs(file, path):
    return is_channel(file) and re.sub(f"{CHANNEL}$", "", stem(file)) == path.name


def _match(files, edition):
    """Returns the files for each modality and the reference. The longest ending decides."""
    endings = edition.suffixes | {REFERENCE: edition.segmentation}
    all_endings = {end for some in endings.values() for end in some if end}
    by_ending = {}
    for file in files:
        name = stem(file).lower()
        fitting = [
            end
            for end in all_endings
            if name == end or (not end[0].isalpha() and name.endswith(end))
        ]
        if fitting:
            by_ending.setdefault(max(fitting, key=len), []).append(file)
    found = {
        name: [file for end in dict.fromkeys(some) for file in by_ending.get(end, ())]
        for name, some in endings.items()
    }
    preferred = (by_ending[end] for end in edition.segmentation if end in by_ending)
    return found | {REFERENCE: next(preferred, [])}


def _outside(path, edition):
    """Returns the references of a case in the folder that is beside the one of its images."""
    if not edition.references:
        return []
    # The parents of a relative path may end too early.
    case = path if len(path.parents) > 1 else path.absolute()
    folder = case.parents[1] / edition.references
    names = [f"{stem(path)}{ending}".lower() for ending in edition.segmentation]
    if not folder.is_dir():
        return []
    return [file for file in image_files(folder) if stem(file).lower() in names]
