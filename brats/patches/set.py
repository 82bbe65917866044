"""Several patch files as one set to train on: what they have to agree in, and what they are.

In: the attributes of patch files. Out: those of their union, of which the run folder keeps a copy.
"""

import re
from itertools import combinations
from pathlib import Path

import numpy as np

from brats.editions import CLASSES, EDITIONS
from brats.errors import InputError, shortened
from brats.patches.centers import CENTERS
from brats.patches.file import AGREEMENT, SPLITS, read_settings

# Beside AGREEMENT. With other numbers of patches, the cases of one file would count for more.
SAME = ("dtype", "patches_per_case")
REMEDY = "Make them again with extract_patches.py and the same flags, or train on one of them."


def read_set_settings(paths):
    """Reads the attributes of patch files, and checks that they make one sound set.

    Args:
        paths: Sequence of paths, at least one.

    Returns:
        Dict of the attributes of a single file, as they are; or those of `AGREEMENT` and

        - `dtype`, `patches_per_case`, `centers` if they are not the published ones: what all files
          have.
        - `label_schemes`, `trained_as_background`, `warnings`: of all files.
        - `cases`, `split`: the ids of all files, in the order of the files.
        - `class_shares`: their mean, weighted by the numbers of cases.
        - `files`: a list of the attributes of each file, without those of `AGREEMENT`.

    Raises:
        FileNotFoundError: If a file does not exist.
        InputError: If one is no patch file, is given twice, or does not go with the others;
            names both, and both values.
    """
    _check_given_once(paths)
    files = [read_settings(path) for path in paths]
    if len(files) == 1:
        return files[0]
    for path, settings in zip(paths, files, strict=True):
        _check_whole(path, settings)
    for name in SAME:
        _check_equal(name, paths, [settings[name] for settings in files])
    centers = [settings.get("centers", CENTERS[0]) for settings in files]
    _check_equal("centers", paths, centers)
    for name in ("label_schemes", "trained_as_background"):
        for key in dict.fromkeys(key for settings in files for key in settings[name]):
            having = [
                (path, each[name][key])
                for path, each in zip(paths, files, strict=True)
                if key in each[name]
            ]
            _check_equal(f"{name} of {key}", *zip(*having, strict=True))
    _check_cases_are_in_one_file(paths, files)
    _check_patients_are_in_one_split(paths, files)
    return _union(files)


def _check_given_once(paths):
    """Raises an InputError if two paths are of one file."""
    for one, other in combinations(map(Path, paths), 2):
        if one.exists() and other.exists() and one.samefile(other):
            raise InputError(f"--patches names one file twice, {one} and {other}. Give each once.")


def _check_whole(path, settings):
    """Raises an InputError if a file does not say what a set of files is checked by."""
    kinds = {"dtype": str, "patches_per_case": int, "label_schemes": dict}
    kinds |= {"trained_as_background": dict, "warnings": dict, "class_shares": list}
    kinds |= {"cases": list, "split": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(settings.get(name), kind)]
    if not wrong:
        split, shares = settings["split"], settings["class_shares"]
        ids = [settings["cases"], *(split.get(name) for name in SPLITS)]
        if not all(isinstance(each, list) and all(map(_is_text, each)) for each in ids):
            wrong = ["split"]
        elif not settings["cases"]:
            wrong = ["cases"]
        if len(shares) != len(CLASSES) or not all(isinstance(each, float) for each in shares):
            wrong.append("class_shares")
    if wrong:
        raise InputError(
            f"{path} does not say its {', '.join(wrong)}, by which several patch files are held "
            "against each other. Make it again with extract_patches.py, or train on it alone."
        )


def _is_text(value):
    return isinstance(value, str)


def _check_equal(name, paths, values):
    """Raises an InputError if a value differs from the first; names both, and their files."""
    for path, value in zip(paths, values, strict=True):
        if value != values[0]:
            raise InputError(
                f"{path} has {name} {shortened(value)}, and {paths[0]} has {shortened(values[0])}; "
                f"expected the same in all files of --patches. {REMEDY}"
            )


def _check_cases_are_in_one_file(paths, files):
    """Raises an InputError if files share a case; names one, best one on both sides."""
    owners = {}
    for path, settings in zip(paths, files, strict=True):
        sides = {name: split for split in SPLITS for name in settings["split"][split]}
        shared = [name for name in sides if name in owners]
        if shared:
            name = next((each for each in shared if sides[each] != owners[each][1]), shared[0])
            other, side = owners[name]
            raise InputError(
                f"{path} and {other} have cases in common, {len(shared)} in all: "
                f"{shortened(name)} is in {sides[name]} of the one and in {side} of the other; "
                "expected each case in one file, so that none counts twice, and none that is "
                "trained on is validated on. Extract from data folders without a case in common, "
                "and name different cases differently."
            )
        owners.update({name: (path, split) for name, split in sides.items()})


def _check_patients_are_in_one_split(paths, files):
    """Raises an InputError if a patient is trained on in a file and validated on in another."""
    owners = {split: {} for split in SPLITS}
    for path, settings in zip(paths, files, strict=True):
        for split in SPLITS:
            for name in settings["split"][split]:
                patient = _patient(name, settings["label_schemes"])
                owners[split].setdefault(patient, (path, name))
    train, validation = (owners[split] for split in SPLITS)
    for patient in train:
        if patient in validation:
            (path, name), (other, other_name) = train[patient], validation[patient]
            raise InputError(
                f"{path} has {shortened(name)} to train on, and {other} has "
                f"{shortened(other_name)} of the same patient to validate on; expected each "
                "patient on one side, as scores are too good otherwise. Extract all visits of a "
                "patient into one file, or files to train on alone with --validation-fraction 0."
            )


def _patient(name, editions):
    """Returns the id of a case without the visit that a naming of its file ends ids in."""
    for edition in editions:
        visit = EDITIONS[edition].visit if edition in EDITIONS else None
        name = re.sub(visit, "", name) if visit else name
    return name


def _union(files):
    """Returns the attributes of a set of files, see `read_set_settings`."""
    merged = {name: {} for name in ("label_schemes", "trained_as_background", "warnings")}
    for name, values in merged.items():
        for settings in files:
            values.update(settings[name])
    num_cases = [len(settings["cases"]) for settings in files]
    shares = np.average([settings["class_shares"] for settings in files], 0, num_cases)
    return {
        **AGREEMENT,
        **{name: files[0][name] for name in (*SAME, "centers") if name in files[0]},
        **merged,
        "cases": [name for settings in files for name in settings["cases"]],
        "split": {
            split: [name for settings in files for name in settings["split"][split]]
            for split in SPLITS
        },
        "class_shares": shares.tolist(),
        "files": [
            {name: value for name, value in settings.items() if name not in AGREEMENT}
            for settings in files
        ],
    }


def describe_other_patches(before, now, paths_before):
    """Says in which way the patches of a run differ from those that it is to go on with.

    Args:
        before: Attributes of the patches that the run was trained on, as of `read_set_settings`.
        now: Those of the patches given.
        paths_before: What the run's setting `patches` was, for the message.

    Returns:
        A clause, or None if they do not differ.
    """
    if before == now:
        return None
    old, new = map(_files, (before, now))
    if len(old) == len(new) == 1:
        return "the patch file is another than it was trained on"
    if len(old) != len(new):
        return f"the files of --patches are {len(new)}, were {len(old)}: {shortened(paths_before)}"
    if all(each in new for each in old):
        return f"--patches has the files in another order, was {shortened(paths_before)}"
    differing = [str(n) for n, (a, b) in enumerate(zip(old, new, strict=True), 1) if a != b]
    return (
        f"--patches has other files (number {', '.join(differing)} of {len(new)}), was "
        f"{shortened(paths_before)}"
    )


def _files(settings):
    """Returns the attributes of each file of a set; damaged ones are taken for a single file's."""
    files = settings.get("files")
    return files if isinstance(files, list) else [settings]
