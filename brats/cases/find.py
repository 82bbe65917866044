"""Cases on disk: finding them, complete and in order.

In: a folder of BraTS cases of any edition, or of several. Out: `Case` records that are complete
and sorted.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from brats.cases.layouts import (
    EXTENSIONS,
    find_case_paths,
    find_ignored,
    folder_grade,
    label_files,
    nifti_files,
    read_grades,
    stem,
)
from brats.editions import EDITIONS, MODALITIES, Edition
from brats.errors import InputError


@dataclass(frozen=True)
class Case:
    """One visit of one patient: the paths of its files.

    Attributes:
        id: Name of the case folder, or of the file that holds all modalities.
        folder: The folder of the images.
        edition: `Edition` by which its files are named and its labels numbered.
        images: Dict from modality to `Path`, in the order of `MODALITIES`; the same path for all
            if the edition has components. `brats.volumes.files.read_modalities` reads them.
        segmentation: Path of the ground truth, or None.
        grade: "HGG" or "LGG" if a folder or a table tells it, else None.
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
        """The id without the visit, so that visits of one patient stay together."""
        return re.sub(self.edition.visit, "", self.id) if self.edition.visit else self.id


def find_cases(root, need_segmentation):
    """Finds every case under a folder and checks that each has all of its files.

    Args:
        root: Folder that holds cases of one edition or of several, see `brats.cases.layouts`.
        need_segmentation: Whether a case without ground truth is incomplete; the test images of
            MSD, which have none, are then left out.

    Returns:
        List of `Case`, sorted by id.

    Raises:
        FileNotFoundError: If `root` is not a folder.
        InputError: If there is no case, two cases share an id, a name cannot be printed, or a
            case has no file, or more than one, for something it needs; with a table of what is
            wrong.
    """
    root = Path(root)
    paths = find_case_paths(root, with_test_images=not need_segmentation)
    if not paths:
        raise _nothing_found(root)
    found = [(path, *_match_files(path)) for path in paths]
    _check_names(found)
    _check_complete(root, found, need_segmentation)
    grades = read_grades(root, paths)
    cases = [
        Case(
            id=stem(path),
            folder=path.parent if edition.components else path,
            edition=edition,
            images={modality: files[modality][0] for modality in MODALITIES},
            segmentation=files["seg"][0] if files["seg"] else None,
            grade=folder_grade(root, path) or grades.get(stem(path)),
        )
        for path, edition, files in found
    ]
    return sorted(cases, key=lambda case: case.id)


def describe_ignored(root, cases):
    """Returns what lies beside cases in a folder and is none, as text; "nothing" if all are."""
    paths = [case.folder if not case.edition.components else case.images["t1"] for case in cases]
    ignored = [str(path) for path in find_ignored(Path(root), paths)]
    more = f" and {len(ignored) - 5} more" if len(ignored) > 5 else ""
    return ", ".join(ignored[:5]) + more or "nothing"


def select_cases(cases, ids):
    """Returns the cases with the given ids, in the order of `cases`.

    Raises:
        InputError: If an id is not among them.
    """
    unknown = sorted(set(ids) - {case.id for case in cases})
    if unknown:
        raise InputError(
            f"No case is called {', '.join(unknown)}. Found {len(cases)} cases, from "
            f"{cases[0].id} to {cases[-1].id}."
        )
    return [case for case in cases if case.id in set(ids)]


def _nothing_found(root):
    """Returns the error of a folder without cases, which says what it holds."""
    images = nifti_files(root)
    if len(images) > len(MODALITIES) + 1:
        return InputError(
            f"{root} holds {len(images)} images side by side. Give each case a folder of its own."
        )
    if images:
        return InputError(f"{root} is a case itself; give the folder that holds it, {root.parent}.")
    names = sorted(path.name for path in root.iterdir())
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    suffixes = [
        ", ".join(suffix + EXTENSIONS[0] for suffix in edition.suffixes.values())
        for edition in EDITIONS.values()
        if edition.suffixes
    ]
    return InputError(
        f"No case found in {root}, which holds {', '.join(names[:5]) or 'nothing'}{more}. Expected "
        f"case folders such as {root}/BraTS2021_00000, or {root}/HGG/<case>, each with files "
        f"ending in {' or '.join(suffixes)}; or {root}/imagesTr/BRATS_001{EXTENSIONS[0]}."
    )


def _match_files(path):
    """Returns the `Edition` of a case and the list of its files for each modality and "seg"."""
    if not path.is_dir():
        return EDITIONS["msd"], dict.fromkeys(MODALITIES, [path]) | {"seg": label_files(path)}
    files = nifti_files(path)
    matches = {}
    for edition in EDITIONS.values():
        if edition.suffixes:
            suffixes = edition.suffixes | {"seg": edition.segmentation}
            matches[edition.name] = {
                name: [file for file in files if stem(file).endswith(suffix)]
                for name, suffix in suffixes.items()
            }
    best = max(matches, key=lambda name: sum(map(bool, matches[name].values())))
    return EDITIONS[best], matches[best]


def _check_names(found):
    """Checks that all names can be printed, and given to ITK, which ends on those that cannot."""
    for path, _, files in found:
        for each in (path, *(file for paths in files.values() for file in paths)):
            if not str(each).isprintable():
                raise InputError(
                    f"The path {str(each)!r} has characters that cannot be printed, such as a "
                    "line break or what is not UTF-8. Rename it."
                )


def _check_complete(root, found, need_segmentation):
    needed = (*MODALITIES, "seg") if need_segmentation else MODALITIES
    columns = (*MODALITIES, "seg")
    rows = []
    for path, edition, files in found:
        missing = any(not files[name] for name in needed)
        if missing or any(len(paths) > 1 for paths in files.values()):
            counts = [{0: "-", 1: "yes"}.get(len(files[name]), "many") for name in columns]
            cells = "".join(f"{cell:<8}" for cell in counts)
            rows.append(f"{cells}{path.relative_to(root)}{_unrecognized(path, edition, files)}")
    if rows:
        table = "\n  ".join(["".join(f"{name:<8}" for name in columns) + "case", *rows])
        raise InputError(
            f"{len(rows)} of {len(found)} cases in {root} do not have exactly one file each for "
            f"{', '.join(needed)}. Complete or remove them:\n  {table}"
        )


def _unrecognized(path, edition, files):
    """Returns the names of a case folder's images that end in no known suffix, as a remark."""
    known = {file for paths in files.values() for file in paths}
    others = [] if edition.components else [p.name for p in nifti_files(path) if p not in known]
    more = ", ..." if len(others) > 3 else ""
    return f", not recognized: {', '.join(others[:3])}{more}" if others else ""
