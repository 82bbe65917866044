"""Several patch files as one set to train on.

In: folders or files. Out: their `CaseFile`s, once they agree, and what the run folder records.
"""

from pathlib import Path

from brats.cases.split import split_cases, split_fold
from brats.errors import InputError, shortened
from brats.patches.file import AGREEMENT, SUFFIX, read_case_file

# Files of one set have the same, so that no case counts for more than another.
SAME = ("dtype", "patches_per_case", "centers")


def open_patches(paths):
    """Finds the patch files of a set, and checks that they go together.

    Args:
        paths: Paths of folders of patch files, or of files.

    Returns:
        List of `CaseFile`, sorted by case id.

    Raises:
        FileNotFoundError: If a path does not exist.
        InputError: If a file is no patch file, two hold the same case, or two were made with
            different settings; names both files and both values.
    """
    files = [read_case_file(path) for given in paths for path in _find_files(Path(given))]
    first = {}
    for file in files:
        other = first.setdefault(file.id, file)
        if other is not file:
            raise InputError(
                f"{other.path} and {file.path} both hold case {file.id}. Give each case once."
            )
        for name in SAME:
            here, there = file.description[name], files[0].description[name]
            if here != there:
                raise InputError(
                    f"{file.path} has {name} {here}, and {files[0].path} has {there}; expected "
                    "one value in all files of --patches. Extract them with the same flags."
                )
    return sorted(files, key=lambda file: file.id)


def split_patches(files, fraction, num_folds=None, fold=None, seed=0):
    """Divides patch files into those to train on and those to validate on, by patient.

    Args:
        files: List of `CaseFile`.
        fraction: Share of the patients to validate on, unless folds are given.
        num_folds: Number of folds, int, or None.
        fold: Index of the validation fold, int, or None.
        seed: Seed of the split, int.

    Returns:
        Dict of "train" and "validation", lists of `CaseFile` sorted by id.

    Raises:
        InputError: As `brats.cases.split`.
    """
    if num_folds is None:
        parts = split_cases(files, fraction, seed)
    else:
        parts = split_fold(files, num_folds, fold, seed)
    return dict(zip(("train", "validation"), parts, strict=True))


def describe_patches(files):
    """Returns what the run folder records of a set, a dict that JSON can hold.

    Args:
        files: List of `CaseFile`, at least one.
    """
    names = (*AGREEMENT, *SAME)
    return {name: files[0].description[name] for name in names} | {
        "cases": {
            file.id: {
                "patient": file.patient,
                "grade": file.grade,
                "num_patches": file.num_patches,
                "checksum": file.checksum,
            }
            for file in files
        }
    }


def describe_other_patches(before, now):
    """Returns how a set differs from the one that a run was trained on, a clause, or None.

    Args:
        before: Dict of `describe_patches` that the run recorded.
        now: That of the patches given.
    """
    old, new = before.get("cases", {}), now["cases"]
    for name in sorted(now.keys() - {"cases"}):
        if before.get(name) != now[name]:
            return f"the patches have {name} {now[name]}, was {shortened(before.get(name))}"
    for problem, ids in (
        ("lack", sorted(old.keys() - new.keys())),
        ("have in addition", sorted(new.keys() - old.keys())),
        ("have other patches of", sorted(name for name in new if old.get(name) != new[name])),
    ):
        if ids:
            return f"--patches {problem} {shortened(', '.join(ids), 80)}"
    return None


def find_twins(files):
    """Returns sentences about cases with the same images: one patient under two ids.

    Args:
        files: List of `CaseFile`.
    """
    owners, found = {}, []
    for file in files:
        for name, state in file.description["inputs"].items():
            other, other_name = owners.setdefault(state["sha256"], (file.id, name))
            if other != file.id:
                found.append(
                    f"{name} is the same file as {other_name}: {file.id} and {other} may be one "
                    "patient under two ids."
                )
                break
    return found


def _find_files(path):
    """Returns the patch files in a folder, or the one that a path is."""
    if not path.exists():
        raise FileNotFoundError(
            f"The patches {path} do not exist. Make them with extract_patches.py, or give others "
            "with --patches."
        )
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.glob(f"*{SUFFIX}") if not each.name.startswith("."))
    if not found:
        raise InputError(
            f"The folder {path} holds no patch files, which end in {SUFFIX}. Make them with "
            "extract_patches.py, or give another folder with --patches."
        )
    return found
