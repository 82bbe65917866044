"""The extraction, case by case: what it needs, and how it goes on after it was ended.

In: cases, and an unfinished patch file. Out: their patches in it, in the order of the cases, each
case noted as a step once its patches are there.
"""

import json
import shutil

import numpy as np

from brats.errors import InputError
from brats.files import make_writable_folder
from brats.parallel import in_order
from brats.patch_file import append_case, keep_case, read_settings
from brats.patches import sample_case
from brats.provenance import software_versions, source_commit
from brats.schemes import CLASSES
from brats.unfinished import StaleError, partial_path

# Shares that the original reports for BraTS 2017, in percent, in the order of CLASSES.
PUBLISHED_SHARES = (98.0, 0.18, 1.1, 0.38)


def file_settings(cases, train, validation):
    """Returns what the patch file says of its cases and its making.

    Args:
        cases: List of all `Case`s.
        train: Those to train on.
        validation: Those to validate on.

    Returns:
        Dict that JSON can hold, without the class shares and the warnings.
    """
    return {
        "label_schemes": {case.scheme.name: case.scheme.labels for case in cases},
        "trained_as_background": {
            f"label {value} of {case.scheme.name}": f"({meaning})"
            for case in cases
            for value, meaning in case.scheme.background.items()
        },
        "cases": [case.id for case in cases],
        "split": {
            "train": [case.id for case in train],
            "validation": [case.id for case in validation],
        },
        "versions": software_versions("numpy", "h5py", "SimpleITK"),
        "commit": source_commit(),
    }


def describe_class_shares(shares):
    """Returns the share of each class beside the one that the original reports, as lines."""
    rows = [
        f"  {name:<10} {100 * share:6.2f} ({published:g})"
        for name, share, published in zip(CLASSES, shares, PUBLISHED_SHARES, strict=True)
    ]
    return "\n".join(["Class shares of all voxels, in percent (original, BraTS 2017):", *rows])


def check_output(output, overwrite):
    """Checks, before any work is done, that the patch file can and may be written.

    Args:
        output: Path of the patch file.
        overwrite: Whether an existing one may be replaced.

    Raises:
        OSError: If its folder cannot be made or written to.
        InputError: If it is a folder, or exists and may not be replaced.
    """
    make_writable_folder(output.parent)
    if output.is_dir():
        raise InputError(f"{output} is a folder. Give the path of a file with --output.")
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists. Add --overwrite, or give another --output.")


def is_extracted(output, settings):
    """Returns whether a patch file exists that was made with the given settings."""
    try:
        existing = read_settings(output)
    except (OSError, InputError):
        return False
    settings = json.loads(json.dumps(settings))  # As the file gives them back.
    return all(existing.get(name) == value for name, value in settings.items())


def check_free_space(output, needed):
    """Checks that the disk has room for the patches before any work is done.

    What an earlier attempt has left counts as free: it is gone on with, or replaced.

    Args:
        output: Path of the patch file.
        needed: Its size in bytes.

    Returns:
        The free bytes, int.

    Raises:
        InputError: If they are too few; gives both sizes.
    """
    folder, partial = output.absolute().parent, partial_path(output)
    free = shutil.disk_usage(folder).free
    if partial.exists():
        free += partial.stat().st_blocks * 512  # The unit of st_blocks, whatever the disk's.
    if free < needed:
        raise InputError(
            f"The patches need {needed / 1e9:.3g} GB, and the disk of {output} has "
            f"{free / 1e9:.3g} GB free. Free some, or give another --output, fewer "
            "--patches-per-case or --dtype float16."
        )
    return free


def keep_cases(file, disk, steps, cases, split_of):
    """Gives the cases that an unfinished patch file holds their places.

    Args:
        file: The `h5py.File`.
        disk: The `LayoutFile` below it.
        steps: What `append_cases` has noted of them.
        cases: List of all `Case`s.
        split_of: Function from a `Case` to its split.

    Raises:
        StaleError: If what was noted is damaged, or a file of such a case has changed since.
    """
    for index, (case, step) in enumerate(zip(cases, steps, strict=False)):
        _check_step(disk.path, case, step)
        now, then = file_states(case), step["files"]
        changed = [path for path in now if now[path] != then.get(path)]
        if changed:
            raise StaleError(
                f"{changed[0]} has changed since the patches of case {case.id} were cut."
            )
        keep_case(disk, file[split_of(case)], index, np.asarray(step["centers"]).reshape(-1, 3))
    disk.release()


def _check_step(path, case, step):
    """Checks that a line of the journal is one that `append_cases` has noted for a case.

    Raises:
        StaleError: If it is not; names the unfinished file.
    """
    noted = step if isinstance(step, dict) else {}
    counts, centers, warnings = map(noted.get, ("class_counts", "centers", "warnings"))
    if not (
        noted.get("case") == case.id
        and isinstance(noted.get("files"), dict)
        and isinstance(centers, list)
        and all(map(_is_index, centers))
        and _is_index(counts, len(CLASSES), 2**63)
        and isinstance(warnings, list)
        and all(isinstance(sentence, str) for sentence in warnings)
    ):
        raise StaleError(f"The journal of {path} is damaged at case {case.id}.")


def _is_index(value, length=3, limit=2**31):
    """Returns whether a value of JSON is a list of so many ints in [0, limit)."""
    return (
        isinstance(value, list)
        and len(value) == length
        and all(type(each) is int and 0 <= each < limit for each in value)
    )


def append_cases(file, disk, unfinished, cases, split_of, num_patches, seed, workers):
    """Appends the patches of the cases that an unfinished patch file does not hold yet.

    Args:
        file: The `h5py.File`.
        disk: The `LayoutFile` below it.
        unfinished: The `Unfinished` that the steps are noted in.
        cases: List of all `Case`s.
        split_of: Function from a `Case` to its split.
        num_patches: Patches to draw from each case, int.
        seed: Seed of the patches' places, int.
        workers: Cases prepared at once, int.

    Yields:
        Each `Case`, the number of its patches, and the warnings about its voxels.

    Raises:
        InputError: If a case cannot be read.
        OSError: If a patch cannot be written.
    """

    def sample(index):
        # A generator of its own, so that a case's patches depend on no other case's.
        rng = np.random.default_rng([seed, index])
        return file_states(cases[index]), sample_case(cases[index], num_patches, rng)

    missing = range(len(unfinished.steps), len(cases))
    for index, (states, patches) in zip(missing, in_order(sample, missing, workers), strict=True):
        append_case(file[split_of(cases[index])], index, patches)
        disk.check_written()
        unfinished.add(
            {
                "case": cases[index].id,
                "files": states,
                "centers": (patches.centers + patches.origin).tolist(),
                "class_counts": patches.class_counts.tolist(),
                "warnings": patches.warnings,
            }
        )
        yield cases[index], len(patches.centers), patches.warnings


def file_states(case):
    """Returns size and time of change of each file of a case, by path."""
    states = {}
    for path in (*case.images.values(), case.segmentation):
        status = path.stat()
        states[str(path)] = [status.st_size, status.st_mtime_ns]
    return states
