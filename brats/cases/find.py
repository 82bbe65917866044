"""Finds the cases of a data folder.

In: a folder of cases of one edition or of several. Out: complete cases, sorted by id, and the
reason why each other case is incomplete.
"""

import itertools
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from brats.cases.layouts import (
    MAX_DEPTH,
    find_case_paths,
    find_ignored,
    folder_grade,
    read_grades,
)
from brats.cases.names import (
    READABLE,
    REFERENCE,
    expected_names,
    image_files,
    is_visible,
    match_files,
    shows_brain,
    stem,
)
from brats.cases.patients import case_id, patient_of, read_patients
from brats.editions import EDITIONS, MODALITIES, Edition, relabel
from brats.errors import Failed, InputError, shortened

MOST_FILES = 10_000  # A message takes no longer than to look at so many.
# Bytes of an id. A file may have 255; those of a case have up to 100 more while they are written.
MAX_NAME = 150
# What people have instead, and what to do with it, and the endings of its files.
OTHER_FILES = {
    "DICOM files; convert them with dcm2niix": (".dcm", ".ima"),
    "FreeSurfer images; convert them with mri_convert": (".mgz", ".mgh"),
    "images of another format; convert them to .nii.gz": (".mhd", ".hdr", ".mnc", ".npy"),
    "pictures; give the original images": (".png", ".jpg", ".tif", ".tiff"),
    "archives; unpack them": (".zip", ".tar", ".tgz", ".tar.gz"),
}


@dataclass(frozen=True)
class Case:
    """One visit of one patient: the paths of its files.

    Attributes:
        id: Name of the case folder, or of the file that holds all modalities; a folder of a visit
            has the patient's folder before it.
        folder: The folder of the images.
        edition: `Edition` by which its files are named and its labels numbered.
        images: Dict from modality to `Path`, in the order of `MODALITIES`. All paths are the same
            if the edition has components.
        segmentation: Path of the reference, or None.
        grade: "HGG" or "LGG" if a folder or a table says so, otherwise None.
        patient: Id of the patient. All visits have the same.
    """

    id: str
    folder: Path
    edition: Edition
    images: dict
    segmentation: Path | None
    grade: str | None
    patient: str

    def below(self, folder):
        """Returns the case with its relative paths taken as relative to a folder."""
        images = {name: folder / path for name, path in self.images.items()}
        segmentation = folder / self.segmentation if self.segmentation else None
        folder = folder / self.folder
        return replace(self, folder=folder, images=images, segmentation=segmentation)


def find_cases(root, need_segmentation, labels=(), need_labels=True):
    """Finds every case under a folder and checks that it has all of its files.

    Args:
        root: Folder that holds cases of one edition or of several, see `brats.cases.layouts`, or
            a case.
        need_segmentation: Whether a case without a reference is incomplete. The test images of
            MSD, which have no reference, are then left out.
        labels: Values of the flag `--labels`, which define the labels of all references; none for
            those of the edition.
        need_labels: Whether a case fails if it has a reference whose labels are unknown. If not,
            the case has no reference.

    Returns:
        `(cases, failures)`: the complete cases, a list of `Case`, and a `Failed` for each other
        case. It has no file or several files for something it needs, or its name cannot be
        printed, or its labels are unknown. Both lists are sorted by id.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If there is no case, no complete case, two cases share an id, or a table of the
            folder is wrong.
    """
    root = Path(root)
    paths = find_case_paths(root, with_test_images=not need_segmentation)
    if not paths:
        raise _nothing_found(root)
    grades = read_grades(root, paths)
    cases, failures = [], []
    for name, path in sorted((case_id(path, root), path) for path in paths):
        edition, files = match_files(path)
        edition = relabel(edition, labels)
        reason = _why_unusable(name) or _why_incomplete(path, edition, files, need_segmentation)
        if not reason and edition.labels is None and files[REFERENCE]:
            reason = _unknown_labels(files[REFERENCE][0], edition) if need_labels else None
            files[REFERENCE] = []
        if reason:
            failures.append(Failed(name if name.isprintable() else repr(name)[1:-1], reason))
            continue
        cases.append(
            Case(
                id=name,
                folder=path if path.is_dir() else path.parent,
                edition=edition,
                images={modality: files[modality][0] for modality in MODALITIES},
                segmentation=files[REFERENCE][0] if files[REFERENCE] else None,
                grade=folder_grade(root, path) or grades.get(stem(path)),
                patient=patient_of(name, edition),
            )
        )
    if not cases:
        reasons = "".join(f"\n  {failed.reason}" for failed in failures)
        raise InputError(f"No case in {root} is complete, of {len(failures)} found:{reasons}")
    patients = read_patients(root, [case.id for case in cases])
    cases = [replace(case, patient=patients.get(case.id, case.patient)) for case in cases]
    return cases, failures


def describe_ignored(root, cases):
    """Returns the images and folders under `root` that belong to no case, as text; "" if none.

    These include references with unknown labels, if their cases have been found without them.
    """
    paths = [case.folder if not case.edition.components else case.images["t1"] for case in cases]
    unread = [
        f"{path} (define its labels with --labels)"
        for case in cases
        if case.edition.labels is None and case.folder.is_dir()
        for path in match_files(case.folder)[1][REFERENCE]
    ]
    return _first_names([*unread, *map(str, find_ignored(Path(root), paths))])


def select_cases(cases, failures, ids):
    """Selects the cases with the given ids, complete or not.

    Args:
        cases: List of `Case`, as of `find_cases`.
        failures: List of `Failed`, as of `find_cases`.
        ids: Ids or paths of cases; none for all.

    Returns:
        `(cases, failures)`, those of them that have one of the ids.

    Raises:
        InputError: If no case has one of these ids, or none of them is complete.
    """
    if not ids:
        return cases, failures
    known = {case.id for case in cases} | {failure.case_id for failure in failures}
    ids = {each if each in known else Path(each).name for each in ids}  # Or the path of a case.
    unknown = ids - known
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
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _why_unusable(name):
    """Returns what is wrong with the name of a case, a sentence, or None."""
    if (length := len(os.fsencode(name))) > MAX_NAME:
        return (
            f"The name {shortened(name, 60)} has {length} bytes; expected at most {MAX_NAME}, as "
            "the files of the case are named by it. Rename its folder."
        )
    return None


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
        if len(found) > 1 or (not found and (need_segmentation or name != REFERENCE))
    }
    if not wrong:
        return None
    expected = ", ".join(expected_names(path, edition, name) for name in wrong)
    if path.is_dir():
        found = image_files(path) or sorted(filter(is_visible, path.iterdir()))
    else:
        found = files[REFERENCE]
    names = ", ".join(file.name for file in found[:20]) or "nothing"
    counts = " and ".join(f"{count} files for {name}" for name, count in wrong.items())
    return (
        f"{path} has {counts}; expected one each, named {expected} with the ending "
        f"{' or '.join(READABLE)}. Found {shortened(names)}."
        f"{_describe_others(found)} Complete the case, or remove it."
    )


def _unknown_labels(path, edition):
    kind = f"data set {edition.name}" if edition.name != "mixed" else "mixed file names"
    return (
        f"The labels of {path} are unknown ({kind}). Define them, such as --labels necrosis=1 "
        "edema=2 enhancing=3."
    )


def _nothing_found(root):
    """Returns the error for a folder without cases."""
    images = image_files(root)
    if shows_brain(images):
        return InputError(
            f"{root} holds {len(images)} images side by side. Give each case a folder of its own."
        )
    everything = (path for depth in range(MAX_DEPTH) for path in root.glob("*/" * depth + "*"))
    below = list(itertools.islice(everything, MOST_FILES))
    files = [path for path in below if is_visible(path) and path.is_file()]
    names = _first_names(sorted(str(path.relative_to(root)) for path in files or below))
    endings = {name: sorted(EDITIONS["mixed"].suffixes[name]) for name in MODALITIES}
    accepted = "; ".join(f"{name}: {', '.join(some)}" for name, some in endings.items())
    return InputError(
        f"No case found in {root}, which holds {names or 'nothing'}.{_describe_others(files)} "
        f"Expected folders such as {root}/BraTS2021_00000 or {root}/HGG/<case> with files such as "
        f"<case>_t1ce.nii.gz, or {root}/imagesTr/BRATS_001.nii.gz. Names of files end, "
        f"before {' or '.join(READABLE)}, in {accepted}. docs/data.md lists the data sets."
    )


def _describe_others(files):
    """Returns what files in formats that we cannot read are, as sentences."""
    others = Counter(
        what
        for path in files
        for what, endings in OTHER_FILES.items()
        if path.name.lower().endswith(endings)
    )
    return "".join(f" {count} are {what}." for what, count in others.most_common(2))
