"""Cuts 128x128 axial patches out of BraTS cases, into one HDF5 file.

In: case folders under --data-root. Out: the patch file --output, complete or absent.

    python extract_patches.py --data-root data/brats --output data/patches.h5
"""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from brats.cases import CLASSES, find_cases
from brats.errors import InputError, exit_code
from brats.files import make_writable_folder
from brats.findings import check_no_errors, compare_cases, table, warning_lines, warnings_by_case
from brats.inspection import inspect_case, inspect_headers
from brats.parallel import in_order
from brats.patch_file import append_case, creating_patch_file, stored_bytes, write_settings
from brats.patches import sample_case
from brats.provenance import header, software_versions, source_commit
from brats.splits import split_cases
from config import ExtractConfig, parse, to_dict

# Shares that the original reports for BraTS 2017, in percent, in the order of CLASSES.
PUBLISHED_SHARES = (98.0, 0.18, 1.1, 0.38)


def main(argv=None):
    """Runs the extraction with the given command line arguments."""
    config = parse(ExtractConfig, argv, __doc__)
    output = Path(config.output)
    cases = find_cases(config.data_root, need_segmentation=not config.check)
    if config.check:
        return check_cases(cases, config.workers)
    check_output(output, config.overwrite)
    inspections = compare_cases(inspect_headers(cases))
    check_no_errors(inspections)
    train, validation = split_cases(cases, config.validation_fraction, config.seed)
    most_patches = len(cases) * config.patches_per_case
    check_free_space(output, stored_bytes(most_patches, config.dtype))
    settings = file_settings(config, cases, train, validation)
    settings["warnings"] = warnings_by_case(inspections)
    print(
        header(
            "Extracting patches",
            **to_dict(config),
            cases=f"{len(cases)}: {len(train)} to train on, {len(validation)} to validate on",
            versions=settings["versions"],
            commit=settings["commit"],
            warnings=f"by headers: {warning_lines(inspections)}",
        )
    )
    with creating_patch_file(output, config.dtype, most_patches) as file:
        counts = write_cases(file, config, cases, {case.id for case in validation})
        settings["class_shares"] = (counts / counts.sum()).tolist()
        write_settings(file, settings)
        num_patches = {split: len(file[split]["case"]) for split in ("train", "validation")}
    print_class_shares(settings["class_shares"])
    print(
        f"Wrote {num_patches['train']} training and {num_patches['validation']} validation "
        f"patches to {output}"
    )


def check_cases(cases, workers):
    """Prints what the voxels of every case tell, and writes nothing.

    Raises:
        InputError: If a case has errors.
    """
    looks = in_order(inspect_case, cases, workers or os.cpu_count())
    inspections = compare_cases(list(tqdm(looks, "cases", len(cases), unit="case")))
    print(table(inspections))
    check_no_errors(inspections)


def check_output(output, overwrite):
    """Checks, before any work is done, that the patch file can and may be written.

    Raises:
        OSError: If its folder cannot be made or written to.
        InputError: If it is a folder, or exists and may not be replaced.
    """
    make_writable_folder(output.parent)
    if output.is_dir():
        raise InputError(f"{output} is a folder. Give the path of a file with --output.")
    if output.exists() and not overwrite:
        raise InputError(f"{output} exists. Add --overwrite, or give another --output.")


def check_free_space(output, needed):
    """Checks that the disk has room for the patches before any work is done.

    Raises:
        InputError: If it has not; gives both sizes.
    """
    folder = output.absolute().parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"The patches need {needed / 1e9:.3g} GB, and {folder} has {free / 1e9:.3g} GB free. "
            "Free some, or give another --output, fewer --patches-per-case or --dtype float16."
        )


def file_settings(config, cases, train, validation):
    """Returns what the patch file says of its making, all but the class shares."""
    return {
        "label_schemes": {case.scheme.name: case.scheme.labels for case in cases},
        "dtype": config.dtype,
        "patches_per_case": config.patches_per_case,
        "seed": config.seed,
        "cases": [case.id for case in cases],
        "split": {
            "train": [case.id for case in train],
            "validation": [case.id for case in validation],
        },
        "data_root": config.data_root,
        "versions": software_versions("numpy", "h5py", "SimpleITK"),
        "commit": source_commit(),
    }


def write_cases(file, config, cases, validation_ids):
    """Writes the patches of every case, in order, and returns the voxels of each class."""

    def sample(index):
        # A generator of its own, so that a case's patches depend on no other case's.
        rng = np.random.default_rng([config.seed, index])
        return sample_case(cases[index], config.patches_per_case, rng)

    counts = np.zeros(len(CLASSES), dtype=np.int64)
    workers = config.workers or os.cpu_count()
    progress = tqdm(in_order(sample, range(len(cases)), workers), "cases", len(cases), unit="case")
    for index, patches in enumerate(progress):
        case = cases[index]
        split = "validation" if case.id in validation_ids else "train"
        append_case(file[split], index, patches)
        counts += patches.class_counts
        if len(patches.centers) < config.patches_per_case:
            progress.write(
                f"{case.id} has {len(patches.centers)} admissible centers; took them all "
                f"instead of {config.patches_per_case}."
            )
    return counts


def print_class_shares(shares):
    """Prints the share of each class beside the one that the original reports."""
    print("Class shares of all voxels, in percent (original, BraTS 2017):")
    for name, share, published in zip(CLASSES, shares, PUBLISHED_SHARES, strict=True):
        print(f"  {name:<10} {100 * share:6.2f} ({published:g})")


if __name__ == "__main__":
    sys.exit(exit_code(main, "No patch file was written: start again."))
