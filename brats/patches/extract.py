"""The extraction, case by case: what it needs, and how it goes on after it was ended.

In: cases, and an unfinished patch file. Out: their patches in it, in the order of the cases, each
case noted as a step once its patches are there.
"""

import json
import shutil

import numpy as np

from brats.editions import CLASSES
from brats.errors import Failed, InputError
from brats.files import make_writable_folder
from brats.parts import Part, parts_path
from brats.patches.centers import CENTERS, sample_case
from brats.patches.file import append_case, append_patches, keep_case, read_settings
from brats.provenance import software_versions, source_commit
from brats.unfinished import StaleError, partial_path

# Settings that the patches depend on: the file holds them. The second ones only where they are
# asked for, so that other files stay as they were before there were these.
STORED = ("dtype", "patches_per_case", "seed", "data_root")
STORED_IF_SET = {"num_folds": None, "fold": None, "centers": CENTERS[0]}
# Shares that the original reports for BraTS 2017, in percent, in the order of CLASSES.
PUBLISHED_SHARES = (98.0, 0.18, 1.1, 0.38)


def choose_stored(settings):
    """Returns what the patch file says of the settings of the extraction, a dict."""
    stored = {name: settings[name] for name in STORED}
    return stored | {
        name: settings[name] for name, default in STORED_IF_SET.items() if settings[name] != default
    }


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
        "label_schemes": {case.edition.name: case.edition.labels for case in cases},
        "trained_as_background": {
            f"label {value} of {case.edition.name}": f"({meaning})"
            for case in cases
            for value, meaning in case.edition.background.items()
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
    # A file of a fold is another one, though the cases may happen to be split alike.
    names = settings.keys() | STORED_IF_SET
    return all(existing.get(name) == settings.get(name) for name in names)


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
    for path in (partial, *parts_path(output).glob("*")):
        if path.exists():
            free += path.stat().st_blocks * 512  # The unit of st_blocks, whatever the disk's.
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


def prepare_case(attempt, case, index, num_patches, seed, centers, folder=None):
    """Draws the patches of a case, unless a part of the attempt holds them.

    Args:
        attempt: The `Attempt` whose parts may be there.
        case: A `Case`.
        index: Its index among all cases, int.
        num_patches: Patches to draw, int.
        seed: Seed of the patches' places, int.
        centers: One of `brats.patches.centers.CENTERS`.
        folder: What relative paths of the case are relative to; None for the current folder.

    Returns:
        `(step, patches)`: what the journal notes of the case, and a `CasePatches` or a `Part`.

    Raises:
        InputError: If the case cannot be read.
    """
    states = file_states(case, folder)
    if part := attempt.find(index, states):
        return part.step, part
    # A generator of its own, so that a case's patches depend on no other case's.
    rng = np.random.default_rng([seed, index])
    patches = sample_case(case.below(folder) if folder else case, num_patches, rng, centers)
    step = {
        "case": case.id,
        "files": states,
        "centers": (patches.centers + patches.origin).tolist(),
        "class_counts": patches.class_counts.tolist(),
        "warnings": patches.warnings,
    }
    return step, patches


def append_cases(file, disk, unfinished, cases, split_of, prepared):
    """Appends the patches of the cases that an unfinished patch file does not hold yet.

    After a case that has failed, nothing is appended: what follows stays in its parts.

    Args:
        file: The `h5py.File`.
        disk: The `LayoutFile` below it.
        unfinished: The `Unfinished` that the steps are noted in.
        cases: List of all `Case`s.
        split_of: Function from a `Case` to its split.
        prepared: Iterable over what `prepare_case` returns for these cases, in order, or the
            `Failed` of a case.

    Yields:
        Each `Case`, and what the journal notes of it, or a `Failed`.

    Raises:
        InputError: If a case cannot be read, or a part is damaged.
        OSError: If a patch cannot be written.
    """
    is_appending = True
    missing = range(len(unfinished.steps), len(cases))
    for index, each in zip(missing, prepared, strict=True):
        if isinstance(each, Failed):
            if is_appending:
                disk.give_back()  # The parts that follow take the space that was reserved.
            is_appending = False
            yield cases[index], each
            continue
        step, patches = each
        if is_appending:
            group = file[split_of(cases[index])]
            if isinstance(patches, Part):
                _check_step(patches.path, cases[index], step)
                centers = np.asarray(step["centers"], np.int32).reshape(-1, 3)
                append_patches(group, index, centers, patches.images, patches.labels)
            else:
                append_case(group, index, patches)
            disk.check_written()
            unfinished.add(step)
            if isinstance(patches, Part):
                patches.remove()
        yield cases[index], step


def describe_step(case, step, num_patches):
    """Returns what is to be told of a case whose patches are written, as sentences.

    Args:
        case: A `Case`.
        step: What `append_cases` has noted of it.
        num_patches: Patches that were asked for, int.
    """
    sentences = [f"{case.id}: {sentence}" for sentence in step["warnings"]]
    num_centers = len(step["centers"])
    if num_centers < num_patches:
        sentences.append(
            f"{case.id} has {num_centers} admissible centers; took them all instead of "
            f"{num_patches}."
        )
    return sentences


def file_states(case, folder=None):
    """Returns size and time of change of each file of a case, by path.

    Args:
        case: A `Case`.
        folder: What relative paths are relative to; None for the current folder.
    """
    states = {}
    for path in (*case.images.values(), case.segmentation):
        status = (folder / path if folder else path).stat()
        states[str(path)] = [status.st_size, status.st_mtime_ns]
    return states
