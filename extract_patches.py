"""Cuts 128x128 axial patches out of BraTS cases, into one HDF5 file.

In: case folders under --data-root. Out: the patch file --output, complete or absent.

    python extract_patches.py --data-root data/brats --output data/patches.h5
"""

import os
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from brats.cases import CLASSES, find_cases
from brats.errors import exit_code
from brats.extraction import (
    append_cases,
    check_free_space,
    check_output,
    is_extracted,
    keep_cases,
)
from brats.findings import check_no_errors, compare_cases, table, warning_lines, warnings_by_case
from brats.inspection import inspect_case, inspect_headers
from brats.parallel import in_order
from brats.patch_file import AGREEMENT, SPLITS, laying_out, stored_bytes, write_settings
from brats.provenance import header, software_versions, source_commit
from brats.splits import split_cases
from brats.unfinished import describe_attempt, journal_path, resuming
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
    inspections = compare_cases(inspect_headers(cases))
    check_no_errors(inspections)
    train, validation = split_cases(cases, config.validation_fraction, config.seed)
    settings = file_settings(config, cases, train, validation)
    if config.resume and is_extracted(output, settings):
        journal_path(output).unlink(missing_ok=True)  # A kill may have come between.
        print(f"{output} is complete: there is nothing to go on with.")
        return
    check_output(output, config.overwrite)
    most_patches = len(cases) * config.patches_per_case
    size = stored_bytes(most_patches, config.dtype)
    free = check_free_space(output, size)
    print(
        header(
            "Extracting patches",
            **to_dict(config),
            cases=f"{len(cases)}: {len(train)} to train on, {len(validation)} to validate on",
            size=f"at most {size / 1e9:.3g} GB, of {free / 1e9:.3g} GB free",
            trained_as_background=settings["trained_as_background"] or "label 0 only",
            versions=settings["versions"],
            commit=settings["commit"],
            warnings=f"by headers: {warning_lines(inspections)}",
        )
    )
    with resuming(output, AGREEMENT | settings, config.resume) as unfinished:
        print(describe_attempt(unfinished, len(cases), config.resume))
        with laying_out(unfinished.path, config.dtype, most_patches) as (file, disk):
            ids = {case.id for case in validation}
            counts = write_cases(file, disk, unfinished, config, cases, ids)
            settings["class_shares"] = (counts / counts.sum()).tolist()
            settings["warnings"] = warnings_by_case(inspections, unfinished.steps)
            write_settings(file, settings)
            num_patches = {split: len(file[split]["case"]) for split in SPLITS}
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


def file_settings(config, cases, train, validation):
    """Returns what the patch file says of its making, all but the class shares."""
    return {
        "label_schemes": {case.scheme.name: case.scheme.labels for case in cases},
        "trained_as_background": {
            f"label {value} of {case.scheme.name}": f"({meaning})"
            for case in cases
            for value, meaning in case.scheme.background.items()
        },
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


def write_cases(file, disk, unfinished, config, cases, validation_ids):
    """Writes the patches of every case, in order, and returns the voxels of each class."""

    def split_of(case):
        return "validation" if case.id in validation_ids else "train"

    keep_cases(file, disk, unfinished.steps, cases, split_of)
    added = append_cases(
        file,
        disk,
        unfinished,
        cases,
        split_of,
        config.patches_per_case,
        config.seed,
        config.workers or os.cpu_count(),
    )
    num_kept = len(unfinished.steps)
    with tqdm(total=len(cases), initial=num_kept, desc="cases", unit="case") as progress:
        for case, num_patches, warnings in added:
            progress.update()
            for sentence in warnings:
                progress.write(f"{case.id}: {sentence}")
            if num_patches < config.patches_per_case:
                progress.write(
                    f"{case.id} has {num_patches} admissible centers; took them all "
                    f"instead of {config.patches_per_case}."
                )
    return np.sum([step["class_counts"] for step in unfinished.steps], axis=0)


def print_class_shares(shares):
    """Prints the share of each class beside the one that the original reports."""
    print("Class shares of all voxels, in percent (original, BraTS 2017):")
    for name, share, published in zip(CLASSES, shares, PUBLISHED_SHARES, strict=True):
        print(f"  {name:<10} {100 * share:6.2f} ({published:g})")


if __name__ == "__main__":
    sys.exit(exit_code(main, "Finished cases are kept: go on with --resume."))
