"""The extraction of one case, and which cases are still to be extracted.

In: cases and settings. Out: `<case>.h5` in a folder, each complete or absent.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from brats.editions import CLASSES, describe_labels
from brats.errors import Failed, InputError
from brats.inputs import describe_inputs, find_changes
from brats.patches.centers import sample_case
from brats.patches.file import case_file_path, read_case_file, stored_bytes, write_case_file
from brats.provenance import describe_source

# Shares that the original reports for BraTS 2017, in percent, in the order of CLASSES.
PUBLISHED_SHARES = (98.0, 0.18, 1.1, 0.38)


@dataclass(frozen=True)
class Recipe:
    """How the patches of a case are made, as by the flags of extract_patches.py."""

    patches_per_case: int
    centers: str
    dtype: str
    seed: int


@dataclass(frozen=True)
class Missing:
    """What is left to extract.

    Attributes:
        cases: List of the `Case`s to extract.
        changed: List of sentences about those among them whose input changed.
        failures: List of `Failed`, of cases whose patch file is damaged.
    """

    cases: list = field(default_factory=list)
    changed: list = field(default_factory=list)
    failures: list = field(default_factory=list)


def find_missing(cases, folder, recipe, overwrite=False):
    """Finds the cases that have no patch file yet, or one of older input.

    Args:
        cases: List of `Case`.
        folder: Folder of patch files.
        recipe: A `Recipe`.
        overwrite: Whether to extract all cases, whatever is there.

    Returns:
        A `Missing`.

    Raises:
        InputError: If a file was made with other settings; names both values.
    """
    missing = Missing()
    for case in cases:
        path = case_file_path(folder, case.id)
        if overwrite or not path.exists():
            missing.cases.append(case)
            continue
        try:
            file = read_case_file(path)
        except InputError as error:
            reason = f"{error} Or remove the file and run the command again."
            missing.failures.append(Failed(case.id, reason))
            continue
        _check_recipe(file, case, recipe)
        try:
            changes = find_changes(case, file.description["inputs"])
        except InputError:
            missing.cases.append(case)  # Its extraction fails with the reason.
            continue
        if file.patient != case.patient:
            changes.append(f"its patient, {file.patient},")
        if changes:
            missing.cases.append(case)
            missing.changed.append(f"{case.id} is extracted again: {', '.join(changes)} changed.")
    return missing


def check_free_space(folder, num_cases, recipe):
    """Checks that the disk has room for the patches before any work is done.

    Returns:
        Text that says how much the patches need at most, and how much is free.

    Raises:
        InputError: If there is too little room; gives both sizes.
    """
    needed = stored_bytes(num_cases * recipe.patches_per_case, recipe.dtype)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"The patches need {needed / 1e9:.3g} GB, and the disk of {folder} has "
            f"{free / 1e9:.3g} GB free. Free some, or give another --output, fewer "
            "--patches-per-case or --dtype float16."
        )
    return f"at most {needed / 1e9:.3g} GB, of {free / 1e9:.3g} GB free"


def tasks(cases, folder, recipe, force=False):
    """Returns the tasks of `extract_case`, a dict by case id, with absolute paths."""
    here = Path.cwd()
    return {case.id: (case.below(here), here / folder, recipe, force) for case in cases}


def extract_case(task):
    """Extracts the patches of a case.

    The generator is seeded with the seed and the id of the case, so that the patches do not depend
    on which other cases there are.

    Args:
        task: `(case, folder, recipe, force)`: a `Case`, the folder to write to, a `Recipe`, and
            whether to use a case that no network can segment.

    Returns:
        List of sentences on what is odd about the case.

    Raises:
        InputError: If the case cannot be read or used.
        OSError: If the file cannot be written.
    """
    case, folder, recipe, force = task
    inputs = describe_inputs(case)
    rng = np.random.default_rng([recipe.seed, *case.id.encode()])
    patches = sample_case(case, recipe.patches_per_case, rng, recipe.centers, force)
    description = asdict(recipe) | {
        "case": case.id,
        "patient": case.patient,
        "grade": case.grade,
        "edition": case.edition.name,
        **describe_labels(case.edition),
        "class_counts": patches.class_counts.tolist(),
        "warnings": patches.warnings,
        "inputs": inputs,
        **describe_source("numpy", "h5py", "SimpleITK"),
    }
    write_case_file(case_file_path(folder, case.id), patches, description)
    few = len(patches.centers)
    if few < recipe.patches_per_case:
        return [*patches.warnings, f"only {few} voxels can be centers of patches; took them all."]
    return patches.warnings


def describe_result(cases, folder):
    """Describes the patch files of some cases: the class shares, and how many there are.

    Args:
        cases: List of `Case`; those without a patch file are left out.
        folder: Folder of patch files.

    Returns:
        Text with the share of each class, beside the share that the original reports.
    """
    paths = [case_file_path(folder, case.id) for case in cases]
    files = [read_case_file(path) for path in paths if path.exists()]
    if not files:
        return f"No patches are in {folder}."
    counts = np.sum([file.description["class_counts"] for file in files], axis=0)
    rows = [
        f"  {name:<10} {100 * share:6.2f} ({published:g})"
        for name, share, published in zip(
            CLASSES, counts / counts.sum(), PUBLISHED_SHARES, strict=True
        )
    ]
    title = "Class shares of all voxels, in percent (original, BraTS 2017):"
    num_patches = sum(file.num_patches for file in files)
    last = f"{num_patches} patches of {len(files)} cases are in {folder}"
    return "\n".join([title, *rows, last])


def _check_recipe(file, case, recipe):
    if file.id != case.id:
        raise InputError(f"{file.path} holds the patches of {file.id}. Rename or remove it.")
    labels = describe_labels(case.edition)
    for name, wanted in (asdict(recipe) | labels).items():
        found = file.description.get(name, {})
        if found != wanted:
            shown = f"{name} (--labels)" if name in labels else f"--{name.replace('_', '-')}"
            raise InputError(
                f"{file.path} was made with {shown} {found}, not {wanted}. Give the same settings, "
                "another --output, or --overwrite."
            )
