"""Finds the cases of a data folder.

In: a folder of cases of one edition or of several, or four images. Out: complete cases, sorted by
id, and the reason why each other case is incomplete.
"""

import itertools
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from brats.cases.layouts import TEST_IMAGES, find_ignored, find_matches
from brats.cases.names import EXTENSIONS, READABLE, REFERENCE, is_visible, stem
from brats.cases.patients import folder_grade, patient_of, read_grades, read_patients
from brats.editions import EDITIONS, MODALITIES, Edition, relabel
from brats.errors import Failed, InputError, shortened

MOST_FILES = 10_000  # A message takes no longer than to look at so many.
# Bytes of an id. The name of a file has up to 255. The longest name that we write is
# ".writing-<host>-<process>-<id>-enhancing.nii.gz", with up to 64 for the host and 7 for a process.
MAX_NAME = 255 - len(".writing----enhancing.nii.gz") - 64 - 7
# What people have instead, and what to do with it, and the endings of its files.
OTHER_FILES = {
    "DICOM files; convert them with dcm2niix": (".dcm", ".ima"),
    "FreeSurfer images; convert them with mri_convert": (".mgz", ".mgh"),
    "images of another format; convert them to .nii.gz": (".mhd", ".hdr", ".mnc", ".npy"),
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
        warnings: Sentences about its files.
    """

    id: str
    folder: Path
    edition: Edition
    images: dict
    segmentation: Path | None
    grade: str | None
    patient: str
    warnings: tuple = ()

    def below(self, folder):
        """Returns the case with its relative paths taken as relative to a folder."""
        images = {name: folder / path for name, path in self.images.items()}
        segmentation = folder / self.segmentation if self.segmentation else None
        folder = folder / self.folder
        return replace(self, folder=folder, images=images, segmentation=segmentation)


def find_cases(root, need_segmentation, labels=(), need_labels=True):
    """Finds every case under a folder and checks that it has all of its files.

    Args:
        root: Folder that holds cases of one edition or of several, or is a case.
        need_segmentation: Whether a case without a reference is incomplete. The test images of
            MSD, which have no reference, are then left out.
        labels: Values of the flag `--labels`, which define the labels of all references.
        need_labels: Whether a case fails if the labels of its reference are unknown. If not, the
            case has no reference.

    Returns:
        `(cases, failures)`: the complete cases, a list of `Case`, and a `Failed` for each other
        case. Both lists are sorted by id.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If no case is complete, two cases share an id, or a table is wrong.
    """
    root = Path(root)
    found = find_matches(root)
    if need_segmentation:
        found = {name: each for name, each in found.items() if each.path.parent.name != TEST_IMAGES}
    if not found:
        raise _nothing_found(root)
    grades = read_grades(root, [match.path for match in found.values()])
    cases, failures = [], []
    for name, match in sorted(found.items()):
        match = match._replace(edition=relabel(match.edition, labels))
        reason = _wrong_name(name, match.path, match.files)
        reason = reason or _wrong_files(match, need_segmentation)
        if reason := reason or (_unknown_labels(match) if need_labels else None):
            failures.append(Failed(name if name.isprintable() else repr(name)[1:-1], reason))
        else:
            grade = folder_grade(root, match.path) or grades.get(stem(match.path))
            cases.append(_case(name, match, grade))
    if not cases:
        reasons = "".join(f"\n  {failed.reason}" for failed in failures)
        raise InputError(f"No case in {root} can be used, of {len(failures)} found:{reasons}")
    patients = read_patients(root, {case.id: case.folder for case in cases})
    cases = [replace(case, patient=patients.get(case.id, case.patient)) for case in cases]
    return cases, failures


def build_case(images, output, labels=()):
    """Builds a case of four images; its id is the output file's name, or what the names share.

    Args:
        images: Dict from modality to path, in the order of `brats.editions.MODALITIES`.
        output: A folder, or the path of a `.nii.gz` file.
        labels: Values of the flag `--labels`.

    Returns:
        `(case, folder)`: a `Case` without a reference, and the `Path` of the folder to write to.

    Raises:
        FileNotFoundError: If an image does not exist. The message names its flag.
        InputError: If the segmentation would replace an image.
    """
    images, output = {name: Path(path) for name, path in images.items()}, Path(output)
    for name, path in images.items():
        if not path.is_file():
            raise FileNotFoundError(f"--{name} {path} is not a file. Check the path.")
    if output.name.lower().endswith(EXTENSIONS) and not output.is_dir():
        folder, name = output.parent, stem(output)
    else:
        names = [stem(path) for path in images.values()]
        # Of "p1_t1" and "p1_t2", "p1": what follows the last separator may be half a word.
        shared = re.match(r"(.*[^-_. ])[-_. ]", os.path.commonprefix(names))
        folder, name = output, shared[1] if shared else names[0]
    written = [(folder / f"{name}{extension}").resolve() for extension in EXTENSIONS]
    if any(path.resolve() in written for path in images.values()):
        raise InputError(f"The segmentation would replace an image in {folder}. Change --output.")
    edition = relabel(EDITIONS["mixed"], labels)
    return Case(name, images["flair"].parent, edition, images, None, None, name), folder


def describe_ignored(root):
    """Returns the images and folders under `root` that belong to no case, as text; "" if none."""
    root = Path(root)
    return _first_names(list(map(str, find_ignored(root, find_matches(root).values()))))


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


def _case(name, match, grade):
    """Returns the `Case` of a match. A reference with unknown labels is not used."""
    path, edition, files = match
    reference, warnings = next(iter(files[REFERENCE]), None), ()
    if _unknown_labels(match):
        warnings = (f"{reference.name} is not used: define its labels with --labels.",)
        reference = None
    return Case(
        id=name,
        folder=path if path.is_dir() else path.parent,
        edition=edition,
        images={modality: files[modality][0] for modality in MODALITIES},
        segmentation=reference,
        grade=grade,
        patient=patient_of(name, edition),
        warnings=warnings,
    )


def _unknown_labels(match):
    """Returns a sentence if a case has a reference whose labels are unknown, or None."""
    if match.edition.labels is None and match.files[REFERENCE]:
        return (
            f"The labels of {match.files[REFERENCE][0]} are unknown (data set "
            f"{match.edition.name}). Define them, such as --labels necrosis=1 edema=2 enhancing=3."
        )
    return None


def _first_names(names):
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _wrong_name(name, path, files):
    """Returns what is wrong with the names of a case and its files, a sentence, or None."""
    if (length := len(os.fsencode(name))) > MAX_NAME:
        return (
            f"The name {shortened(name, 60)} has {length} bytes; expected at most "
            f"{MAX_NAME}, as files are named by it. Rename the folder of the case."
        )
    paths = map(str, (path, *itertools.chain(*files.values())))
    if odd := [each for each in paths if not each.isprintable()]:  # ITK crashes on some of them.
        return f"The path {odd[0]!r} has control characters, or is not UTF-8. Rename it."
    return None


def _wrong_files(match, need_segmentation):
    """Returns which files of a case are missing or doubled, a sentence, or None."""
    path, edition, files = match
    needed = files if need_segmentation else MODALITIES
    wrong = [name for name, found in files.items() if len(found) != 1 and (found or name in needed)]
    if not wrong:
        return None
    endings = edition.suffixes | {REFERENCE: edition.segmentation}
    expected = [
        f"*{end}" if end else f"{edition.references}/{stem(path)}"
        for name in wrong
        for end in endings[name]
    ]
    names = {name: ", ".join(sorted(file.name for file in files[name])) for name in wrong}
    has = [f"{len(files[name])} files for {name} ({some})" for name, some in names.items()]
    has = [shortened(each, 200).removesuffix(" ()") for each in has]
    found = set(path.iterdir() if path.is_dir() else itertools.chain(*files.values()))
    found = sorted(filter(is_visible, found))
    names = ", ".join(file.name for file in found[:20]) or "nothing"
    return (
        f"{path} has {' and '.join(has)}; expected one each, named {' or '.join(expected)} with "
        f"the ending {' or '.join(READABLE)}. Found {shortened(names)}.{_describe_others(found)} "
        "Give each case a folder with one file of each, or remove it."
    )


def _nothing_found(root):
    """Returns the error for a folder without cases."""
    everything = list(itertools.islice(root.rglob("*"), MOST_FILES))
    files = [path for path in everything if path.is_file() and is_visible(path)]
    names = _first_names(sorted(str(path.relative_to(root)) for path in files or everything))
    endings = EDITIONS["mixed"].suffixes.items()
    accepted = "; ".join(f"{name}: {', '.join(sorted(some))}" for name, some in endings)
    return InputError(
        f"No case found in {root}, which holds {names or 'nothing'}.{_describe_others(files)} "
        f"Expected a folder per case, such as {root}/BraTS2021_00000, or {root}/imagesTr. Names of "
        f"files end, before {' or '.join(READABLE)}, in {accepted}. docs/data.md has examples."
    )


def _describe_others(files):
    """Returns what files in formats that we cannot read are, as sentences."""
    names = [path.name.lower() for path in files]
    counts = {what: sum(name.endswith(end) for name in names) for what, end in OTHER_FILES.items()}
    return "".join(f" {count} are {what}." for what, count in counts.items() if count)
