"""Finds the cases of a data folder.

In: a folder of BraTS cases of one edition or of several. Out: complete cases, sorted by id, and the
reason why each other case is incomplete.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from brats.cases.layouts import (
    EXTENSIONS,
    TRAINING_LABELS,
    find_case_paths,
    find_ignored,
    folder_grade,
    label_files,
    nifti_files,
    read_grades,
    stem,
)
from brats.editions import EDITIONS, MODALITIES, Edition
from brats.errors import Failed, InputError, shortened


@dataclass(frozen=True)
class Case:
    """One visit of one patient: the paths of its files.

    Attributes:
        id: Name of the case folder, or of the file that holds all modalities.
        folder: The folder of the images.
        edition: `Edition` by which its files are named and its labels numbered.
        images: Dict from modality to `Path`, in the order of `MODALITIES`. All paths are the same
            if the edition has components.
        segmentation: Path of the reference, or None.
        grade: "HGG" or "LGG" if a folder or a table says so, otherwise None.
    """

    id: str
    folder: Path
    edition: Edition
    images: dict
    segmentation: Path | None
    grade: str | None

    def below(self, folder):
        """Returns the case with its relative paths taken as relative to a folder."""
        images = {name: folder / path for name, path in self.images.items()}
        segmentation = folder / self.segmentation if self.segmentation else None
        folder = folder / self.folder
        return replace(self, folder=folder, images=images, segmentation=segmentation)

    @property
    def patient(self):
        """The id without the visit, so that all visits of a patient stay together."""
        return re.sub(self.edition.visit, "", self.id) if self.edition.visit else self.id


def find_cases(root, need_segmentation):
    """Finds every case under a folder and checks that it has all of its files.

    Args:
        root: Folder that holds cases of one edition or of several, see `brats.cases.layouts`.
        need_segmentation: Whether a case without a reference is incomplete. The test images of
            MSD, which have no reference, are then left out.

    Returns:
        `(cases, failures)`: the complete cases, a list of `Case`, and a `Failed` for each other
        case. It has no file or several files for something it needs, or its name cannot be
        printed. Both lists are sorted by id.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If there is no case, no complete case, or two cases share an id.
    """
    root = Path(root)
    paths = sorted(find_case_paths(root, with_test_images=not need_segmentation), key=stem)
    if not paths:
        raise _nothing_found(root)
    grades = read_grades(root, paths)
    cases, failures = [], []
    for path in paths:
        edition, files = _match_files(path)
        if reason := _why_incomplete(path, edition, files, need_segmentation):
            case_id = stem(path) if stem(path).isprintable() else repr(stem(path))[1:-1]
            failures.append(Failed(case_id, reason))
            continue
        cases.append(
            Case(
                id=stem(path),
                folder=path.parent if edition.components else path,
                edition=edition,
                images={modality: files[modality][0] for modality in MODALITIES},
                segmentation=files["seg"][0] if files["seg"] else None,
                grade=folder_grade(root, path) or grades.get(stem(path)),
            )
        )
    if not cases:
        reasons = "".join(f"\n  {failed.reason}" for failed in failures)
        raise InputError(f"No case in {root} is complete, of {len(failures)} found:{reasons}")
    return cases, failures


def describe_ignored(root, cases):
    """Returns the images and folders under `root` that belong to no case, as text, or "nothing"."""
    paths = [case.folder if not case.edition.components else case.images["t1"] for case in cases]
    return _first_names(map(str, find_ignored(Path(root), paths)))


def select_cases(cases, failures, ids):
    """Selects the cases with the given ids, complete or not.

    Args:
        cases: List of `Case`, as of `find_cases`.
        failures: List of `Failed`, as of `find_cases`.
        ids: Ids of cases; none for all.

    Returns:
        `(cases, failures)`, those of them that have one of the ids.

    Raises:
        InputError: If no case has one of these ids, or none of them is complete.
    """
    if not ids:
        return cases, failures
    unknown = set(ids) - {case.id for case in cases} - {failure.case_id for failure in failures}
    if unknown:
        raise InputError(
            f"No case is called {', '.join(sorted(unknown))}. Found {len(cases)} cases, from "
            f"{cases[0].id} to {cases[-1].id}."
        )
    cases = [case for case in cases if case.id in ids]
    failures = [failure for failure in failures if failure.case_id in ids]
    if not cases:
        raise InputError(" ".join(failure.reason for failure in failures))
    return cases, failures


def _first_names(names):
    names = list(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more or "nothing"


def _match_files(path):
    """Returns the `Edition` of a case and the list of its files for each modality and "seg"."""
    if not path.is_dir():
        return EDITIONS["msd"], dict.fromkeys(MODALITIES, [path]) | {"seg": label_files(path)}
    files, matches = nifti_files(path), []
    for edition in (edition for edition in EDITIONS.values() if edition.suffixes):
        ends = _suffixes(edition).items()
        found = {name: [file for file in files if stem(file).endswith(end)] for name, end in ends}
        matches.append((edition, found))
    return max(matches, key=lambda match: sum(map(bool, match[1].values())))


def _suffixes(edition):
    return edition.suffixes | {"seg": edition.segmentation}


def _why_incomplete(path, edition, files, need_segmentation):
    """Returns what is wrong with the files of a case, a sentence, or None."""
    for each in (path, *(file for found in files.values() for file in found)):
        if not str(each).isprintable():  # ITK crashes on some of these names.
            return (
                f"The path {str(each)!r} has characters that cannot be printed, such as a line "
                "break, or is not UTF-8. Rename it."
            )
    wrong = {
        name: len(found)
        for name, found in files.items()
        if len(found) > 1 or (not found and (need_segmentation or name != "seg"))
    }
    if not wrong:
        return None
    if edition.components:
        expected, found = f"{TRAINING_LABELS}/{stem(path)}", files["seg"]
    else:
        expected = ", ".join(f"*{_suffixes(edition)[name]}" for name in wrong)
        found = nifti_files(path)
    names = ", ".join(file.name for file in found) or "nothing"
    counts = " and ".join(f"{count} files for {name}" for name, count in wrong.items())
    return (
        f"{path} has {counts}; expected one each, named {expected} with the ending "
        f"{' or '.join(EXTENSIONS)}. Found {shortened(names)}. Complete the case, or remove it."
    )


def _nothing_found(root):
    """Returns the error for a folder without cases."""
    images = nifti_files(root)
    if len(images) > len(MODALITIES) + 1:
        return InputError(
            f"{root} holds {len(images)} images side by side. Give each case a folder of its own."
        )
    if images:
        return InputError(f"{root} is a case itself; give the folder that holds it, {root.parent}.")
    names = _first_names(sorted(path.name for path in root.iterdir()))
    return InputError(
        f"No case found in {root}, which holds {names}. Expected folders such as "
        f"{root}/BraTS2021_00000 or {root}/HGG/<case> with files such as <case>_t1ce.nii.gz, or "
        f"{root}/imagesTr/BRATS_001.nii.gz. docs/data.md lists all names."
    )
